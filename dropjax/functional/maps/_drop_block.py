"""Drop block: drops contiguous regions of a feature map."""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Key, Num

from dropjax._apply import apply_mask, nan_seen, nan_where, redrawn, working_dtype
from dropjax._checks import (
    check_array,
    check_axis,
    check_batch,
    check_channel_and_batch,
    check_channel_fill,
    check_flag,
    check_numbers,
    check_positive,
    check_shape,
    check_sizes,
    is_symbolic,
)
from dropjax._masks import prepare
from dropjax._types import Fill, KeyLike, RateLike
from dropjax.functional.maps._blocks import draw, known_seedless
from dropjax.functional.maps._fill import filling


def drop_block(
    key: KeyLike,
    x: Num[Array, "*shape"],
    rate: RateLike,
    *,
    block_size: int | Sequence[int] = 7,
    channel_axis: int = -1,
    batch_axis: int | None = 0,
    per_channel: bool = True,
    gamma_scale: float = 1.0,
    fill: Fill = 0.0,
    scale_by_keep: bool = True,
    deterministic: bool = False,
) -> Num[Array, "*shape"]:
    r"""Drops blocks of a feature map, and scales each example by the share it keeps.

    $$y_{nsc} = \frac{m_{nsc}}{\bar m_n} x_{nsc}, \qquad
      m_{nsc} = \prod_{t \,:\, s \in B_t} (1 - z_{ntc}), \quad
      z_{ntc} \sim \text{Bernoulli}(\gamma)$$

    in example n, position s and channel c. Seeds z are drawn at each place t where a
    whole block $B_t$ fits into the map, and $\bar m_n$ is the mean of the mask over the
    example. With $k_s$ the number of blocks that cover position s, of S positions,
    gamma is the solution of

    $$\frac{1}{S} \sum_s (1 - \gamma)^{k_s} = 1 - rate$$

    so that the expected share of dropped elements equals the rate, up to 2^-23 times
    the number of positions in a block. The gamma of the paper, which torchvision uses,
    ignores that blocks overlap, and drops less. timm also draws seeds where no whole
    block fits, and drops more.

    Two options are timm's. `gamma_scale` multiplies gamma, after which the dropped
    share no longer equals the rate. Its `with_noise=True`, which fills blocks with
    standard normal noise and scales nothing, is `fill="random"` with
    `scale_by_keep=False` here.

    Any number of spatial axes, even block sizes, and rates that change during training
    (in the paper they grow from 0 to `rate`) are supported.

    Args:
      key: a typed or raw PRNG key. It may be None if nothing is drawn.
      x: a floating-point or complex array, by default (batch, *spatial, channels).
        Integers are accepted too with `scale_by_keep=False`.
      rate: the expected share to drop, in [0, 1], a number, or an array that broadcasts
        to the shape of x with size 1 along the spatial axes and, if channels share
        blocks, along the channel axis.
      block_size: the side of the blocks, or one side for each spatial axis. Sides
        larger than the map are clipped.
      channel_axis: the axis of the feature maps; 1 for PyTorch's layout.
      batch_axis: the axis of the examples, or None if there is none.
      per_channel: if False, the channels of an example share their blocks.
      gamma_scale: a positive factor of gamma; the product is clipped to 1.
      fill: the value that replaces dropped elements: a number, one number per channel,
        an array of x's dtype that broadcasts to the shape of x, or "random" for noise,
        which is standard normal, or uniform over the dtype for integers.
      scale_by_keep: if False, kept elements are not scaled.
      deterministic: if True, nothing is dropped.

    Returns:
      An array of x's shape and dtype; x itself if there is nothing to do.

    Raises:
      ValueError: the rate is outside [0, 1], an axis is out of range or repeated, the
        block size does not match the number of spatial axes, gamma_scale is not
        positive, or the key is missing.
      TypeError: x is not floating-point or complex (nor integer with
        `scale_by_keep=False`), or an argument has the wrong type.

    Example:
      >>> x = jnp.ones((64, 20, 20, 8))
      >>> y = drop_block(key, x, 0.2, block_size=5)
      >>> assert abs((y == 0).mean() - 0.2) < 0.01
      >>> assert jnp.allclose(y.mean((1, 2, 3)), 1, atol=1e-5)

    References:
      Ghiasi, Lin and Le, 2018, "DropBlock: a regularization method for convolutional
      networks", NeurIPS.
    """
    scaled = check_flag(scale_by_keep, "scale_by_keep")
    x = check_array(x) if scaled else check_numbers(x)
    window = _window(x.shape, block_size, channel_axis, batch_axis)
    maps = _maps(x.shape, window, channel_axis, per_channel)
    gamma_scale = check_positive(gamma_scale, "gamma_scale")
    value = check_channel_fill(fill, x, channel_axis)
    at_one = draws_at_one(gamma_scale, fill)
    key, keep, certain = prepare(
        key, rate, maps, deterministic=deterministic, draws_at_one=at_one
    )
    if certain:
        return x
    if key is None and value is not None:
        return jnp.full_like(x, value)
    examples = check_batch(batch_axis, x.ndim)
    return _drop_blocks(
        key,
        x,
        keep,
        _seedless(rate, x.shape, window, gamma_scale),
        value,
        window=window,
        maps=maps,
        gamma_scale=gamma_scale,
        scaled_per=examples if scaled else None,
    )


