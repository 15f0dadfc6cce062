"""Convolution with channels last, as `flax.linen.Conv` does it."""

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import jax.numpy as jnp
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
    flat = x.reshape((-1, *x.shape[len(batch) :]))
    padded, left = _pad(flat, kernel.shape[:rank], dilation, padding)
    y = conv_general_dilated(
        padded,
        kernel,
        check_window(strides, rank, "strides"),
        left,
        lhs_dilation=check_window(input_dilation, rank, "input_dilation"),
        rhs_dilation=dilation,
        dimension_numbers=_channels_last(rank),
        feature_group_count=feature_group_count,
        **options,
    )
    return y.reshape(batch + y.shape[1:])


def _pad(
    x: Array, window: tuple[int, ...], dilation: tuple[int, ...], padding: Padding
) -> tuple[Array, str | list[tuple[int, int]]]:
    """Does the paddings that lax does not know, and says which one is left to do."""
    reach = [(size - 1) * step for size, step in zip(window, dilation, strict=True)]
    padding = check_padding(padding, len(window))
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
