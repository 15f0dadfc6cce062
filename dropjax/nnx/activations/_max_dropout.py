"""Max-drop."""

from flax import nnx
from jaxtyping import Array, Inexact

from dropjax._checks import AXES_OR_NONE
from dropjax._types import Axes, KeyLike, RateLike
from dropjax.functional.activations import max_dropout
from dropjax.nnx._base import Drop, Rngs


class MaxDropout(Drop, nnx.Module):
    """`dropjax.max_dropout` as a layer: only the maximum of a group can be dropped.

    Args:
      rate: the probability of dropping a group's maximum, in [0, 1].
      broadcast_dims: the axes of a group; None means all except the first and last.
      deterministic: if True, nothing is dropped.
      rng_collection: the name of the rng stream that provides PRNG keys.
      rngs: the source of PRNG keys; None if every call passes its own.

    Example:
      >>> import dropjax.nnx as djn
      >>> from flax import nnx
      >>> x = jnp.arange(1.0, 91.0).reshape(3, 15, 2)
      >>> layer = djn.MaxDropout(0.5, rngs=nnx.Rngs(0))
      >>> assert (layer(x) == 0).sum() <= 6
    """

    checks = AXES_OR_NONE

    def __init__(
        self,
        rate: RateLike,
        *,
        broadcast_dims: Axes | None = None,
        deterministic: bool | None = False,
        rng_collection: str = "dropout",
        rngs: Rngs = None,
    ) -> None:
        self.broadcast_dims = broadcast_dims
        self._set_drop(rate, deterministic, rng_collection, rngs)

    def __call__(
        self,
        inputs: Inexact[Array, "*shape"],
        *,
        deterministic: bool | None = None,
        rngs: Rngs | KeyLike = None,
        rate: RateLike | None = None,
    ) -> Inexact[Array, "*shape"]:
        """Drops the maxima of groups.

        Args:
          inputs: a floating-point or complex array.
          deterministic: overrides the attribute.
          rngs: overrides the layer's rngs; may also be a PRNG key.
          rate: overrides the attribute; may be a traced value, such as a schedule's.

        Returns:
          An array with the shape and dtype of the inputs.
        """
        key, rate, deterministic = self._resolve(deterministic, rngs, rate)
        return max_dropout(
            key,
            inputs,
            rate,
            broadcast_dims=self.broadcast_dims,
            deterministic=deterministic,
        )
