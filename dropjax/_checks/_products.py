"""Dense layers and convolutions, and the tokens of a sequence."""

from collections.abc import Mapping, Sequence
from typing import Any

from jaxtyping import Array

from dropjax._checks._arrays import check_array, check_rank
from dropjax._checks._axes import check_axes
from dropjax._checks._options import check_count
from dropjax._checks._words import (
    cut,
    describe,
    is_int,
    is_pair,
    is_symbolic,
    same_dtype,
    shown,
)
from dropjax._types import Axes

_PADDINGS = ("SAME", "VALID", "CIRCULAR", "REFLECT", "CAUSAL")


def check_prefix_tokens(shape: tuple[int, ...], prefix_tokens: Any) -> int:
    """How many tokens may be dropped: all after the prefix."""
    check_rank(shape, 2, "(*batch, tokens, features)")
    check_count(prefix_tokens, "prefix_tokens", 0)
    if not is_symbolic(shape[-2]) and prefix_tokens > shape[-2]:
        raise ValueError(
            "prefix_tokens must be a number of tokens from 0 to the sequence's "
            f"{shape[-2]}, got {shown(prefix_tokens)}"
        )
    return shape[-2] - int(prefix_tokens)


def check_dense_shapes(x: Array, kernel: Array, bias: Any) -> None:
    """X's features are the kernel's rows, and all have one dtype."""
    if kernel.ndim != 2 or x.ndim == 0 or x.shape[-1] != kernel.shape[0]:
        raise ValueError(
            "kernel must have shape (features_in, features_out), features_in as the "
            f"last axis of x, got kernel of shape {kernel.shape}, x of shape {x.shape}"
        )
    check_parameters(x, kernel, bias, kernel.shape[-1:])


def check_dense_general_shapes(
    x: Array, kernel: Array, bias: Any, axis: tuple[int, ...], batch_dims: int
) -> None:
    """The kernel's axes are those that go together, the contracted ones, the rest."""
    inner = (*x.shape[:batch_dims], *(x.shape[one] for one in axis))
    if kernel.ndim <= len(inner) or kernel.shape[: len(inner)] != inner:
        raise ValueError(
            "kernel must have shape (*batch, *features_in, *features_out), here "
            f"({', '.join(map(str, inner))}, *features_out), got kernel of shape "
            f"{kernel.shape}, x of shape {x.shape}"
        )
    features = kernel.shape[len(inner) :]
    check_parameters(x, kernel, bias, (*x.shape[:batch_dims], *features))


def check_contraction(
    axis: Axes, batch_dims: Axes, ndim: int
) -> tuple[tuple[int, ...], int]:
    """The contracted axes, counted from the last, and how many first axes go along."""
    axes = check_axes(axis, ndim, "axis")
    given = check_axes(batch_dims, ndim, "batch_dims")
    if sorted(given) != list(range(len(given))):
        raise ValueError(
            "batch_dims must be the first axes of x, such as (0,) or (0, 1), got "
            f"{shown(batch_dims)}"
        )
    if not axes or set(axes) & set(given):
        raise ValueError(
            "axis must be one or more axes of x that are not in batch_dims, got "
            f"axis={shown(axis)}, batch_dims={shown(batch_dims)}"
        )
    return tuple(one - ndim for one in axes), len(given)


def check_own_masks(known: bool, x: Array, kernel: Array) -> None:
    """Examples with masks of their own lie along the first axis of x and of y."""
    if not known:
        raise ValueError(
            "mask_per must be 'batch' unless the first axis of x is one of examples: "
            "not contracted, not an axis of the kernel, and the output's first, got x "
            f"of shape {x.shape}, kernel of shape {kernel.shape}"
        )


def check_einsum_str(equation: Any) -> str:
    """An equation of two arrays, the second of which has no ellipsis."""
    known = isinstance(equation, str) and "->" in equation
    terms = _terms(equation) if known else []
    if len(terms) != 3 or "." in terms[1]:
        raise ValueError(
            "einsum_str must be the equation of x and a kernel, such as "
            f"'bti,ihd->bthd' or '...i,io->...o', got {shown(equation)}"
        )
    return str(equation)


def _terms(equation: str) -> list[str]:
    return equation.replace(" ", "").replace("->", ",").split(",")


def check_batch_sizes(sizes: Any) -> Mapping[int, int]:
    """The sizes of the first axes, by axis."""
    if not isinstance(sizes, Mapping):
        raise TypeError(
            "batch_axis must map the first axes of x to their sizes, such as {0: 8}, "
            f"got {describe(sizes)}"
        )
    return sizes


