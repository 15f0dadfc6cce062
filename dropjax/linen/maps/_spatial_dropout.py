"""Spatial dropout."""

from typing import ClassVar

import flax.linen as nn
from jaxtyping import Array, Inexact

from dropjax._checks import check_spatial_axes
from dropjax._types import KeyLike, RateLike, Scaling
from dropjax.functional.maps import spatial_dropout
from dropjax.linen._base import Drop, resolve


class _SpatialDropout(Drop):
    rate: RateLike
    channel_axis: int = -1
    batch_axis: int | None = 0
    scaling: Scaling = "inverted"
    deterministic: bool | None = None
    rng_collection: str = "dropout"

    spatial_axes: ClassVar[int]

    @nn.compact
    def __call__(
        self,
        inputs: Inexact[Array, "*shape"],
        deterministic: bool | None = None,
        rng: KeyLike = None,
        *,
        rate: RateLike | None = None,
    ) -> Inexact[Array, "*shape"]:
        """Drops whole feature maps of the inputs.

        Args:
          inputs: a floating-point or complex array with the layer's spatial axes.
          deterministic: if True, nothing is dropped.
          rng: a PRNG key to use instead of one from the collection.
          rate: overrides the attribute; may be a traced value, such as a schedule's.

        Returns:
          An array with the shape and dtype of the inputs.
        """
        check_spatial_axes(inputs, self.spatial_axes, self.batch_axis)
        key, rate, deterministic = resolve(self, rng, rate, deterministic)
        return spatial_dropout(
            key,
            inputs,
            rate,
            channel_axis=self.channel_axis,
            batch_axis=self.batch_axis,
            scaling=self.scaling,
            deterministic=deterministic,
        )


class SpatialDropout1D(_SpatialDropout):
    """`dropjax.spatial_dropout` for sequences: (batch, steps, channels) by default.

    Attributes:
      rate: the probability of dropping a feature map, in [0, 1].
      channel_axis: the axis of the feature maps.
      batch_axis: the axis of the examples, or None if there is none.
      scaling: "inverted" or "standard".
      deterministic: if True, nothing is dropped. Set it here or pass it in the call.
      rng_collection: the name of the rng collection that provides PRNG keys.

    Example:
      >>> import dropjax.linen as djl
      >>> layer, x = djl.SpatialDropout1D(0.5), jnp.ones((2, 7, 16))
      >>> y = layer.apply({}, x, deterministic=False, rngs={"dropout": key})
      >>> assert jnp.array_equal(y, jnp.broadcast_to(y[:, :1], y.shape))
    """

    spatial_axes = 1


class SpatialDropout2D(_SpatialDropout):
    """`dropjax.spatial_dropout` for images: (batch, height, width, channels).

    Attributes:
      rate: the probability of dropping a feature map, in [0, 1].
      channel_axis: the axis of the feature maps; 1 for PyTorch's layout.
      batch_axis: the axis of the examples, or None if there is none.
      scaling: "inverted" or "standard".
      deterministic: if True, nothing is dropped. Set it here or pass it in the call.
      rng_collection: the name of the rng collection that provides PRNG keys.

    Example:
      >>> import dropjax.linen as djl
      >>> layer, x = djl.SpatialDropout2D(0.5), jnp.ones((2, 7, 7, 16))
      >>> y = layer.apply({}, x, deterministic=False, rngs={"dropout": key})
      >>> assert jnp.array_equal(y, jnp.broadcast_to(y[:, :1, :1], y.shape))
    """

    spatial_axes = 2


class SpatialDropout3D(_SpatialDropout):
    """`dropjax.spatial_dropout` for volumes: (batch, depth, height, width, channels).

    Attributes:
      rate: the probability of dropping a feature map, in [0, 1].
      channel_axis: the axis of the feature maps; 1 for PyTorch's layout.
      batch_axis: the axis of the examples, or None if there is none.
      scaling: "inverted" or "standard".
      deterministic: if True, nothing is dropped. Set it here or pass it in the call.
      rng_collection: the name of the rng collection that provides PRNG keys.

    Example:
      >>> import dropjax.linen as djl
      >>> layer, x = djl.SpatialDropout3D(0.5), jnp.ones((2, 3, 7, 7, 16))
      >>> y = layer.apply({}, x, deterministic=False, rngs={"dropout": key})
      >>> assert jnp.array_equal(y, jnp.broadcast_to(y[:, :1, :1, :1], y.shape))
    """

    spatial_axes = 3
