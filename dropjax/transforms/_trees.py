"""Maps over the selected leaves of a tree, with their keys and rates."""

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import jax

from dropjax._checks import (
    check_deterministic,
    check_key,
    check_leaf,
    check_rate,
    check_selected,
    check_where,
    prefix_error,
)
from dropjax._masks import foregone
from dropjax._random import leaf_keys
from dropjax._types import KeyLike, PyTree, RateLike, Tree
from dropjax.transforms._paths import named
from dropjax.transforms._selection import are_kernels

Where: TypeAlias = Callable[[str, Any], bool]
"""Whether a leaf is selected, given its path, such as "layer/kernel", and the leaf."""


def takes_deterministic(module: Callable[..., Any]) -> bool:
    """Whether the call of a wrapped module has a `deterministic` argument."""
    return "deterministic" in inspect.signature(type(module).__call__).parameters


class Leaf(NamedTuple):
    """A leaf of the parameters, with its path, its rate, and whether it is selected."""

    path: str
    value: Any
    rate: Any
    selected: bool


def map_selected(
    draw: Callable[[KeyLike, Leaf], Any],
    spare: Callable[[Any], Any],
    key: KeyLike,
    params: Tree,
    rate: RateLike | PyTree,
    where: Where | None,
    deterministic: bool,
) -> Tree:
    """Applies `draw`, with a key each, to selected leaves, and `spare` to others."""
    leaves = _leaves(params, rate, where)
    check_selected(leaves, where)
    drawn_leaves = [leaf for leaf in leaves if _is_drawn(leaf, deterministic)]
    paths = [leaf.path for leaf in drawn_leaves]
    own = iter(leaf_keys(check_key(key), paths) if drawn_leaves else ())
    drawn = [
        draw(next(own) if _is_drawn(leaf, deterministic) else None, leaf)
        if leaf.selected
        else spare(leaf.value)
        for leaf in leaves
    ]
    return jax.tree.unflatten(jax.tree.structure(params), drawn)


def unless_same(new: Tree, old: Tree) -> Tree:
    """The old tree itself if all leaves of the new tree are the same objects."""
    pairs = zip(jax.tree.leaves(new), jax.tree.leaves(old), strict=True)
    return old if all(one is other for one, other in pairs) else new


def chosen(params: PyTree, where: Where | None) -> list[tuple[str, Any, bool]]:
    """Every leaf with its path and whether it is selected."""
    check_where(where)
    leaves = named(params)
    if where is not None:
        flags = [bool(where(path, leaf)) for path, leaf in leaves]
    elif [path for path, _ in leaves] == [""]:
        flags = [True]
    else:
        flags = are_kernels(params)
    return [(*leaf, flag) for leaf, flag in zip(leaves, flags, strict=True)]


def _leaves(params: PyTree, rate: RateLike | PyTree, where: Where | None) -> list[Leaf]:
    rates = _spread(rate, params)
    leaves = []
    for (path, value, flag), own in zip(chosen(params, where), rates, strict=True):
        selected = flag and own is not None
        if selected:
            check_leaf(value, path)
        leaves.append(Leaf(path, value, own, selected))
    return leaves


def _is_drawn(leaf: Leaf, deterministic: bool) -> bool:
    off = check_deterministic(deterministic)
    return leaf.selected and foregone(leaf.rate, off) is None


def _spread(rate: RateLike | PyTree, params: PyTree) -> list[RateLike | None]:
    """The rate of each leaf of params, or None where nothing is dropped."""
    rates: list[Any] = []

    def spread(rate: Any, part: PyTree) -> None:
        rates.extend([rate] * len(jax.tree.leaves(part)))

    try:
        jax.tree.map(spread, rate, params, is_leaf=lambda node: node is None)
    except ValueError as error:
        raise prefix_error(error, rate, params) from None
    if jax.tree_util.all_leaves([rate]):
        return [check_rate(rate)] * len(rates)
    return [
        None if own is None else check_rate(own, f"rate at {path!r}")
        for own, (path, _) in zip(rates, named(params), strict=True)
    ]
