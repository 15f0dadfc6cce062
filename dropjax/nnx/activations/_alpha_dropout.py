"""Alpha dropout."""

from collections.abc import Sequence

from flax import nnx
from jaxtyping import Array, Inexact

from dropjax._types import Axes, KeyLike, RateLike
from dropjax.functional.activations import alpha_dropout, feature_alpha_dropout
from dropjax.nnx._base import Drop, Rngs


class AlphaDropout(Drop, nnx.Module):
    """`dropjax.alpha_dropout` as a layer, for use after SELU.

    Args:
      rate: the probability of dropping, in [0, 1].
      broadcast_dims: the axes along which elements share one mask value.
      noise_shape: the same choice written as a shape, as in Keras. Give at most one of
        the two.
      deterministic: if True, nothing is dropped.
      rng_collection: the name of the rng stream that provides PRNG keys.
      rngs: the source of PRNG keys; None if every call passes its own.

    Example:
      >>> import dropjax.nnx as djn
      >>> from flax import nnx
      >>> layer = djn.AlphaDropout(0.3, rngs=nnx.Rngs(0))
      >>> x = jax.random.normal(key, (1000, 100))
      >>> y = layer(x)
      >>> assert abs(y.mean()) < 0.02
      >>> assert abs(y.var() - 1) < 0.03
    """

    def __init__(
        self,
        rate: RateLike,
        *,
        broadcast_dims: Axes = (),
        noise_shape: Sequence[int | None] | None = None,
        deterministic: bool | None = False,
        rng_collection: str = "dropout",
        rngs: Rngs = None,
    ) -> None:
        self.broadcast_dims = broadcast_dims
        self.noise_shape = noise_shape
        self._set_drop(rate, deterministic, rng_collection, rngs)

    def __call__(
        self,
        inputs: Inexact[Array, "*shape"],
        *,
        deterministic: bool | None = None,
        rngs: Rngs | KeyLike = None,
        rate: RateLike | None = None,
    ) -> Inexact[Array, "*shape"]:
        """Sets dropped elements to SELU's lower limit and restores mean and variance.

        Args:
          inputs: a floating-point or complex array.
          deterministic: overrides the attribute.
          rngs: overrides the layer's rngs; may also be a PRNG key.
          rate: overrides the attribute; may be a traced value, such as a schedule's.

        Returns:
          An array with the shape and dtype of the inputs.
        """
        key, rate, deterministic = self._resolve(deterministic, rngs, rate)
        return alpha_dropout(
            key,
            inputs,
            rate,
            broadcast_dims=self.broadcast_dims,
            noise_shape=self.noise_shape,
            deterministic=deterministic,
        )


class FeatureAlphaDropout(Drop, nnx.Module):
    """`dropjax.feature_alpha_dropout` as a layer, for any number of spatial axes.

    Args:
      rate: the probability of dropping a feature map, in [0, 1].
      channel_axis: the axis of the feature maps; 1 for PyTorch's layout.
      batch_axis: the axis of the examples, or None if there is none.
      deterministic: if True, nothing is dropped.
      rng_collection: the name of the rng stream that provides PRNG keys.
      rngs: the source of PRNG keys; None if every call passes its own.

    Example:
      >>> import dropjax.nnx as djn
      >>> from flax import nnx
      >>> layer = djn.FeatureAlphaDropout(0.5, rngs=nnx.Rngs(0))
      >>> x = jnp.ones((4, 6, 6, 32))
      >>> y = layer(x)
      >>> assert jnp.array_equal(y, jnp.broadcast_to(y[:, :1, :1], x.shape))
    """

    def __init__(
        self,
        rate: RateLike,
        *,
        channel_axis: int = -1,
        batch_axis: int | None = 0,
        deterministic: bool | None = False,
        rng_collection: str = "dropout",
        rngs: Rngs = None,
    ) -> None:
        self.channel_axis = channel_axis
        self.batch_axis = batch_axis
        self._set_drop(rate, deterministic, rng_collection, rngs)

    def __call__(
        self,
        inputs: Inexact[Array, "*shape"],
        *,
        deterministic: bool | None = None,
        rngs: Rngs | KeyLike = None,
        rate: RateLike | None = None,
    ) -> Inexact[Array, "*shape"]:
        """Sets dropped maps to SELU's lower limit and restores mean and variance.

        Args:
          inputs: a floating-point or complex array, by default (batch, *spatial,
            channels).
          deterministic: overrides the attribute.
          rngs: overrides the layer's rngs; may also be a PRNG key.
          rate: overrides the attribute; may be a traced value, such as a schedule's.

        Returns:
          An array with the shape and dtype of the inputs.
        """
        key, rate, deterministic = self._resolve(deterministic, rngs, rate)
        return feature_alpha_dropout(
            key,
            inputs,
            rate,
            channel_axis=self.channel_axis,
            batch_axis=self.batch_axis,
            deterministic=deterministic,
        )
