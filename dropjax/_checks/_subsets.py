"""Subsets of examples or tokens that a branch is computed for."""

from typing import Any

import jax
import jax.numpy as jnp
from jax.tree_util import tree_leaves_with_path

from dropjax._checks._options import check_count
from dropjax._checks._rates import check_host_rate
from dropjax._checks._words import cut, describe, is_array, is_int, path_name
from dropjax._types import PyTree


def check_subset_rate(rate: Any) -> float:
    """A number of the host below 1: something is kept."""
    rate = check_host_rate(
        rate,
        "how many are kept",
        "; for a rate per layer, loop over the layers in Python with a number each; "
        "inside nn.scan or lax.scan, use one number for all layers",
    )
    if rate == 1:
        raise ValueError(
            "rate must be below 1, because a branch is computed for at least one "
            "example or token, got 1.0; to drop all of it, leave the branch out"
        )
    return rate


def check_subset_axis(axis: Any) -> int:
    """One axis, which may be counted from the end."""
    if not is_int(axis):
        raise TypeError(f"axis must be one axis, an integer, got {describe(axis)}")
    return int(axis)


def check_along(x: PyTree, args: Any, axis: int) -> int:
    """The size along the axis, which is the same in all arrays."""
    if not isinstance(args, tuple | list):
        raise TypeError(
            "args must be a tuple of arrays or trees of arrays, got "
            f"{describe(args)}; a single array is args=(array,)"
        )
    found = _named({"x": x}) + _named({"args": args})
    if not jax.tree.leaves(x):
        raise TypeError(f"x must have at least one array, got {describe(x)}")
    for name, leaf in found:
        _check_leaf(name, leaf, axis)
    (first, x), *_ = found
    for name, leaf in found:
        if leaf.shape[axis] != x.shape[axis]:
            raise ValueError(
                f"x and args must have the same size along axis {axis}, got "
                f"{x.shape[axis]} for {first!r} and {leaf.shape[axis]} for {name!r}"
            )
    return x.shape[axis]


def _named(tree: PyTree) -> list[tuple[str, Any]]:
    return [(path_name(path), leaf) for path, leaf in tree_leaves_with_path(tree)]


def _check_leaf(name: str, leaf: Any, axis: int) -> None:
    kinds = jnp.number, jnp.bool_, jax.dtypes.prng_key
    if not is_array(leaf) or not any(jnp.issubdtype(leaf.dtype, it) for it in kinds):
        raise TypeError(
            f"x and args must hold arrays, got {describe(leaf)} for {name!r}; let the "
            "branch close over other values, or pass them to a layer by keyword"
        )
    if not -leaf.ndim <= axis < leaf.ndim:
        raise ValueError(
            f"axis must be an axis of x and of all args, got {cut(axis)} for {name!r} "
            f"of shape {leaf.shape}"
        )


def check_groups(groups: Any, size: int, axis: int) -> int:
    """Parts of equal size, none of them empty."""
    check_count(groups, "groups")
    if size % groups:
        raise ValueError(
            f"groups must divide the size of x along axis {axis}, got {groups} for "
            f"{size}"
        )
    return int(groups)


def check_subset_output(y: Any, size: int, axis: int) -> Any:
    """Arrays of the size that the branch was given along the axis."""
    for name, leaf in _named({"y": y}):
        ndim = leaf.ndim if is_array(leaf) else 0
        if not -ndim <= axis < ndim or leaf.shape[axis] != size:
            got = f"shape {leaf.shape}" if is_array(leaf) else describe(leaf)
            at = f" at {name[2:]!r}" if name[2:] else ""
            raise ValueError(
                "branch must return arrays of the size that it is given along axis "
                f"{axis}, {size}, got {got}{at}; return one value for each example or "
                "token, and reduce them afterwards"
            )
    return y
