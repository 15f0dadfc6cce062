"""Random erasing: drops one rectangle of random size and shape per example."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Num

from dropjax._checks import (
    check_numbers,
    check_range,
    check_shape,
    check_two_axes,
    is_symbolic,
)
from dropjax._masks import spatial_axes
from dropjax._types import Fill, KeyLike, RateLike
from dropjax.functional.maps._boxes import box_mask, erase, place


def random_erasing(
    key: KeyLike,
    x: Num[Array, "*shape"],
    rate: RateLike,
    *,
    area: tuple[float, float] = (0.02, 0.4),
    ratio: tuple[float, float] = (0.3, 10 / 3),
    fill: Fill = 0.0,
    channel_axis: int = -1,
    batch_axis: int | None = 0,
    deterministic: bool = False,
) -> Num[Array, "*shape"]:
    r"""Erases a rectangle of random size, shape and position in each example.

    $$y_{nsc} = \text{where}(m_n \lor s \notin B_n, x_{nsc}, fill), \qquad
      m_n \sim \text{Bernoulli}(1 - rate)$$

    in example n, position s and channel c. The share of the map that the rectangle
    $B_n$ covers is uniform in `area`, the logarithm of its aspect ratio (height over
    width) is uniform between those of `ratio`, restricted to rectangles that fit into
    the map, and its position is uniform. Nothing is scaled.

    Every draw gives a rectangle. The paper instead draws until one fits, and
    torchvision gives up after ten trials and erases nothing. The paper also draws the
    ratio itself uniformly, which makes tall rectangles more frequent than wide ones;
    torchvision and timm draw its logarithm, as here. The paper obtains its best results
    with noise, `fill="random"`.

    Args:
      key: a typed or raw PRNG key. It may be None if nothing is drawn.
      x: an array of numbers with two spatial axes, by default (batch, height, width,
        channels), such as uint8 images.
      rate: the probability that an example is erased, in [0, 1], a number or an array
        that broadcasts to the shape of the mask, which has size 1 except along the
        batch axis.
      area: the smallest and the largest share of the map, in (0, 1].
      ratio: the smallest and the largest height over width, above 0.
      fill: the value that replaces dropped elements: a number, a sequence or array with
        one value for each channel, an array of x's dtype that broadcasts to the shape
        of x, or "random" for independent noise in each element. The noise is standard
        normal, as in timm, torchvision and Keras; if x has an integer dtype, it is
        uniform over all values of the dtype, as in the paper.
      channel_axis: the axis of the channels, which are all erased at the same place.
      batch_axis: the axis of the examples, or None if there is none.
      deterministic: if True, nothing is dropped.

    Returns:
      An array of x's shape and dtype; x itself if there is nothing to do.

    Raises:
      ValueError: the rate is outside [0, 1], an axis is out of range or repeated, x
        does not have two spatial axes, area or ratio is out of range, or the key is
        missing.
      TypeError: x is not an array of numbers, or an argument has the wrong type.

    Example:
      >>> x = jnp.ones((64, 32, 32, 3))
      >>> y = random_erasing(key, x, 1.0, area=(0.1, 0.2))
      >>> share = (y == 0).mean((1, 2, 3))
      >>> assert ((share > 0.07) & (share < 0.23)).all()

    References:
      Zhong, Zheng, Kang, Li and Yang, 2020, "Random erasing data augmentation", AAAI.
    """
    spatial = spatial_axes(check_numbers(x).ndim, channel_axis, batch_axis)
    return erase(
        key,
        x,
        rate,
        _rectangle(area, ratio, spatial),
        fill,
        spatial=spatial,
        channel_axis=channel_axis,
        batch_axis=batch_axis,
        deterministic=deterministic,
    )


def random_erasing_mask(
    key: KeyLike,
    shape: Sequence[int],
    rate: RateLike,
    *,
    area: tuple[float, float] = (0.02, 0.4),
    ratio: tuple[float, float] = (0.3, 10 / 3),
    channel_axis: int = -1,
    batch_axis: int | None = 0,
    deterministic: bool = False,
) -> Bool[Array, "..."]:
    """The mask that `random_erasing` draws for an array of this shape.

    Args:
      key: a typed or raw PRNG key. It may be None if nothing is drawn.
      shape: the shape of the array to be masked.
      rate: the probability that an example is erased, in [0, 1], a number or an array.
      area: the smallest and the largest share of the map, in (0, 1].
      ratio: the smallest and the largest height over width, above 0.
      channel_axis: the axis of the channels.
      batch_axis: the axis of the examples, or None if there is none.
      deterministic: if True, the mask is all True.

    Returns:
      A boolean array of the given shape but with one channel, True where an element is
      kept.

    Raises:
      ValueError: as for `random_erasing`.
      TypeError: as for `random_erasing`.

    Example:
      >>> mask = random_erasing_mask(key, (64, 32, 32, 3), 1.0)
      >>> assert mask.shape == (64, 32, 32, 1)
    """
    shape = check_shape(shape)
    spatial = spatial_axes(len(shape), channel_axis, batch_axis)
    return box_mask(
        key,
        shape,
        rate,
        _rectangle(area, ratio, spatial),
        spatial=spatial,
        batch_axis=batch_axis,
        deterministic=deterministic,
    )


def _rectangle(
    area: tuple[float, float], ratio: tuple[float, float], spatial: tuple[int, ...]
) -> "_Rectangle":
    check_two_axes(len(spatial))
    area = check_range(area, "area", 0, 1)
    return _Rectangle(area, check_range(ratio, "ratio", 0))


@dataclass(frozen=True)
class _Rectangle:
    """Boxes with a random share of the map and a random aspect ratio."""

    area: tuple[float, float]
    ratio: tuple[float, float]

    numbers: ClassVar[int] = 2

    def spans(
        self, uniform: Float[Array, "numbers ..."], sizes: Sequence[int]
    ) -> Iterator[tuple[Int[Array, "..."], Int[Array, "..."]]]:
        of_area, of_ratio, *of_places = uniform
        height, width = map(_as_float, sizes)
        area = _between(of_area, *self.area)
        # Between these limits the rectangle fits into the map.
        least, most = jnp.log(area * (height / width)), jnp.log(height / width / area)
        wanted = np.log(np.asarray(self.ratio, np.float32))
        low, high = (jnp.clip(limit, least, most) for limit in wanted)
        root = jnp.exp(_between(of_ratio, low, high) / 2)
        side = jnp.sqrt(area * (height * width))
        exact = zip((height, width), (side * root, side / root), strict=True)
        for number, (size, ideal) in zip(of_places, exact, strict=True):
            extent = jnp.clip(jnp.round(ideal), 1, size).astype(jnp.int32)
            start = place(number, jnp.asarray(size, jnp.int32) + 1 - extent)
            yield start, start + extent


def _as_float(size: int) -> Any:
    """A NumPy float if possible, so that the compiler cannot reorder the arithmetic."""
    known = not is_symbolic(size)
    return np.float32(max(1, size)) if known else jnp.asarray(size, jnp.float32)


def _between(
    uniform: Float[Array, "..."],
    low: float | Float[Array, "..."],
    high: float | Float[Array, "..."],
) -> Float[Array, "..."]:
    return low + (high - low) * uniform
