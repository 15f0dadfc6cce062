"""Spatial dropout."""

from typing import ClassVar

from flax import nnx
from jaxtyping import Array, Inexact

from dropjax._checks import check_spatial_axes
from dropjax._types import KeyLike, RateLike, Scaling
from dropjax.functional.maps import spatial_dropout
from dropjax.nnx._base import Drop, Rngs


class _SpatialDropout(Drop, nnx.Module):
    spatial_axes: ClassVar[int]

    def __init__(
        self,
        rate: RateLike,
        *,
        channel_axis: int = -1,
        batch_axis: int | None = 0,
        scaling: Scaling = "inverted",
        deterministic: bool | None = False,
        rng_collection: str = "dropout",
        rngs: Rngs = None,
    ) -> None:
        self.channel_axis = channel_axis
        self.batch_axis = batch_axis
        self.scaling = scaling
        self._set_drop(rate, deterministic, rng_collection, rngs)

    def __call__(
        self,
        inputs: Inexact[Array, "*shape"],
        *,
        deterministic: bool | None = None,
        rngs: Rngs | KeyLike = None,
        rate: RateLike | None = None,
    ) -> Inexact[Array, "*shape"]:
        """Drops whole feature maps of the inputs.

        Args:
          inputs: a floating-point or complex array with the layer's spatial axes.
          deterministic: overrides the attribute.
          rngs: overrides the layer's rngs; may also be a PRNG key.
          rate: overrides the attribute; may be a traced value, such as a schedule's.

        Returns:
          An array with the shape and dtype of the inputs.
        """
        check_spatial_axes(inputs, self.spatial_axes, self.batch_axis)
        key, rate, deterministic = self._resolve(deterministic, rngs, rate)
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

    Args:
      rate: the probability of dropping a feature map, in [0, 1].
      channel_axis: the axis of the feature maps.
      batch_axis: the axis of the examples, or None if there is none.
      scaling: "inverted" or "standard".
      deterministic: if True, nothing is dropped.
      rng_collection: the name of the rng stream that provides PRNG keys.
      rngs: the source of PRNG keys; None if every call passes its own.

    Example:
      >>> import dropjax.nnx as djn
      >>> from flax import nnx
      >>> layer = djn.SpatialDropout1D(0.5, rngs=nnx.Rngs(0))
      >>> y = layer(jnp.ones((2, 7, 16)))
      >>> assert jnp.array_equal(y, jnp.broadcast_to(y[:, :1], y.shape))
    """

    spatial_axes = 1


class SpatialDropout2D(_SpatialDropout):
    """`dropjax.spatial_dropout` for images: (batch, height, width, channels).

    Args:
      rate: the probability of dropping a feature map, in [0, 1].
      channel_axis: the axis of the feature maps; 1 for PyTorch's layout.
      batch_axis: the axis of the examples, or None if there is none.
      scaling: "inverted" or "standard".
      deterministic: if True, nothing is dropped.
      rng_collection: the name of the rng stream that provides PRNG keys.
      rngs: the source of PRNG keys; None if every call passes its own.

    Example:
      >>> import dropjax.nnx as djn
      >>> from flax import nnx
      >>> layer = djn.SpatialDropout2D(0.5, rngs=nnx.Rngs(0))
      >>> y = layer(jnp.ones((2, 7, 7, 16)))
      >>> assert jnp.array_equal(y, jnp.broadcast_to(y[:, :1, :1], y.shape))
    """

    spatial_axes = 2


class SpatialDropout3D(_SpatialDropout):
    """`dropjax.spatial_dropout` for volumes: (batch, depth, height, width, channels).

    Args:
      rate: the probability of dropping a feature map, in [0, 1].
      channel_axis: the axis of the feature maps; 1 for PyTorch's layout.
      batch_axis: the axis of the examples, or None if there is none.
      scaling: "inverted" or "standard".
      deterministic: if True, nothing is dropped.
      rng_collection: the name of the rng stream that provides PRNG keys.
      rngs: the source of PRNG keys; None if every call passes its own.

    Example:
      >>> import dropjax.nnx as djn
      >>> from flax import nnx
      >>> layer = djn.SpatialDropout3D(0.5, rngs=nnx.Rngs(0))
      >>> y = layer(jnp.ones((2, 3, 7, 7, 16)))
      >>> assert jnp.array_equal(y, jnp.broadcast_to(y[:, :1, :1, :1], y.shape))
    """

    spatial_axes = 3
