"""Dropout."""

from collections.abc import Sequence

import flax.linen as nn
from jaxtyping import Array, Inexact

from dropjax._types import Axes, KeyLike, RateLike, Scaling
from dropjax.functional.activations import dropout
from dropjax.linen._base import Drop, resolve


class Dropout(Drop, nn.Dropout):
    """`dropjax.dropout` as a layer, and a drop-in for `flax.linen.Dropout`.

    It is a `flax.linen.Dropout`, also to `isinstance`. For the same rngs and module
    path it drops the same elements as flax's in every dtype, and gives the same bits in
    float32.

    Attributes:
      rate: the probability of dropping, in [0, 1].
      broadcast_dims: the axes along which elements share a coin.
      deterministic: if True, nothing is dropped. Give it here or in the call.
      rng_collection: the collection of rngs that the key is taken from.
      noise_shape: Keras's way to say who shares a coin, instead of `broadcast_dims`.
      scaling: "inverted" or "standard".

    Example:
      >>> import dropjax.linen as djl
      >>> layer, x = djl.Dropout(0.5), jnp.ones((100, 100))
      >>> y = layer.apply({}, x, deterministic=False, rngs={"dropout": key})
      >>> assert set(np.unique(y)) == {0.0, 2.0}
      >>> assert layer.apply({}, x, deterministic=True) is x
    """

    # Wider than flax's: arrays and single axes too.
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
          rng: a key to use instead of one from the collection.
          rate: overrides the attribute; it may be traced, as from a schedule.

        Returns:
          An array of the inputs' shape and dtype.
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
