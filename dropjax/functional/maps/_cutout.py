"""Cutout: drops one square per example."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Array, Bool, Float, Int, Num

from dropjax._checks import check_flag, check_numbers, check_shape, check_sizes
from dropjax._masks import spatial_axes
from dropjax._types import Fill, KeyLike, RateLike
from dropjax.functional.maps._boxes import box_mask, erase, place


def cutout(
    key: KeyLike,
    x: Num[Array, "*shape"],
    rate: RateLike,
    *,
    size: int | Sequence[int],
    fill: Fill = 0.0,
    inside: bool = False,
    channel_axis: int = -1,
    batch_axis: int | None = 0,
    deterministic: bool = False,
) -> Num[Array, "*shape"]:
    r"""Cuts a square of a given size out of each example.

    $$y_{nsc} = \text{where}(m_n \lor s \notin B_n, x_{nsc}, fill), \qquad
      m_n \sim \text{Bernoulli}(1 - rate)$$

    in example n, position s and channel c, where the center of the square $B_n$ is
    uniform over the map. Part of the square may lie outside the map, which the paper
    finds important. Nothing is scaled. The paper cuts every image (a rate of 1), after
    normalizing images so that 0 is their mean. With one spatial axis the function masks
    a time span, with three a box.

    Args:
      key: a typed or raw PRNG key. It may be None if nothing is drawn.
      x: an array of numbers, by default (batch, *spatial, channels), such as uint8
        images.
      rate: the probability that an example is cut, in [0, 1], a number or an array that
        broadcasts to the shape of the mask, which has size 1 except along the batch
        axis.
      size: the side of the square, or one side for each spatial axis.
      fill: the value that replaces dropped elements: a number, a sequence or array with
        one value for each channel, an array of x's dtype that broadcasts to the shape
        of x, or "random" for independent noise in each element. The noise is standard
        normal, as in timm, torchvision and Keras; if x has an integer dtype, it is
        uniform over all values of the dtype, as in the paper on random erasing.
      inside: if True, the whole square lies inside the map.
      channel_axis: the axis of the channels, which are all cut at the same place.
      batch_axis: the axis of the examples, or None if there is none.
      deterministic: if True, nothing is dropped.

    Returns:
      An array of x's shape and dtype; x itself if there is nothing to do.

    Raises:
      ValueError: the rate is outside [0, 1], an axis is out of range or repeated, the
        size does not fit the number of axes, or the key is missing.
      TypeError: x is not an array of numbers, or an argument has the wrong type.

    Example:
      >>> x = jnp.ones((64, 32, 32, 3))
      >>> y = cutout(key, x, 1.0, size=8, inside=True)
      >>> assert ((y == 0).sum((1, 2, 3)) == 8 * 8 * 3).all()

    References:
      DeVries and Taylor, 2017, "Improved regularization of convolutional neural
      networks with cutout", arXiv:1708.04552.
    """
    spatial = spatial_axes(check_numbers(x).ndim, channel_axis, batch_axis)
    return erase(
        key,
        x,
        rate,
        _square(size, inside, len(spatial)),
        fill,
        spatial=spatial,
        channel_axis=channel_axis,
        batch_axis=batch_axis,
        deterministic=deterministic,
    )


def cutout_mask(
    key: KeyLike,
    shape: Sequence[int],
    rate: RateLike,
    *,
    size: int | Sequence[int],
    inside: bool = False,
    channel_axis: int = -1,
    batch_axis: int | None = 0,
    deterministic: bool = False,
) -> Bool[Array, "..."]:
    """The mask that `cutout` draws for an array of this shape.

    Args:
      key: a typed or raw PRNG key. It may be None if nothing is drawn.
      shape: the shape of the array to be masked.
      rate: the probability that an example is cut, in [0, 1], a number or an array.
      size: the side of the square, or one side for each spatial axis.
      inside: if True, the whole square lies inside the map.
      channel_axis: the axis of the channels.
      batch_axis: the axis of the examples, or None if there is none.
      deterministic: if True, the mask is all True.

    Returns:
      A boolean array of the given shape but with one channel, True where an element is
      kept.

    Raises:
      ValueError: as for `cutout`.
      TypeError: as for `cutout`.

    Example:
      >>> mask = cutout_mask(key, (64, 32, 32, 3), 1.0, size=8)
      >>> assert mask.shape == (64, 32, 32, 1)
    """
    shape = check_shape(shape)
    spatial = spatial_axes(len(shape), channel_axis, batch_axis)
    return box_mask(
        key,
        shape,
        rate,
        _square(size, inside, len(spatial)),
        spatial=spatial,
        batch_axis=batch_axis,
        deterministic=deterministic,
    )


@dataclass(frozen=True)
class _Square:
    """Squares of one size; either their centers or all of them lie inside the map."""

    sides: tuple[int, ...]
    inside: bool

    numbers: ClassVar[int] = 0

    def spans(
        self, uniform: Float[Array, "numbers ..."], sizes: Sequence[int]
    ) -> Iterator[tuple[Int[Array, "..."], Int[Array, "..."]]]:
        for number, size, side in zip(uniform, sizes, self.sides, strict=True):
            if self.inside:
                start = place(number, size - side + 1)
            else:
                start = place(number, size) - np.int32(side // 2)
            yield start, start + np.int32(side)


def _square(size: int | Sequence[int], inside: bool, rank: int) -> _Square:
    return _Square(check_sizes(size, "size", rank), check_flag(inside, "inside"))
