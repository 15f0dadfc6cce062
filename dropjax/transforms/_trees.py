"""Which leaves of a tree are drawn on, and with which keys and rates."""

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
from jax.tree_util import GetAttrKey, keystr
from jaxtyping import PyTree

from dropjax._checks import (
    check_key,
    check_leaf,
    check_rate,
    check_selected,
    check_where,
    prefix_error,
)
from dropjax._masks import is_drawn
from dropjax._random import leaf_keys
from dropjax._types import KeyLike, RateLike

Where: TypeAlias = Callable[[str, Any], bool]
"""Whether a leaf is selected, from its path, as "layer/kernel", and the leaf."""

_BOXED = (GetAttrKey("value"),)


def takes_deterministic(module: Callable[..., Any]) -> bool:
    """Whether a wrapped module's call has a `deterministic` to be handed on to it."""
    return "deterministic" in inspect.signature(type(module).__call__).parameters


class Leaf(NamedTuple):
    """A leaf of the params, where it is, and what is to become of it."""

    path: str
    value: Any
    rate: Any
    selected: bool


def map_selected(
    draw: Callable[[KeyLike, Leaf], Any],
    spare: Callable[[Any], Any],
    key: KeyLike,
    params: PyTree,
    rate: RateLike | PyTree,
    where: Where | None,
    deterministic: bool,
) -> PyTree:
    """Draws on the selected leaves, each with its own key, and spares the others."""
    check_where(where)
    leaves = _leaves(params, rate, where)
    check_selected([leaf.path for leaf in leaves if leaf.selected], where)
    tossed = [leaf for leaf in leaves if _is_tossed(leaf, deterministic)]
    paths = [leaf.path for leaf in tossed]
    own = iter(leaf_keys(check_key(key), paths) if tossed else ())
    drawn = [
        draw(next(own) if _is_tossed(leaf, deterministic) else None, leaf)
        if leaf.selected
        else spare(leaf.value)
        for leaf in leaves
    ]
    return jax.tree.unflatten(jax.tree.structure(params), drawn)


def named(tree: PyTree) -> list[tuple[str, Any]]:
    """The leaves of a tree and their paths, in which a box of flax's has no part."""
    parts = jax.tree_util.tree_leaves_with_path(tree, is_leaf=_is_box)
    leaves = []
    for location, part in parts:
        for inner, leaf in jax.tree_util.tree_leaves_with_path(part):
            names = location if inner == _BOXED else location + inner
            leaves.append((keystr(names, simple=True, separator="/"), leaf))
    return leaves


def _is_box(node: Any) -> bool:
    """Whether flax keeps a variable in it: by name, for flax is not imported here."""
    classes = type(node).__mro__
    flax = [it.__name__ for it in classes if it.__module__.split(".")[0] == "flax"]
    return "Variable" in flax or "AxisMetadata" in flax


def unless_same(new: PyTree, old: PyTree) -> PyTree:
    """The old tree itself where no leaf of it is another one in the new tree."""
    pairs = zip(jax.tree.leaves(new), jax.tree.leaves(old), strict=True)
    return old if all(one is other for one, other in pairs) else new


def _leaves(params: PyTree, rate: RateLike | PyTree, where: Where | None) -> list[Leaf]:
    leaves = []
    for (path, value), own in zip(named(params), _spread(rate, params), strict=True):
        selected = own is not None and _is_selected(path, value, where)
        leaves.append(Leaf(path, value, own, selected))
    return leaves


def _is_tossed(leaf: Leaf, deterministic: bool) -> bool:
    return leaf.selected and is_drawn(leaf.rate, deterministic)


def _spread(rate: RateLike | PyTree, params: PyTree) -> list[RateLike | None]:
    """The rate of each leaf of params, None where nothing is dropped."""
    rates: list[Any] = []

    def spread(rate: Any, part: PyTree) -> None:
        rates.extend([rate] * len(jax.tree.leaves(part)))

    try:
        jax.tree.map(spread, rate, params, is_leaf=lambda node: node is None)
    except ValueError as error:
        raise prefix_error(error) from None
    return [None if rate is None else check_rate(rate) for rate in rates]


def _is_selected(path: str, leaf: Any, where: Where | None) -> bool:
    if where is None and path:
        return _is_kernel(path, leaf)
    if where is None or where(path, leaf):
        check_leaf(leaf, path)
        return True
    return False


def _is_kernel(path: str, leaf: Any) -> bool:
    """Floating, two axes or more, and by its name no embedding, bias or scale."""
    dtype = getattr(leaf, "dtype", None)
    if dtype is None or not jnp.issubdtype(dtype, jnp.inexact) or leaf.ndim < 2:
        return False
    named_otherwise = path.rpartition("/")[2] in ("bias", "scale")
    return not named_otherwise and "embed" not in path.lower()
