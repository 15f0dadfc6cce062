"""Dropout."""

from collections.abc import Sequence

import flax.linen as nn
from jaxtyping import Array, Inexact

from dropjax._types import Axes, KeyLike, RateLike, Scaling
from dropjax.functional.activations import dropout
from dropjax.linen._base import Drop, resolve


class Dropout(Drop, nn.Dropout):
    """`dropjax.dropout` as a layer, a drop-in replacement for `flax.linen.Dropout`.

    It is a subclass of `flax.linen.Dropout`. For the same rngs and module path it drops
    the same elements in every dtype, and returns the same bits in float32.

    Attributes:
      rate: the probability of dropping, in [0, 1].
      broadcast_dims: the axes along which elements share one mask value.
      deterministic: if True, nothing is dropped. Set it here or pass it in the call.
      rng_collection: the name of the rng collection that provides PRNG keys.
      noise_shape: the same choice written as a shape, as in Keras. Give at most one of
        the two.
      scaling: "inverted" or "standard".

    Example:
      >>> import dropjax.linen as djl
      >>> layer, x = djl.Dropout(0.5), jnp.ones((100, 100))
      >>> y = layer.apply({}, x, deterministic=False, rngs={"dropout": key})
      >>> assert set(np.unique(y)) == {0.0, 2.0}
      >>> assert layer.apply({}, x, deterministic=True) is x
    """

    # Wider types than Flax's: arrays and single axes too.
    rate: RateLike  # type: ignore[assignment]
    broadcast_dims: Axes = ()  # type: ignore[assignment]
    deterministic: bool | None = None
    rng_collection: str = "dropout"
    noise_shape: Sequence[int | None] | None = None
    scaling: Scaling = "inverted"

    @nn.compact
    def __call__(
        self,
        inputs: Inexact[Array, "*shape"],
        deterministic: bool | None = None,
        rng: KeyLike = None,
        *,
        rate: RateLike | None = None,
    ) -> Inexact[Array, "*shape"]:
        """Drops elements of the inputs.

        Args:
          inputs: a floating-point or complex array.
          deterministic: if True, nothing is dropped.
          rng: a PRNG key to use instead of one from the collection.
          rate: overrides the attribute; may be a traced value, such as a schedule's.

        Returns:
          An array with the shape and dtype of the inputs.
        """
        key, rate, deterministic = resolve(self, rng, rate, deterministic)
        return dropout(
            key,
            inputs,
            rate,
            broadcast_dims=self.broadcast_dims,
            noise_shape=self.noise_shape,
            scaling=self.scaling,
            deterministic=deterministic,
        )
