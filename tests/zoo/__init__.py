"""Trees of parameters of many libraries, and which of their leaves are kernels.

`trees.txt` has a line for each leaf: "+" where dropconnect should mask it by default,
"-" where not, which was judged by hand; its path, dtype and shape; and behind "@" the
class that holds it, where that is a class of its own and no dict or list. To make the
file again, or to add a tree to `models.py`:

    pip install flax equinox keras dm-haiku 'transformers<4.58'
    python -m tests.zoo

Lines that are known keep their mark. A new one starts with "?" and the mark that the
rule has for it: judge it, and leave the right mark alone in front.
"""

import functools
import pathlib
from typing import Any, NamedTuple

import jax

FILE = pathlib.Path(__file__).with_name("trees.txt")


class Entry(NamedTuple):
    """A line of the file."""

    mark: str
    path: str
    leaf: jax.ShapeDtypeStruct
    owner: str | None


def read() -> dict[str, list[Entry]]:
    """The trees of the file, by their titles."""
    trees: dict[str, list[Entry]] = {}
    for line in FILE.read_text().splitlines():
        if line.startswith("== "):
            entries = trees.setdefault(line.removeprefix("== "), [])
        elif line:
            mark, path, dtype, shape, *owner = line.split()
            sizes = (
                tuple(map(int, shape.strip("()").split(","))) if shape != "()" else ()
            )
            leaf = jax.ShapeDtypeStruct(sizes, dtype)
            entries.append(Entry(mark, path, leaf, *(owner or [None])))
    return trees


def build(entries: list[Entry]) -> Any:
    """A tree with such leaves at such paths, in dicts and in classes of such names."""
    tree: dict[str, Any] = {}
    for entry in entries:
        *scope, name = entry.path.split("/")
        node = tree
        for part in scope:
            node = node.setdefault(part, {})
        node[name] = entry.leaf
        if entry.owner:
            node["@"] = entry.owner
    return _with_classes(tree)


def _with_classes(node: Any) -> Any:
    if not isinstance(node, dict):
        return node
    owner = node.pop("@", None)
    children = {name: _with_classes(child) for name, child in node.items()}
    return _class(owner.removeprefix("@"))(children) if owner else children


@functools.cache
def _class(name: str) -> type:
    """A class of nodes by that name, whose children have names."""

    def __init__(self: Any, children: dict[str, Any]) -> None:
        self.children = children

    def flatten(node: Any) -> Any:
        names = sorted(node.children)
        return [(jax.tree_util.GetAttrKey(n), node.children[n]) for n in names], names

    def unflatten(names: list[str], children: Any) -> Any:
        return made(dict(zip(names, children, strict=True)))

    made = type(name, (), {"__init__": __init__})
    jax.tree_util.register_pytree_with_keys(made, flatten, unflatten)
    return made
