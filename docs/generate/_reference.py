"""The reference: a page for each chapter of each public module."""

import ast
import importlib
import inspect
import itertools
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import dropjax

from ._docstrings import PUBLIC_MODULES, as_rest
from ._paths import ROOT

# The pages, in order: their titles, and the modules whose public names they have.
FUNCTIONS = {
    "activations": "Activations",
    "maps": "Feature maps and images",
    "inputs": "Whole inputs",
    "branches": "Residual branches and whole layers",
    "sequences": "Sequences, tokens and attention",
    "subsets": "Subsets",
    "weights": "Weights",
}
OTHERS = {
    "transforms": "Parameter trees",
    "masks": "Masks and generators",
    "inference": "Inference",
    "losses": "Losses",
    "schedules": "Schedules",
    "optimizers": "Gradient transformations",
}
LAYERS = {"linen": "Linen layers", "nnx": "NNX layers"}
MASKS = ("_apply", "_masks", "_fast_prng")


def chapter_of(module: str, thing: Any) -> str:
    """The page of a public thing, from reference/ and without suffix."""
    parts = getattr(thing, "__module__", "").split(".")[1:]
    if module == "dropjax":
        if not parts or parts[0] in MASKS or thing is dropjax.fast_prng:
            return "masks"
        return f"functions/{parts[1]}" if parts[0] == "functional" else parts[0]
    name = module.removeprefix("dropjax.")
    if name not in LAYERS:
        return name
    return f"{name}/{parts[1].replace('_rates', 'rates')}"


def names_by_page() -> dict[str, list[str]]:
    """The full names on each page."""
    found: dict[str, list[str]] = {}
    for module in PUBLIC_MODULES:
        room = importlib.import_module(module)
        for name in room.__all__:
            page = chapter_of(module, getattr(room, name))
            found.setdefault(page, []).append(f"{module}.{name}")
    return found


def pages() -> Iterator[tuple[str, str]]:
    """All pages of the reference."""
    names = names_by_page()
    yield "reference/index.rst", index()
    yield "reference/types.rst", types()
    yield "reference/functions/index.rst", section("Functions", FUNCTIONS, dropjax)
    for page, title in FUNCTIONS.items():
        yield chapter(f"functions/{page}", title, names)
    for page, title in OTHERS.items():
        yield chapter(page, title, names)
    for layers, title in LAYERS.items():
        room = importlib.import_module(f"dropjax.{layers}")
        listed = {**FUNCTIONS, "rates": "Rates of a whole model"}
        yield f"reference/{layers}/index.rst", section(title, listed, room)
        for page, name in listed.items():
            yield chapter(f"{layers}/{page}", f"{title}: {name.lower()}", names)


def heading(title: str, line: str = "=") -> str:
    """A title in reST."""
    return f"{title}\n{line * len(title)}\n\n"


def toctree(entries: list[str], **options: Any) -> str:
    """The list of the pages of a section."""
    given = "".join(f"   :{name}: {value}\n" for name, value in options.items())
    return f".. toctree::\n{given}\n" + "".join(f"   {it}\n" for it in entries)


def index() -> str:
    """The first page of the reference."""
    text = (
        "All that is public. ``dropjax`` holds the pure functions, ``dropjax.linen``\n"
        "and ``dropjax.nnx`` the Flax layers under the functions' names in CapWords.\n"
        "Each entry links to its source.\n\n"
    )
    entries = ["functions/index", *OTHERS, *(f"{it}/index" for it in LAYERS), "types"]
    return heading("Reference") + text + toctree(entries, maxdepth=2)


def section(title: str, chapters: dict[str, str], room: ModuleType) -> str:
    """The first page of a section, with the docstring of its module."""
    text = "\n".join(as_rest(inspect.getdoc(room).splitlines()))
    return (
        heading(title)
        + text
        + "\n\n"
        + toctree([f"{name} <{page}>" for page, name in chapters.items()])
    )


def chapter(page: str, title: str, names: dict[str, list[str]]) -> tuple[str, str]:
    """A page with the docstring of each of its names."""
    body = "\n".join(map(entry, names[page]))
    return f"reference/{page}.rst", heading(title) + body


def entry(name: str) -> str:
    """What shows one public name."""
    module, _, short = name.rpartition(".")
    thing = getattr(importlib.import_module(module), short)
    if thing is dropjax.fast_prng:
        text = importlib.import_module("dropjax._fast_prng").__doc__
        lines = as_rest(inspect.cleandoc(text).splitlines())
        body = "\n".join(f"   {line}".rstrip() for line in lines)
        return f".. py:data:: {short}\n   :module: {module}\n\n{body}\n"
    if inspect.isclass(thing):
        shown = members_of(thing)
        options = f"   :members: {', '.join(shown)}\n" if shown else ""
        options += "   :special-members: __call__\n" if "__call__" in shown else ""
        return f".. autoclass:: {name}\n{options}"
    return f".. autofunction:: {name}\n"


def members_of(thing: type) -> list[str]:
    """Its own methods and properties that are public, and how it is called."""
    fields = getattr(thing, "__dataclass_fields__", ())
    return [
        name
        for name, it in vars(thing).items()
        if name == "__call__" or (name[0] != "_" and name not in fields)
        if inspect.isfunction(it) or (isinstance(it, property) and it.__doc__)
    ]


def types() -> str:
    """The names of the signatures that are not classes, from `dropjax._types`."""
    body = ast.parse((ROOT / "dropjax" / "_types.py").read_text()).body
    text = (
        'The annotations of shapes and dtypes, such as ``Float[Array, "batch n"]``,\n'
        "are those of jaxtyping. These stand for several types:\n\n"
    )
    for node, after in itertools.pairwise([*body, None]):
        if isinstance(node, ast.AnnAssign):
            text += f".. py:type:: {node.target.id}\n"
            text += f"   :canonical: {ast.unparse(node.value)}\n\n"
            if isinstance(after, ast.Expr):
                lines = as_rest(inspect.cleandoc(after.value.value).splitlines())
                text += "".join(f"   {line}\n" for line in lines) + "\n"
    return heading("Types of arguments") + text
