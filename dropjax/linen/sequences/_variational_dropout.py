"""Variational (locked) dropout: one mask for all steps of a sequence."""

import flax.linen as nn
from jaxtyping import Array, Inexact

from dropjax._types import KeyLike, RateLike, Scaling
from dropjax.functional.sequences import (
    variational_dropout,
)
from dropjax.linen._base import Drop, resolve


class VariationalDropout(Drop):
    """`dropjax.variational_dropout` as a layer, also known as locked dropout.

    Attributes:
      rate: the probability of dropping, in [0, 1].
      time_axis: the axis of the steps, which share one mask.
      scaling: "inverted" or "standard".
      deterministic: if True, nothing is dropped. Set it here or pass it in the call.
      rng_collection: the name of the rng collection that provides PRNG keys.

    Example:
      >>> import dropjax.linen as djl
      >>> layer, x = djl.VariationalDropout(0.5), jnp.ones((8, 20, 32))
      >>> y = layer.apply({}, x, deterministic=False, rngs={"dropout": key})
      >>> assert jnp.array_equal(y, jnp.broadcast_to(y[:, :1], x.shape))
    """

    rate: RateLike
    time_axis: int = -2
    scaling: Scaling = "inverted"
    deterministic: bool | None = None
    rng_collection: str = "dropout"

    @nn.compact
    def __call__(
        self,
        inputs: Inexact[Array, "*shape"],
        deterministic: bool | None = None,
        rng: KeyLike = None,
        *,
        rate: RateLike | None = None,
    ) -> Inexact[Array, "*shape"]:
        """Drops features in all steps of a sequence.

        Args:
          inputs: a floating-point or complex array, by default (*batch, steps,
            features).
          deterministic: if True, nothing is dropped.
          rng: a PRNG key to use instead of one from the collection.
          rate: overrides the attribute; may be a traced value, such as a schedule's.

        Returns:
          An array with the shape and dtype of the inputs.
        """
        key, rate, deterministic = resolve(self, rng, rate, deterministic)
        return variational_dropout(
            key,
            inputs,
            rate,
            time_axis=self.time_axis,
            scaling=self.scaling,
            deterministic=deterministic,
        )
