"""Trees and their leaves."""

from collections.abc import Collection, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.tree_util import tree_leaves_with_path
from jaxtyping import Array

from dropjax._checks._arrays import check_array, check_like, check_rank, check_real
from dropjax._checks._words import (
    cut,
    describe,
    is_array,
    leaves,
    listed,
    misplaced,
    path_name,
    shown,
)
from dropjax._types import PyTree


def check_information(information: Sequence[Any]) -> None:
    """Real arrays, and at least one."""
    if not information:
        raise ValueError("information must have at least one leaf, got an empty tree")
    for leaf in information:
        check_real(leaf, "information")


def check_same_paths(mask: Collection[str], updates: Collection[str]) -> None:
    """Two trees with leaves at the same paths."""
    odd = sorted(set(mask) ^ set(updates))
    if odd:
        where = "mask" if odd[0] in mask else "the updates"
        raise ValueError(
            "mask must have leaves at the same paths as the updates, got "
            f"{shown(odd[0])} in {where} alone"
        )


def check_selected(selected: Sequence[Any], where: object) -> None:
    """Training on silently unmasked weights is the worst outcome: refuse it."""
    if any(leaf.selected for leaf in selected):
        return
    if selected and all(leaf.rate is None for leaf in selected):
        raise ValueError(
            "rate is None for every leaf of params, so nothing would be dropped; pass "
            "a rate, or deterministic=True to switch dropping off"
        )
    how = "the default selection" if where is None else "where"
    paths = [leaf.path for leaf in selected]
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
    name = f"pretrained leaf {path!r}"
    return check_like(leaf, check_array(known[path], name), name, "the leaf of params")


def check_kernel(kernel: Any) -> Array:
    """A layer's weights: features_in in the last axis but one."""
    form = "(*window, features_in, features_out)"
    check_rank(check_array(kernel, "kernel").shape, 2, form, "kernel")
    return kernel


def check_tree(x: Any, *, inexact: bool = False) -> None:
    """An array, or a tree of arrays, all or some of them floating-point or complex."""
    located = tree_leaves_with_path(x)
    if [path for path, _ in located] == [()]:
        check_array(x)
    are_inexact = []
    for path, leaf in located:
        fits = is_array(leaf) and jnp.issubdtype(leaf.dtype, jnp.inexact)
        if not is_array(leaf) or (inexact and not fits):
            kind, hint = (
                "arrays",
                "wrap it in jnp.asarray, or let the layer close over it",
            )
            if inexact:
                kind, hint = "floating-point or complex arrays", "leave it out of x"
            raise TypeError(
                f"x must be an array or a tree of {kind}, got {describe(leaf)} at "
                f"{path_name(path)!r}; {hint}"
            )
        are_inexact.append(fits)
    if not any(are_inexact):
        raise TypeError(
            "x must have a floating-point or complex array among its leaves, got "
            f"{structure(x)}"
        )


def check_examples(x: Any, sizes: Sequence[int], batch_axis: int) -> int:
    """The number of examples, which is the same in every leaf."""
    paths = [path_name(path) for path, _ in tree_leaves_with_path(x)]
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
            "layer(x) must have the structure of x, or be a tuple whose first element "
            f"has it, got {structure(y)} for {structure(x)}; pass a function that "
            "returns what replaces x"
        )
    pairs = zip(tree_leaves_with_path(x), jax.tree.leaves(like_x), strict=True)
    for (path, own), other in pairs:
        at = f" at {path_name(path)!r}" if path else ""
        check_like(own, other, f"layer(x){at}")
    return y


def structure(tree: PyTree) -> str:
    """What kind of tree it is, in a few words, however large it is."""
    kind = type(tree).__name__
    return "one array" if is_array(tree) else f"{kind} with {leaves(tree)}"


def prefix_error(error: ValueError, rate: PyTree, params: PyTree) -> ValueError:
    """The error of a tree of rates that is no prefix of the params."""
    located = tree_leaves_with_path(rate, is_leaf=lambda node: node is None)
    rates = [path for path, _ in located]
    own = [path for path, _ in tree_leaves_with_path(params)]
    # Containers of other types: in JAX's words.
    got = mismatch(rates, own, "rate", "params") or str(error).splitlines()[0]
    return ValueError(f"rate must be one rate or a tree prefix of params, got {got}")


def mismatch(
    given: Sequence[Any], own: Sequence[Any], what: str, of: str = "x"
) -> str | None:
    """How the paths of given values differ from those of a tree prefix, if they do."""
    odd = [g for g in given if not any(path[: len(g)] == g for path in own)]
    bare = [path for path in own if not any(path[: len(g)] == g for g in given)]
    if odd:
        return f"a {what} at {cut(repr(path_name(odd[0])))}, where {of} has no leaf"
    if bare:
        return f"no {what} for the leaf {cut(repr(path_name(bare[0])))}"
    return None
