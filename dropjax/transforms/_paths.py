"""The paths of the leaves of a tree."""

from typing import Any

import jax
from jax.tree_util import GetAttrKey

from dropjax._checks import path_name
from dropjax._types import PyTree

_BOXED = (GetAttrKey("value"),)


def named(tree: PyTree) -> list[tuple[str, Any]]:
    """The leaves of a tree with their paths, in which flax's boxes do not appear."""
    parts = jax.tree_util.tree_leaves_with_path(tree, is_leaf=_is_box)
    leaves = []
    for location, part in parts:
        for inner, leaf in jax.tree_util.tree_leaves_with_path(part):
            names = location if inner == _BOXED else location + inner
            leaves.append((path_name(names), leaf))
    return leaves


def owners(tree: PyTree) -> list[str]:
    """The class names of the nodes that hold each leaf, or the box of each leaf."""
    found: list[str] = []
    for part in jax.tree.leaves(tree, is_leaf=lambda node: node is not tree):
        if _is_box(part) or jax.tree_util.all_leaves([part]):
            found.extend([type(tree).__name__] * len(jax.tree.leaves(part)))
        else:
            found.extend(owners(part))
    return found


def _is_box(node: Any) -> bool:
    """Whether a node is a flax variable, by class name: flax is not imported here."""
    classes = type(node).__mro__
    flax = [it.__name__ for it in classes if it.__module__.split(".")[0] == "flax"]
    return "Variable" in flax or "AxisMetadata" in flax
