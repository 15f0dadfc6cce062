"""Max-drop."""

import flax.linen as nn
from jaxtyping import Array, Inexact

from dropjax._checks import AXES_OR_NONE
from dropjax._types import Axes, KeyLike, RateLike
from dropjax.functional.activations import max_dropout
from dropjax.linen._base import Drop, resolve


class MaxDropout(Drop):
    """`dropjax.max_dropout` as a layer: only the maximum of a group can be dropped.

    Attributes:
      rate: the probability of dropping a group's maximum, in [0, 1].
      broadcast_dims: the axes of a group; None means all except the first and last.
      deterministic: if True, nothing is dropped. Set it here or pass it in the call.
      rng_collection: the name of the rng collection that provides PRNG keys.

    Example:
      >>> import dropjax.linen as djl
      >>> x = jnp.arange(1.0, 91.0).reshape(3, 15, 2)
      >>> layer = djl.MaxDropout(0.5)
      >>> assert (layer.apply({}, x, False, rngs={"dropout": key}) == 0).sum() <= 6
    """

    rate: RateLike
    broadcast_dims: Axes | None = None
    deterministic: bool | None = None
    rng_collection: str = "dropout"

    checks = AXES_OR_NONE

    @nn.compact
    def __call__(
        self,
        inputs: Inexact[Array, "*shape"],
        deterministic: bool | None = None,
        rng: KeyLike = None,
        *,
        rate: RateLike | None = None,
    ) -> Inexact[Array, "*shape"]:
        """Drops the maxima of groups.

        Args:
          inputs: a floating-point or complex array.
          deterministic: if True, nothing is dropped.
          rng: a PRNG key to use instead of one from the collection.
          rate: overrides the attribute; may be a traced value, such as a schedule's.

        Returns:
          An array with the shape and dtype of the inputs.
        """
        key, rate, deterministic = resolve(self, rng, rate, deterministic)
        return max_dropout(
            key,
            inputs,
            rate,
            broadcast_dims=self.broadcast_dims,
            deterministic=deterministic,
        )