def drop_block_mask(
    key: KeyLike,
    shape: Sequence[int],
    rate: RateLike,
    *,
    block_size: int | Sequence[int] = 7,
    channel_axis: int = -1,
    batch_axis: int | None = 0,
    per_channel: bool = True,
    gamma_scale: float = 1.0,
    deterministic: bool = False,
) -> Bool[Array, "..."]:
    """The mask that `drop_block` draws for an array of this shape.

    Args:
      key: a typed or raw PRNG key. It may be None if nothing is drawn.
      shape: the shape of the array to be masked.
      rate: the expected share to drop, in [0, 1], a number or an array.
      block_size: the side of the blocks, or one side for each spatial axis.
      channel_axis: the axis of the feature maps.
      batch_axis: the axis of the examples, or None if there is none.
      per_channel: if False, the channels of an example share their blocks.
      gamma_scale: a positive factor of gamma, the probability of a seed.
      deterministic: if True, the mask is all True.

    Returns:
      A boolean array of the given shape, True where an element is kept. It has one
      channel if the channels share blocks.

    Raises:
      ValueError: as for `drop_block`.
      TypeError: as for `drop_block`.

    Example:
      >>> mask = drop_block_mask(key, (4, 20, 20, 8), 0.2, per_channel=False)
      >>> assert mask.shape == (4, 20, 20, 1)
    """
    shape = check_shape(shape)
    window = _window(shape, block_size, channel_axis, batch_axis)
    maps = _maps(shape, window, channel_axis, per_channel)
    gamma_scale = check_positive(gamma_scale, "gamma_scale")
    at_one = draws_at_one(gamma_scale, 0.0)
    key, keep, certain = prepare(
        key, rate, maps, deterministic=deterministic, draws_at_one=at_one
    )
    if key is None:
        sizes = zip(maps, shape, window, strict=True)
        return jnp.full([n if side else m for m, n, side in sizes], bool(certain))
    seedless = _seedless(rate, shape, window, gamma_scale)
    options = {"window": window, "maps": maps, "gamma_scale": gamma_scale}
    return _block_mask(key, keep, seedless, shape=shape, **options)


def draws_at_one(gamma_scale: float, fill: Fill) -> bool:
    """Whether something is drawn at a rate of 1: blocks, or noise."""
    return gamma_scale != 1 or isinstance(fill, str)


def _seedless(
    rate: RateLike, shape: tuple[int, ...], window: tuple[int, ...], gamma_scale: float
) -> np.ndarray | None:
    """The probability that a place has no seed, if it is known while tracing."""
    if not isinstance(rate, float):
        return None
    return known_seedless(1.0 - rate, shape, window, gamma_scale)


def _window(
    shape: tuple[int, ...],
    block_size: int | Sequence[int],
    channel_axis: int,
    batch_axis: int | None,
) -> tuple[int, ...]:
    """The side of the block along each axis, clipped to the map; 0 for other axes."""
    own = check_channel_and_batch(channel_axis, batch_axis, len(shape))
    sides = iter(check_sizes(block_size, "block_size", len(shape) - len(own)))
    return tuple(
        0 if axis in own else _side(next(sides), n) for axis, n in enumerate(shape)
    )


def _side(side: int, size: int) -> int:
    return side if is_symbolic(size) else max(1, min(side, size))


def _maps(
    shape: tuple[int, ...],
    window: tuple[int, ...],
    channel_axis: int,
    per_channel: bool,
) -> tuple[int, ...]:
    """The shape of x with one position per map."""
    own = check_flag(per_channel, "per_channel")
    shared = () if own else check_axis(channel_axis, len(shape), "channel_axis")
    sizes = zip(range(len(shape)), shape, window, strict=True)
    return tuple(1 if side or axis in shared else n for axis, n, side in sizes)


@redrawn("window", "maps", "gamma_scale", "scaled_per")
def _drop_blocks(
    key: Key[Array, ""],
    x: Num[Array, "*shape"],
    keep: Float[Array, "..."],
    seedless: Float[Array, ""] | None,
    fill: Num[Array, "..."] | None,
    *,
    window: tuple[int, ...],
    maps: tuple[int, ...],
    gamma_scale: float,
    scaled_per: tuple[int, ...] | None,
) -> Num[Array, "*shape"]:
    sizes = {"shape": x.shape, "window": window, "maps": maps}
    mask = draw(key, keep, seedless, gamma_scale=gamma_scale, **sizes)
    value = filling(key, x, fill)
    if scaled_per is None:
        return nan_where(keep, apply_mask(x, mask, fill=value))
    axes = tuple(axis for axis in range(x.ndim) if axis not in scaled_per)
    kept = jnp.sum(mask, axes, jnp.int32, keepdims=True)
    positions = math.prod(mask.shape[axis] for axis in axes) or 1
    share = kept.astype(working_dtype(x)) / jnp.asarray(positions, working_dtype(x))
    return apply_mask(x, mask, keep=nan_seen(share, keep), fill=value)


_block_mask = jax.jit(draw, static_argnames=("shape", "window", "maps", "gamma_scale"))
