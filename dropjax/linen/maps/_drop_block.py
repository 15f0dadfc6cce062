"""Drop block."""

from collections.abc import Sequence
from typing import ClassVar

import flax.linen as nn
from jaxtyping import Array, Num

from dropjax._checks import check_spatial_axes
from dropjax._types import Fill, KeyLike, RateLike
from dropjax.functional.maps import drop_block
from dropjax.functional.maps._drop_block import draws_at_one
from dropjax.linen._base import Drop, resolve


class _DropBlock(Drop):
    rate: RateLike
    block_size: int | Sequence[int] = 7
    channel_axis: int = -1
    batch_axis: int | None = 0
    per_channel: bool = True
    gamma_scale: float = 1.0
    fill: Fill = 0.0
    scale_by_keep: bool = True
    deterministic: bool | None = None
    rng_collection: str = "dropout"

    spatial_axes: ClassVar[int]

    @property
    def draws_at_one(self) -> bool:
        """Whether a rate of 1 needs a PRNG key."""
        return draws_at_one(self.gamma_scale, self.fill)

    @nn.compact
    def __call__(
        self,
        inputs: Num[Array, "*shape"],
        deterministic: bool | None = None,
        rng: KeyLike = None,
        *,
        rate: RateLike | None = None,
    ) -> Num[Array, "*shape"]:
        """Drops blocks of the inputs.

        Args:
          inputs: a floating-point or complex array with the layer's spatial axes.
          deterministic: if True, nothing is dropped.
          rng: a PRNG key to use instead of one from the collection.
          rate: overrides the attribute; may be a traced value, such as a schedule's.

        Returns:
          An array with the shape and dtype of the inputs.
        """
        check_spatial_axes(inputs, self.spatial_axes, self.batch_axis, "DropBlock")
        key, rate, deterministic = resolve(self, rng, rate, deterministic)
        return drop_block(
            key,
            inputs,
            rate,
            block_size=self.block_size,
            channel_axis=self.channel_axis,
            batch_axis=self.batch_axis,
            per_channel=self.per_channel,
            gamma_scale=self.gamma_scale,
            fill=self.fill,
            scale_by_keep=self.scale_by_keep,
            deterministic=deterministic,
        )


class DropBlock1D(_DropBlock):
    """`dropjax.drop_block` for sequences: (batch, steps, channels) by default.

    Attributes:
      rate: the fraction of elements to drop, in [0, 1].
      block_size: the side length of the blocks, or one for each spatial axis.
      channel_axis: the axis of the feature maps; 1 for PyTorch's layout.
      batch_axis: the axis of the examples, or None if there is none.
      per_channel: if False, the channels of an example share the same blocks.
      gamma_scale: a positive factor for the probability of a block.
      fill: the value that replaces dropped elements: a number, one for each channel, an
        array that broadcasts, or "random".
      scale_by_keep: if False, kept elements are not scaled.
      deterministic: if True, nothing is dropped. Set it here or pass it in the call.
      rng_collection: the name of the rng collection that provides PRNG keys.

    Example:
      >>> import dropjax.linen as djl
      >>> layer, x = djl.DropBlock1D(0.2), jnp.ones((8, 60, 16))
      >>> y = layer.apply({}, x, deterministic=False, rngs={"dropout": key})
      >>> assert 0.1 < (y == 0).mean() < 0.3
    """

    spatial_axes = 1


class DropBlock2D(_DropBlock):
    """`dropjax.drop_block` for images: (batch, height, width, channels).

    Attributes:
      rate: the fraction of elements to drop, in [0, 1].
      block_size: the side length of the blocks, or one for each spatial axis.
      channel_axis: the axis of the feature maps; 1 for PyTorch's layout.
      batch_axis: the axis of the examples, or None if there is none.
      per_channel: if False, the channels of an example share the same blocks.
      gamma_scale: a positive factor for the probability of a block.
      fill: the value that replaces dropped elements: a number, one for each channel, an
        array that broadcasts, or "random".
      scale_by_keep: if False, kept elements are not scaled.
      deterministic: if True, nothing is dropped. Set it here or pass it in the call.
      rng_collection: the name of the rng collection that provides PRNG keys.

    Example:
      >>> import dropjax.linen as djl
      >>> layer, x = djl.DropBlock2D(0.2), jnp.ones((8, 20, 20, 16))
      >>> y = layer.apply({}, x, deterministic=False, rngs={"dropout": key})
      >>> assert 0.1 < (y == 0).mean() < 0.3
    """

    spatial_axes = 2


class DropBlock3D(_DropBlock):
    """`dropjax.drop_block` for volumes: (batch, depth, height, width, channels).

    Attributes:
      rate: the fraction of elements to drop, in [0, 1].
      block_size: the side length of the blocks, or one for each spatial axis.
      channel_axis: the axis of the feature maps; 1 for PyTorch's layout.
      batch_axis: the axis of the examples, or None if there is none.
      per_channel: if False, the channels of an example share the same blocks.
      gamma_scale: a positive factor for the probability of a block.
      fill: the value that replaces dropped elements: a number, one for each channel, an
        array that broadcasts, or "random".
      scale_by_keep: if False, kept elements are not scaled.
      deterministic: if True, nothing is dropped. Set it here or pass it in the call.
      rng_collection: the name of the rng collection that provides PRNG keys.

    Example:
      >>> import dropjax.linen as djl
      >>> layer, x = djl.DropBlock3D(0.2, block_size=3), jnp.ones((8, 8, 8, 8, 4))
      >>> y = layer.apply({}, x, deterministic=False, rngs={"dropout": key})
      >>> assert 0.1 < (y == 0).mean() < 0.3
    """

    spatial_axes = 3
