"""Whole inputs of an example: conditions and modalities."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import tree_leaves_with_path
from jaxtyping import Array

from dropjax._checks._arrays import check_fill, check_shape
from dropjax._checks._axes import check_axis
from dropjax._checks._rates import check_rates
from dropjax._checks._trees import check_examples, mismatch
from dropjax._checks._words import (
    cut,
    describe,
    is_array,
    is_size,
    path_name,
    values_of,
)
from dropjax._types import PyTree


def check_inputs(x: Any, batch_axis: int) -> int:
    """Arrays of numbers or booleans, at least one, of one number of examples."""
    located = tree_leaves_with_path(x)
    if not located:
        raise TypeError(f"x must have at least one array, got {describe(x)}")
    for path, leaf in located:
        kinds = jnp.number, jnp.bool_
        if not is_array(leaf) or not any(jnp.issubdtype(leaf.dtype, k) for k in kinds):
            at = f" at {path_name(path)!r}" if path else ""
            raise TypeError(
                "x must be an array of numbers or booleans, or a tree of them, got "
                f"{describe(leaf)}{at}; leave it out of x, or wrap it in jnp.asarray"
            )
    return check_batches(x, batch_axis)


def check_batches(x: PyTree, batch_axis: int) -> int:
    """The number of examples of arrays that all have the axis of the examples."""
    check_axis(batch_axis, None, "batch_axis")
    sizes = []
    for path, leaf in tree_leaves_with_path(x):
        if not -len(leaf.shape) <= batch_axis < len(leaf.shape):
            at = f" at {path_name(path)!r}" if path else ""
            raise ValueError(
                "batch_axis must be an axis of every array of x, got "
                f"{cut(batch_axis)} for shape {leaf.shape}{at}"
            )
        sizes.append(leaf.shape[batch_axis])
    return check_examples(x, sizes, batch_axis)


def check_shapes(shapes: Any) -> PyTree:
    """A shape, or a tree of them, as arrays without values."""

    def is_shape(node: Any) -> bool:
        return isinstance(node, tuple | list) and all(map(is_size, node))

    def abstract(shape: Any) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(check_shape(shape), np.float32)

    arrays = jax.tree.map(abstract, shapes, is_leaf=is_shape)
    if not jax.tree.leaves(arrays):
        raise TypeError(f"shape must be a shape or a tree of them, got {shapes!r}")
    return arrays


def check_fill_tree(fill: Any) -> None:
    """A number or an array, or a tree of them, for arrays that are not known yet."""
    located = tree_leaves_with_path(fill)
    for path, leaf in located or [((), fill)]:
        if not is_array(leaf) and not isinstance(leaf, int | float | complex):
            at = f" at {path_name(path)!r}" if path else ""
            raise TypeError(
                "fill must be a number or an array, or a tree of them with the "
                f"structure of x, got {describe(leaf)}{at}"
            )


def check_fills(fill: Any, x: PyTree) -> list[Array]:
    """The value that replaces each leaf of x, one for all or from a tree."""
    check_fill_tree(fill)
    fills = []
    pairs = zip(check_prefix(fill, x, "fill"), tree_leaves_with_path(x), strict=True)
    for value, (path, leaf) in pairs:
        at = f" at {path_name(path)!r}" if path else ""
        if jnp.issubdtype(leaf.dtype, np.bool_):
            value = _truth(value, at)
        fills.append(check_fill(value, leaf, f"fill{at}", f"x{at}"))
    return fills


def _truth(value: Any, at: str) -> Any:
    """What replaces booleans: an array, or one of the two, as True or as 1."""
    if not is_array(value) and value not in (0, 1):
        raise TypeError(
            f"fill{at} must be True or False, because x{at} is boolean, got "
            f"{describe(value)}"
        )
    return value if is_array(value) else np.bool_(value)


def check_prefix(values: Any, x: PyTree, name: str) -> list[Any]:
    """The value of each leaf of x, from one for all or from a tree prefix of x.

    Only paths are compared, because Linen turns dicts and lists into containers of
    other types.
    """
    known = dict(tree_leaves_with_path(values))
    own = [path for path, _ in tree_leaves_with_path(x)]
    got = mismatch(list(known), own, name)
    if got:
        raise ValueError(f"{name} must be one {name} or a tree prefix of x, got {got}")
    ends = [next(n for n in range(len(path) + 1) if path[:n] in known) for path in own]
    return [known[path[:n]] for path, n in zip(own, ends, strict=True)]


def check_several(modalities: int, keep_one: bool) -> None:
    """Where one is always kept, nothing is dropped if there are no others."""
    if keep_one and modalities < 2:
        raise ValueError(
            "x must be a tree of two or more arrays with keep_one=True, which always "
            f"keeps one of them, got {modalities}; pass one array for each modality, "
            "or keep_one=False"
        )


def check_some_kept(rate: PyTree, keep_one: bool) -> None:
    """Rates of 1 for all modalities leave none of them to keep."""
    check_rates(rate)
    values = [values_of(one) for one in jax.tree.leaves(rate)]
    if keep_one and values and all(v is not None and (v == 1).all() for v in values):
        raise ValueError(
            "rate must be below 1 for one modality or more with keep_one=True, got 1 "
            "for all of them; pass keep_one=False to drop everything"
        )
