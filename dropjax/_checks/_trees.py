"""Trees and their leaves."""

from collections.abc import Collection, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.tree_util import keystr, tree_leaves_with_path
from jaxtyping import Array

from dropjax._checks._arrays import check_array, check_like
from dropjax._checks._words import (
    cut,
    describe,
    is_array,
    listed,
    misplaced,
    same_dtype,
    shown,
)
from dropjax._types import PyTree


def check_information(leaves: Sequence[Any]) -> None:
    """Real arrays, and at least one."""
    if not leaves:
        raise ValueError("information must have a leaf or more, got an empty tree")
    for leaf in leaves:
        if jnp.iscomplexobj(check_array(leaf, "information")):
            raise TypeError(f"information must be real, got dtype {leaf.dtype}")


def check_where(where: Any) -> None:
    """A selection is a function, or none."""
    if where is not None and not callable(where):
        raise TypeError(
            "where must be a function of a leaf's path and the leaf, or None, got "
            f"{describe(where)}"
        )


def check_same_paths(mask: Collection[str], updates: Collection[str]) -> None:
    """Two trees with leaves at the same paths."""
    odd = sorted(set(mask) ^ set(updates))
    if odd:
        where = "mask" if odd[0] in mask else "the updates"
        raise ValueError(
            "mask must have a leaf for each of the updates, at its path, and no other, "
            f"got {shown(odd[0])} in {where} alone"
        )


def check_selected(leaves: Sequence[Any], where: object) -> None:
    """Training on silently unmasked weights is the worst outcome: refuse it."""
    if any(leaf.selected for leaf in leaves):
        return
    if leaves and all(leaf.rate is None for leaf in leaves):
        raise ValueError(
            "rate is None for every leaf of params, so nothing would be dropped; give "
            "a rate, or deterministic=True to switch dropping off"
        )
    how = "the default selection" if where is None else "where"
    paths = [leaf.path for leaf in leaves]
    found = f"leaves {listed(paths)}" if paths else "an empty tree"
    raise ValueError(
        f"{how} selects no leaf of params, so nothing would be dropped, got {found}; "
        "pass where=lambda path, leaf: ... that is True for the weights to mask"
    )


def check_leaf(leaf: Any, path: str) -> None:
    """A selected leaf must be something with a floating-point dtype and a shape."""
    dtype = getattr(leaf, "dtype", None)
    if dtype is None or not jnp.issubdtype(dtype, jnp.inexact):
        which = f"where selects params leaf {path!r}, which" if path else "params"
        raise TypeError(
            f"{which} must be a floating-point or complex array, got {describe(leaf)}"
            f"{'' if path else misplaced(leaf, 'params')}"
        )


def check_block_fits(block: tuple[int, ...], leaf: Any, path: str) -> None:
    """A block has no more axes than the leaf that it is of."""
    if len(block) > len(leaf.shape):
        which = f"params leaf {cut(repr(path))}" if path else "params"
        raise ValueError(
            f"block_size must have no more entries than {which} has axes, got {block} "
            f"for shape {leaf.shape}; an integer n stands for (n, 1), and where can "
            "leave the leaf out"
        )


def check_pretrained(known: dict[str, Any], path: str, leaf: Array) -> Array:
    """The pretrained weights of a selected leaf: there, and of its shape and dtype."""
    if path not in known:
        raise ValueError(
            f"pretrained has no leaf {path!r}, which is selected in params; leave it "
            "out with where=lambda path, leaf: ..."
        )
    found = check_array(known[path], f"pretrained leaf {path!r}")
    if found.shape != leaf.shape:
        raise ValueError(
            f"pretrained leaf {path!r} must have the shape of params', {leaf.shape}, "
            f"got {found.shape}"
        )
    if not same_dtype(found, leaf):
        raise TypeError(
            f"pretrained leaf {path!r} must have the dtype of params', {leaf.dtype}, "
            f"got {found.dtype}; cast it first"
        )
    return found


def check_kernel(kernel: Any) -> Array:
    """A layer's weights: features_in in the last axis but one."""
    if check_array(kernel, "kernel").ndim < 2:
        raise ValueError(
            "kernel must have shape (*window, features_in, features_out), got shape "
            f"{kernel.shape}"
        )
    return kernel


def check_tree(x: Any) -> None:
    """A floating-point or complex array, or a tree of arrays with one among them."""
    leaves = tree_leaves_with_path(x)
    if all(path == () for path, _ in leaves) and leaves:
        check_array(x)
        return
    for path, leaf in leaves:
        if not is_array(leaf):
            raise TypeError(
                "x must be an array or a tree of arrays, got "
                f"{describe(leaf)} at {at(path)!r}; wrap it in jnp.asarray, or let the "
                "layer close over it"
            )
    if not any(jnp.issubdtype(leaf.dtype, jnp.inexact) for _, leaf in leaves):
        raise TypeError(
            "x must have a floating-point or complex array among its leaves, got "
            f"{structure(x)}"
        )


def check_inexact_tree(x: Any) -> None:
    """A tree of floating-point or complex arrays, and at least one."""
    leaves = tree_leaves_with_path(x)
    if not leaves:
        raise TypeError(f"x must be an array or a tree of arrays, got {structure(x)}")
    for path, leaf in leaves:
        if not is_array(leaf) or not jnp.issubdtype(leaf.dtype, jnp.inexact):
            raise TypeError(
                "x must be a tree of floating-point or complex arrays, got "
                f"{describe(leaf)} at {at(path)!r}; leave it out of the tree"
            )


def check_examples(x: Any, sizes: Sequence[int], batch_axis: int) -> int:
    """The number of examples, which is the same in every leaf."""
    paths = [at(path) for path, _ in tree_leaves_with_path(x)]
    for path, size in zip(paths, sizes, strict=True):
        if size != sizes[0]:
            raise ValueError(
                "x must have the same number of examples in every leaf, along "
                f"batch_axis={batch_axis}, got {sizes[0]} at {paths[0]!r} and {size} "
                f"at {path!r}"
            )
    return sizes[0]


def check_layer_output(x: Any, y: Any) -> Any:
    """A tree like x, or a tuple of that and what the layer returns besides."""
    wanted: Any = jax.tree.structure(x)
    longer = isinstance(y, tuple | list) and len(y) > 0
    like_x = y if wanted == jax.tree.structure(y) or not longer else y[0]
    if wanted != jax.tree.structure(like_x):
        raise ValueError(
            "layer(x) must have the structure of x, or be a tuple with that structure "
            f"first, got {structure(y)} for {structure(x)}; pass a function that "
            "returns what takes the place of x"
        )
    pairs = zip(tree_leaves_with_path(x), jax.tree.leaves(like_x), strict=True)
    for (path, own), other in pairs:
        check_like(own, other, f"layer(x) at {at(path)!r}" if path else "layer(x)")
    return y


def at(path: Any) -> str:
    """The path of a leaf, as "layer/kernel"."""
    return keystr(path, simple=True, separator="/")


def structure(tree: PyTree) -> str:
    """What kind of tree it is, in a few words, however large it is."""
    if is_array(tree):
        return "one array"
    return f"{type(tree).__name__} with {len(jax.tree.leaves(tree))} leaves"


def prefix_error(error: ValueError) -> ValueError:
    """The error of a tree of rates that is no prefix of the params."""
    return ValueError(
        "rate must be one rate or a tree prefix of params: "
        f"{str(error).splitlines()[0]}"
    )
