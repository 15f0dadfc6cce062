"""Convolution with channels last, as `flax.linen.Conv` does it."""

import math
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Inexact

from dropjax._checks import check_padding, check_window

Padding: TypeAlias = str | int | Sequence[int | tuple[int, int]]
Window: TypeAlias = int | Sequence[int] | None

_NO_PAD = [(0, 0)]


def conv(
    x: Inexact[Array, "*batch_spatial features_in"],
    kernel: Inexact[Array, "*window features_per_group features_out"],
    *,
    strides: Window,
    padding: Padding,
    dilation: Window,
    input_dilation: Window,
    feature_group_count: int,
    conv_general_dilated: Callable[..., Array],
    **options: Any,
) -> Inexact[Array, "*batch_spatial features_out"]:
    """X convolved with the kernel over as many spatial axes as the kernel has."""
    rank = kernel.ndim - 2
    batch = x.shape[: x.ndim - rank - 1]
    dilation = check_window(dilation, rank, "dilation")
    spread = check_window(input_dilation, rank, "input_dilation")
    flat = x.reshape((math.prod(batch), *x.shape[len(batch) :]))
    padded, left = _pad(flat, kernel.shape[:rank], dilation, padding, spread)
    y = conv_general_dilated(
        padded,
        kernel,
        check_window(strides, rank, "strides"),
        left,
        lhs_dilation=spread,
        rhs_dilation=dilation,
        dimension_numbers=_channels_last(rank),
        feature_group_count=feature_group_count,
        **options,
    )
    return y.reshape(batch + y.shape[1:])


def _pad(
    x: Array,
    window: tuple[int, ...],
    dilation: tuple[int, ...],
    padding: Padding,
    spread: tuple[int, ...],
) -> tuple[Array, str | list[tuple[int, int]]]:
    """Does the paddings that lax does not know, and says which one is left to do."""
    reach = [(size - 1) * step for size, step in zip(window, dilation, strict=True)]
    padding = check_padding(padding, len(window), spread)
    if padding == "CAUSAL":
        return jnp.pad(x, [*_NO_PAD, (reach[0], 0), *_NO_PAD]), "VALID"
    if padding in ("CIRCULAR", "REFLECT"):
        mode = {"CIRCULAR": "wrap", "REFLECT": "reflect"}[padding]
        around = [(size // 2, (size + 1) // 2) for size in reach]
        return jnp.pad(x, [*_NO_PAD, *around, *_NO_PAD], mode=mode), "VALID"
    return x, padding


def _channels_last(rank: int) -> lax.ConvDimensionNumbers:
    spatial = tuple(range(1, rank + 1))
    array = (0, rank + 1, *spatial)
    kernel = (rank + 1, rank, *range(rank))
    return lax.ConvDimensionNumbers(array, kernel, array)


def conv_by_patches(
    x: Inexact[Array, "*batch_spatial features_in"],
    kernel: Inexact[Array, "*window features_per_group features_out"],
    *,
    strides: Window,
    padding: Padding,
    dilation: Window,
    input_dilation: Window,
    feature_group_count: int,
    **options: Any,
) -> Inexact[Array, "*batch_spatial features_out"]:
    """`conv` as a matrix product with the patches: faster for a kernel per example."""
    rank = kernel.ndim - 2
    window = kernel.shape[:rank]
    batch = x.shape[: x.ndim - rank - 1]
    steps = check_window(dilation, rank, "dilation")
    jumps = check_window(strides, rank, "strides")
    spread = check_window(input_dilation, rank, "input_dilation")
    flat = x.reshape((math.prod(batch), *x.shape[len(batch) :]))
    flat, left = _pad(flat, window, steps, padding, spread)
    if isinstance(left, str):
        reach = [1 + (n - 1) * step for n, step in zip(window, steps, strict=True)]
        left = list(lax.padtype_to_pads(flat.shape[1:-1], reach, jumps, left))
    patches = _patches(_pad_and_spread(flat, left, spread), window, steps, jumps)
    y = _grouped_product(patches, kernel, feature_group_count, **options)
    return y.reshape(batch + y.shape[1:])


def _pad_and_spread(
    x: Array, padding: list[tuple[int, int]], spread: tuple[int, ...]
) -> Array:
    """Puts zeros around x, and between its elements; negative padding takes away."""
    sides = zip(padding, spread, strict=True)
    around = [(low, high, step - 1) for (low, high), step in sides]
    none = (0, 0, 0)
    return lax.pad(x, jnp.zeros((), x.dtype), [none, *around, none])


def _patches(
    x: Array, window: tuple[int, ...], steps: tuple[int, ...], jumps: tuple[int, ...]
) -> Inexact[Array, "batch *places window features"]:
    """What the window sees from each of its places, by strided slices of x."""
    reach = [(size - 1) * step for size, step in zip(window, steps, strict=True)]
    sizes = x.shape[1:-1]
    # A window that is larger than x has no place in it.
    inner = [max(n - far, 0) for n, far in zip(sizes, reach, strict=True)]

    def seen(place: tuple[int, ...]) -> Array:
        moves = zip(place, steps, sizes, strict=True)
        first = [min(at * step, n) for at, step, n in moves]
        last = [low + n for low, n in zip(first, inner, strict=True)]
        whole = (x.shape[0], x.shape[-1])
        stop = (whole[0], *last, whole[1])
        return lax.slice(x, (0, *first, 0), stop, (1, *jumps, 1))

    return jnp.stack([seen(place) for place in np.ndindex(*window)], axis=-2)


def _grouped_product(
    patches: Array, kernel: Array, groups: int, **options: Any
) -> Array:
    *places, seen, features = patches.shape
    patches = patches.reshape(*places, seen, groups, features // groups)
    weights = kernel.reshape(seen, features // groups, groups, -1)
    last = len(places)
    contract = ((last, last + 2), (0, 1)), ((last + 1,), (2,))
    y = lax.dot_general(patches, weights, contract, **options)
    return jnp.moveaxis(y, 0, -2).reshape(*places, kernel.shape[-1])
