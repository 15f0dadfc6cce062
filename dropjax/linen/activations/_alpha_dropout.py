"""Alpha dropout."""

from collections.abc import Sequence

import flax.linen as nn
from jaxtyping import Array, Inexact

from dropjax._types import Axes, KeyLike, RateLike
from dropjax.functional.activations import alpha_dropout, feature_alpha_dropout
from dropjax.linen._base import Drop, resolve


class AlphaDropout(Drop):
    """`dropjax.alpha_dropout` as a layer, for use after SELU.

    Attributes:
      rate: the probability of dropping, in [0, 1].
      broadcast_dims: the axes along which elements share one mask value.
      noise_shape: the same choice written as a shape, as in Keras. Give at most one of
        the two.
      deterministic: if True, nothing is dropped. Set it here or pass it in the call.
      rng_collection: the name of the rng collection that provides PRNG keys.

    Example:
      >>> import dropjax.linen as djl
      >>> layer, x = djl.AlphaDropout(0.3), jax.random.normal(key, (1000, 100))
      >>> y = layer.apply({}, x, deterministic=False, rngs={"dropout": key})
      >>> assert abs(y.mean()) < 0.02
      >>> assert abs(y.var() - 1) < 0.03
    """

    rate: RateLike
    broadcast_dims: Axes = ()
    noise_shape: Sequence[int | None] | None = None
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
        """Sets dropped elements to SELU's lower limit and restores mean and variance.

        Args:
          inputs: a floating-point or complex array.
          deterministic: if True, nothing is dropped.
          rng: a PRNG key to use instead of one from the collection.
          rate: overrides the attribute; may be a traced value, such as a schedule's.

        Returns:
          An array with the shape and dtype of the inputs.
        """
        key, rate, deterministic = resolve(self, rng, rate, deterministic)
        return alpha_dropout(
            key,
            inputs,
            rate,
            broadcast_dims=self.broadcast_dims,
            noise_shape=self.noise_shape,
            deterministic=deterministic,
        )


class FeatureAlphaDropout(Drop):
    """`dropjax.feature_alpha_dropout` as a layer, for any number of spatial axes.

    Attributes:
      rate: the probability of dropping a feature map, in [0, 1].
      channel_axis: the axis of the feature maps; 1 for PyTorch's layout.
      batch_axis: the axis of the examples, or None if there is none.
      deterministic: if True, nothing is dropped. Set it here or pass it in the call.
      rng_collection: the name of the rng collection that provides PRNG keys.

    Example:
      >>> import dropjax.linen as djl
      >>> layer, x = djl.FeatureAlphaDropout(0.5), jnp.ones((4, 6, 6, 32))
      >>> y = layer.apply({}, x, deterministic=False, rngs={"dropout": key})
      >>> assert jnp.array_equal(y, jnp.broadcast_to(y[:, :1, :1], x.shape))
    """

    rate: RateLike
    channel_axis: int = -1
    batch_axis: int | None = 0
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
        """Sets dropped maps to SELU's lower limit and restores mean and variance.

        Args:
          inputs: a floating-point or complex array, by default (batch, *spatial,
            channels).
          deterministic: if True, nothing is dropped.
          rng: a PRNG key to use instead of one from the collection.
          rate: overrides the attribute; may be a traced value, such as a schedule's.

        Returns:
          An array with the shape and dtype of the inputs.
        """
        key, rate, deterministic = resolve(self, rng, rate, deterministic)
        return feature_alpha_dropout(
            key,
            inputs,
            rate,
            channel_axis=self.channel_axis,
            batch_axis=self.batch_axis,
            deterministic=deterministic,
        )
