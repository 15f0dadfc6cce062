"""Convolutions with channels last, as in `flax.linen.Conv`."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any, TypeAlias

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Inexact

from dropjax._checks import check_conv_shapes, check_padding, check_window
from dropjax.functional.weights._linear import Linear, Operands

Padding: TypeAlias = str | int | Sequence[int | tuple[int, int]]
Window: TypeAlias = int | Sequence[int] | None

_NO_PAD = [(0, 0)]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Conv(Linear):
    """A convolution of x with the kernel over all spatial axes of the kernel.

    Its attributes are the options of `dropconnect_conv`.
    """

    strides: Window
    padding: Padding
    dilation: Window
    input_dilation: Window
    feature_group_count: int

    def __call__(self, x: Array, kernel: Array) -> Array:
        rank = kernel.ndim - 2
        padded, left = self._padded(x, kernel)
        y = (self.function or lax.conv_general_dilated)(
            padded,
            kernel,
            check_window(self.strides, "strides", rank),
            left,
            lhs_dilation=check_window(self.input_dilation, "input_dilation", rank),
            rhs_dilation=check_window(self.dilation, "dilation", rank),
            dimension_numbers=_channels_last(rank),
            feature_group_count=self.feature_group_count,
            **self.options,
        )
        return y.reshape(x.shape[: x.ndim - rank - 1] + y.shape[1:])

    def check(self, operands: Operands) -> None:
        check_conv_shapes(*operands, self.feature_group_count)

    def is_batched(self, operands: Operands) -> bool:
        return operands.x.ndim >= operands.kernel.ndim

    def per_example(self) -> Linear:
        if self.function is not None:
            return self
        return _ByPatches(**{k: _hashable(v) for k, v in vars(self).items()})

    def _padded(
        self, x: Array, kernel: Array
    ) -> tuple[Array, str | list[tuple[int, int]]]:
        """X with one batch axis and padded, and the padding that is left to do."""
        window = kernel.shape[:-2]
        dilation = check_window(self.dilation, "dilation", len(window))
        spread = check_window(self.input_dilation, "input_dilation", len(window))
        batch = x.shape[: x.ndim - len(window) - 1]
        flat = x.reshape((math.prod(batch), *x.shape[len(batch) :]))
        return _pad(flat, window, dilation, self.padding, spread)


class _ByPatches(Conv):
    """The same map as a product with patches; faster if each example has a kernel."""

    def __call__(self, x: Array, kernel: Array) -> Array:
        window = kernel.shape[:-2]
        rank = len(window)
        steps = check_window(self.dilation, "dilation", rank)
        jumps = check_window(self.strides, "strides", rank)
        spread = check_window(self.input_dilation, "input_dilation", rank)
        flat, left = self._padded(x, kernel)
        if isinstance(left, str):
            reach = [1 + (n - 1) * step for n, step in zip(window, steps, strict=True)]
            left = list(lax.padtype_to_pads(flat.shape[1:-1], reach, jumps, left))
        patches = _patches(_pad_and_spread(flat, left, spread), window, steps, jumps)
        y = _grouped_product(patches, kernel, self.feature_group_count, **self.options)
        return y.reshape(x.shape[: x.ndim - rank - 1] + y.shape[1:])


def _hashable(value: Any) -> Any:
    return tuple(map(_hashable, value)) if isinstance(value, list | tuple) else value


def _pad(
    x: Array,
    window: tuple[int, ...],
    dilation: tuple[int, ...],
    padding: Padding,
    spread: tuple[int, ...],
) -> tuple[Array, str | list[tuple[int, int]]]:
    """Applies the paddings that lax lacks; returns x and the padding left to do."""
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


def _pad_and_spread(
    x: Array, padding: list[tuple[int, int]], spread: tuple[int, ...]
) -> Array:
    """Pads x with zeros around and between its elements; negative padding crops."""
    sides = zip(padding, spread, strict=True)
    around = [(low, high, step - 1) for (low, high), step in sides]
    none = (0, 0, 0)
    return lax.pad(x, jnp.zeros((), x.dtype), [none, *around, none])


def _patches(
    x: Array, window: tuple[int, ...], steps: tuple[int, ...], jumps: tuple[int, ...]
) -> Inexact[Array, "batch *places window features"]:
    """The contents of the window at each position, as strided slices of x."""
    reach = [(size - 1) * step for size, step in zip(window, steps, strict=True)]
    sizes = x.shape[1:-1]
    # A window that is larger than x has no position in it.
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