def check_equation(
    equation: Any, inputs: tuple[int, ...], kernel: tuple[int, ...]
) -> tuple[str, str, str]:
    """The axes of x, of the kernel and of the output, a letter for each."""
    terms = _terms(check_einsum_str(equation))
    spare = len(inputs) - len(terms[0]) + 3 if "..." in terms[0] else 0
    others = "".join(chr(0x3B1 + n) for n in range(spare))
    of_x, of_kernel, of_y = (part.replace("...", others) for part in terms)
    sizes = {*zip(of_x, inputs, strict=False), *zip(of_kernel, kernel, strict=False)}
    lengths = (len(of_x), len(of_kernel)) == (len(inputs), len(kernel))
    if not lengths or len(sizes) > len({*of_x, *of_kernel}):
        raise ValueError(
            "einsum_str must have one letter for each axis of x and of the kernel, and "
            "axes with the same letter must have the same size, got "
            f"{shown(equation)} for x of shape {inputs}, kernel of shape {kernel}"
        )
    if set(of_x) - set(of_kernel) - set(of_y):
        raise ValueError(
            "einsum_str must have each axis of x in the kernel or in the output, got "
            f"{shown(equation)}; sum x over the other axes first"
        )
    return of_x, of_kernel, of_y


def check_conv_shapes(x: Array, kernel: Array, bias: Any, groups: int) -> None:
    """X's channels are the kernel's times the groups, and all have one dtype."""
    if kernel.ndim < 3 or x.ndim < kernel.ndim - 1:
        raise ValueError(
            "kernel must have shape (*window, features_in / groups, features_out) and "
            "x (*batch, *spatial, features_in), got kernel of shape "
            f"{kernel.shape}, x of shape {x.shape}"
        )
    if 0 in kernel.shape[:-1]:
        raise ValueError(
            "kernel must have a window and features_in of 1 or more, got kernel of "
            f"shape {kernel.shape}"
        )
    fits = kernel.shape[-1] % check_count(groups, "feature_group_count") == 0
    if not fits or x.shape[-1] != kernel.shape[-2] * groups:
        raise ValueError(
            "feature_group_count must divide the kernel's features_out, and times the "
            f"kernel's features_in it must equal x's, got {cut(groups)} for kernel of "
            f"shape {kernel.shape}, x of shape {x.shape}"
        )
    check_parameters(x, kernel, bias, kernel.shape[-1:])


def check_parameters(
    x: Array, kernel: Array, bias: Any, shape: tuple[int, ...]
) -> None:
    """Of one dtype, and the bias of this shape."""
    if x.dtype != kernel.dtype:
        raise TypeError(
            f"x and kernel must have one dtype, got {x.dtype} and {kernel.dtype}; "
            "cast one of them"
        )
    if bias is not None and check_array(bias, "bias").shape != shape:
        raise ValueError(f"bias must have shape {shape}, got {bias.shape}")
    if bias is not None and not same_dtype(bias, kernel):
        raise TypeError(
            f"bias must have the kernel's dtype, got {bias.dtype} and {kernel.dtype}; "
            "cast one of them"
        )


def check_padding(
    padding: Any, rank: int, input_dilation: tuple[int, ...]
) -> str | list[tuple[int, int]]:
    """A padding by name, or as one (low, high) pair per spatial axis."""
    if padding == "CAUSAL" and rank != 1:
        raise ValueError(
            f"padding='CAUSAL' is for one spatial axis, got {rank}; pad x instead"
        )
    named = isinstance(padding, str) and padding in _PADDINGS
    if named and max(input_dilation) > 1:
        raise ValueError(
            "padding must be a number, or (low, high) pairs, with input_dilation above "
            f"1, got {shown(padding)} and input_dilation={input_dilation}; 'VALID' is 0"
        )
    if named:
        return str(padding)
    sides = [padding] * rank if is_int(padding) else padding
    if isinstance(sides, Sequence) and len(sides) == rank:
        pairs = [(side, side) if is_int(side) else side for side in sides]
        if all(is_pair(pair) for pair in pairs):
            return [(int(low), int(high)) for low, high in pairs]
    raise ValueError(
        f"padding must be one of {', '.join(_PADDINGS)}, a number, or one number or "
        f"(low, high) pair for each of the {rank} spatial axes, got {shown(padding)}"
    )
