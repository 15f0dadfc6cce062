"""Axes, sizes along them, and who shares a mask entry."""

from collections.abc import Sequence
from typing import Any

from jaxtyping import Array

from dropjax._checks._words import (
    are_positive,
    cut,
    describe,
    is_int,
    is_size,
    is_symbolic,
    shown,
)
from dropjax._types import Axes


def check_axes(axes: Axes, ndim: int | None, name: str) -> tuple[int, ...]:
    """Axes counted from 0, each in range and named once.

    Here and below, None stands for an array that is not known yet: what does not depend
    on it is checked.
    """
    given: Any = (axes,) if is_int(axes) else axes
    if not isinstance(given, Sequence) or not all(map(is_int, given)):
        raise TypeError(
            f"{name} must be an axis or a sequence of axes, got {describe(axes)}"
        )
    for axis in given:
        if ndim is not None and not -ndim <= axis < ndim:
            raise ValueError(
                f"{name} must name axes of an array with {ndim} axes, got {cut(axis)}"
            )
    counted = tuple(axis if ndim is None else axis % ndim for axis in given)
    if len(set(counted)) < len(counted):
        raise ValueError(f"{name} must name each axis once, got {shown(tuple(given))}")
    return counted


def check_axis(axis: int, ndim: int | None, name: str) -> tuple[int, ...]:
    """One axis, counted from 0: none would be taken for all, and change the mask."""
    if not is_int(axis):
        raise TypeError(
            f"{name} must be one axis, an integer, got {describe(axis)}; to share mask "
            "values along several axes, use dropout with broadcast_dims"
        )
    return check_axes(axis, ndim, name)


def check_batch(batch_axis: int | None, ndim: int | None) -> tuple[int, ...]:
    """The axis of the examples, if there is one."""
    return () if batch_axis is None else check_axis(batch_axis, ndim, "batch_axis")


def check_channel_and_batch(
    channel_axis: int,
    batch_axis: int | None,
    ndim: int | None,
    name: str = "channel_axis",
) -> tuple[int, ...]:
    """The axes along which the mask varies: the channels', and the batch's if any."""
    own = check_axis(channel_axis, ndim, name) + check_batch(batch_axis, ndim)
    if len(set(own)) < len(own):
        array = "" if channel_axis == batch_axis else f" for an array with {ndim} axes"
        raise ValueError(
            f"{name} and batch_axis must be different axes, got {channel_axis} and "
            f"{batch_axis}{array}; use batch_axis=None for an array without a batch"
        )
    return own


def check_frequency_axis(axis: int, others: tuple[int, ...], ndim: int | None) -> int:
    """The axis of the frequencies, beside those of time and batch."""
    (own,) = check_axis(axis, ndim, "frequency_axis")
    if own in others:
        raise ValueError(
            "frequency_axis must differ from time_axis and batch_axis, got "
            f"{axis}; use batch_axis=None for an array without a batch"
        )
    return own


def check_span_fits(length: int, size: int) -> int:
    """A span is no longer than the axis along which it lies, if that is known."""
    if not is_symbolic(size) and length > size:
        raise ValueError(
            f"span_length must be at most the size of x along time_axis, {size}, got "
            f"{length}"
        )
    return length


def check_spatial_axes(
    x: Array, spatial: int, batch_axis: int | None, name: str = "SpatialDropout"
) -> None:
    """As many spatial axes as the layer's name says."""
    wanted = spatial + (1 if batch_axis is None else 2)
    if x.ndim != wanted:
        batch = "no batch axis" if batch_axis is None else "a batch axis"
        raise ValueError(
            f"{name}{spatial}D with {batch} needs inputs of {wanted} axes, "
            f"{spatial} of them spatial, got shape {x.shape}; use batch_axis=None for "
            "inputs without a batch"
        )


def check_noise_shape(
    noise_shape: Sequence[int | None], shape: tuple[int, ...]
) -> tuple[int, ...]:
    """Keras's way to share mask values: 1 is shared, None or the size is not."""
    check_noise_sizes(noise_shape)
    given = shown(tuple(noise_shape))
    if len(noise_shape) != len(shape):
        raise ValueError(
            f"noise_shape must have one entry for each of the {len(shape)} axes of x, "
            f"got {given}"
        )
    pairs = list(zip(noise_shape, shape, strict=True))
    if not all(wanted in (None, 1, size) for wanted, size in pairs):
        raise ValueError(
            "each entry of noise_shape must be 1 (shared), or None or the axis's size "
            f"(not shared), got {given} for shape {shape}"
        )
    return tuple(1 if wanted == 1 else size for wanted, size in pairs)


def check_noise_sizes(noise_shape: Any) -> None:
    """Sizes, or None for that of an array that need not be known yet."""
    listed = isinstance(noise_shape, Sequence) and not isinstance(noise_shape, str)
    if not listed or not all(n is None or is_size(n) for n in noise_shape):
        raise TypeError(
            "noise_shape must be a sequence of integers or None, got "
            f"{describe(noise_shape)}"
        )


def check_one_sharing(broadcast_dims: Axes, noise_shape: object) -> None:
    """`broadcast_dims` and `noise_shape` say the same thing: take one of them."""
    if noise_shape is not None and broadcast_dims != () and broadcast_dims != []:
        raise ValueError(
            "pass broadcast_dims or noise_shape, not both: "
            f"got broadcast_dims={broadcast_dims} and noise_shape={noise_shape}"
        )


def check_sizes(sizes: Any, name: str, rank: int | None = None) -> tuple[int, ...]:
    """A positive integer for each spatial axis; a lone one stands for all of them."""
    each = (sizes,) * (rank or 1) if is_int(sizes) else sizes
    positive = are_positive(each) and len(each) > 0
    if not positive or len(each) != (rank or len(each)):
        axes = f"of the {rank} spatial axes" if positive else "spatial axis"
        raise ValueError(
            f"{name} must be one positive integer, or one for each {axes}, got "
            f"{shown(sizes)}"
        )
    if rank == 0:
        raise ValueError(
            f"x must have at least one spatial axis for {name}, got none; use "
            "batch_axis=None for an x without a batch"
        )
    return tuple(int(size) for size in each)


def check_window(sizes: Any, name: str, rank: int) -> tuple[int, ...]:
    """Sizes of which None stands for 1, as in flax."""
    return check_sizes(1 if sizes is None else sizes, name, rank)


def check_weight_block(sizes: Any) -> tuple[int, ...]:
    """The sides of a block along the last axes of weights; none for no blocks."""
    each = (sizes, 1) if is_int(sizes) else () if sizes is None else sizes
    if not are_positive(each):
        raise ValueError(
            "block_size must be None, a positive integer n, which stands for (n, 1), "
            "or a tuple of them, one for each of the last axes of a leaf, got "
            f"{shown(sizes)}"
        )
    return () if is_int(sizes) and sizes == 1 else tuple(int(size) for size in each)


def check_two_axes(spatial: int) -> None:
    """A rectangle has a height and a width."""
    if spatial != 2:
        raise ValueError(
            "random_erasing needs an x with two spatial axes besides those of the "
            f"channels and the batch, got {spatial}; cutout takes any number, and "
            "batch_axis=None is for an x without a batch"
        )
