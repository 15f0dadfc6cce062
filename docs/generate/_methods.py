"""A page for each method of docs/methods.md, and a gallery of all of them."""

import ast
import functools
import inspect
import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import dropjax
import dropjax.linen
import dropjax.nnx

from ._costs import costs, table
from ._docstrings import public_names
from ._images import shown_methods
from ._laws import laws, rows_of, shapes
from ._paths import HERE
from ._reference import LAYERS

LIBRARIES = ("Keras", "PyTorch, torchvision", "timm", "Flax")
ROOMS = {"linen": dropjax.linen, "nnx": dropjax.nnx}
# What is defined where docstrings' examples run.
PREAMBLE = {
    "jax": "import jax",
    "jnp": "import jax.numpy as jnp",
    "np": "import numpy as np",
    "dropjax": "import dropjax",
}


@dataclass
class Entry:
    """A row of docs/methods.md, and what docs/methods.toml says of it."""

    chapter: str
    names: list[str]
    shares: str
    elsewhere: list[str]
    data: dict[str, Any]
    more: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        """The first function, or layer where there is no function."""
        return self.names[0]

    @property
    def page(self) -> str:
        """The file, without suffix."""
        return words_of(self.name).replace(" ", "_")

    @functools.cached_property
    def functions(self) -> list[Any]:
        """The functions on the page, with their mask functions."""
        names = [name for own in self.names for name in (own, f"{own}_mask")]
        return [getattr(dropjax, it) for it in names if it in dropjax.__all__]

    @functools.cached_property
    def layers(self) -> dict[str, list[Any]]:
        """The layers of each kind: those in rows of the table, or of the name."""
        listed = {thing for row in rows_of(self.functions) for thing in row.public}
        own = set(map(words_of, self.names))
        return {
            room: [
                layer
                for name in module.__all__
                if (layer := getattr(module, name)) in listed or words_of(name) in own
            ]
            for room, module in ROOMS.items()
        }


def words_of(name: str) -> str:
    """A name in CapWords or with underscores, as words."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).replace("_", " ").lower()


@functools.cache
def entries() -> list[Entry]:
    """All methods with a page, in the order of docs/methods.md."""
    data = tomllib.loads((HERE / "methods.toml").read_text())
    found: dict[str, Entry] = {}
    chapter = ""
    for line in (HERE / "methods.md").read_text().splitlines():
        if line.startswith("## "):
            chapter = line.removeprefix("## ")
        elif line.startswith("| `") and line.count("|") == 8:
            first, shares, _, *elsewhere = line.strip("| ").split(" | ")
            names = re.findall(r"`(\w+)`", re.sub(r"\(.*?\)", "", first))
            own = data[names[0]]
            if "page" in own:
                found[own["page"]].more += names
            else:
                found[names[0]] = Entry(chapter, names, shares, elsewhere, own)
    return list(found.values())


def pages() -> Iterator[tuple[str, str]]:
    """The page of each method, and the first page of the section."""
    yield "methods/index.md", gallery()
    for entry in entries():
        yield f"methods/{entry.page}.md", page(entry)


def page(entry: Entry) -> str:
    """All that is known of one method."""
    main = docstring(described(entry)[0])
    parts = [f"# {entry.data['title']}", main.summary]
    if entry.name in shown_methods():
        said = f"Left: an input. Right: the same after {entry.name}."
        parts.append(f"![{said}](images/{entry.name}-pair.png)\n\n*{said}*")
    parts += ["## When to use it", linked(entry.data["when"].strip(), entry)]
    parts += ["## Definition", *definitions(entry), "## Example", *examples(entry)]
    parts += [
        "## Elements that share a mask value, and what replaces them",
        *sharing(entry),
    ]
    rows = rows_of([*entry.functions, *entry.layers["nnx"]])[:1]
    if rows:
        head = ["law", entry.name]
        lines = [[law, said] for law, said in laws(rows[0])]
        parts += ["## Laws that hold", left(table(head, lines))]
        parts += ["[How they are tested](../testing.md)."]
    parts += ["## Names in other libraries", elsewhere(entry)]
    parts += ["## Cost", *costs(entry.name, entry.data.get("cpu", []))]
    parts += ["## Papers", *papers(entry)]
    parts += ["## Reference", references(entry)]
    return "\n\n".join(parts) + "\n"


def left(text: str) -> str:
    """A table whose columns are all aligned to the left."""
    return text.replace("--:", "---", 2)


@dataclass(frozen=True)
class Docstring:
    """The parts of a docstring that a page shows."""

    summary: str
    definition: str
    example: str


def docstring(thing: Any) -> Docstring:
    """The parts of a docstring, in its Markdown."""
    text = inspect.getdoc(thing) or ""
    prose = re.split(r"^(?:Args|Attributes|Example):$", text, flags=re.MULTILINE)[0]
    summary, _, definition = prose.partition("\n\n")
    example = re.search(r"^Example:\n((?:  .*\n?|\n)+)", text, re.MULTILINE)
    code = re.findall(r"^  (?:>>>|\.\.\.) ?(.*)$", example[1], re.MULTILINE)
    return Docstring(summary, definition.strip(), "\n".join(code))


def described(entry: Entry) -> list[Any]:
    """What a page describes: functions, or a layer where there are none."""
    named = [it for it in entry.functions if not it.__name__.endswith("_mask")]
    return named or entry.layers["nnx"][:1]


def definitions(entry: Entry) -> Iterator[str]:
    """The definition of each function."""
    things = described(entry)
    for thing in things:
        if len(things) > 1:
            yield f"### `{thing.__name__}`"
        text = docstring(thing)
        shown = [text.summary] * (len(things) > 1) + [text.definition]
        yield linked("\n\n".join(shown), entry)


def linked(text: str, entry: Entry) -> str:
    """Markdown whose code links to the page, or the docstring, of what it names."""
    pages = {name: it.page for it in entries() for name in it.names}

    def link(match: re.Match[str]) -> str:
        name = match[1]
        if name in pages and name not in entry.names:
            return f"[`{name}`]({pages[name]}.md)"
        full = public_names().get(name)
        return f"{{py:obj}}`{name} <{full}>`" if full else match[0]

    return re.sub(r"(?<!`)`([\w.]+)`(?!`)", link, text)


def examples(entry: Entry) -> Iterator[str]:
    """The docstrings' examples, which are tested, in tabs."""
    tabs = {thing.__name__: thing for thing in described(entry)}
    for room, layers in entry.layers.items():
        for layer in layers[:1]:
            tabs[LAYERS[room].removesuffix("s")] = layer
    yield "::::{tab-set}"
    for title, thing in tabs.items():
        code = with_imports(docstring(thing).example)
        yield f":::{{tab-item}} {title}\n```python\n{code}\n```\n:::"
    yield "::::"


def with_imports(code: str) -> str:
    """An example with the imports, and the key, that it is run with."""
    tree = ast.parse(code)
    names = [it for it in ast.walk(tree) if isinstance(it, ast.Name)]
    made = {it.id for it in names if isinstance(it.ctx, ast.Store)}
    used = {it.id for it in names} - made
    own = sorted(used & set(dropjax.__all__))
    imports = [f"from dropjax import {', '.join(own)}"] if own else []
    imports += [PREAMBLE[name] for name in PREAMBLE if name in used]
    if "key" in used:
        imports.append(PREAMBLE["jax"])
        code = f"key = jax.random.key(0)\n{code}"
    imports += re.findall(r"^(?:from \S+ )?import .*$", code, re.MULTILINE)
    code = re.sub(r"^(?:from \S+ )?import .*\n", "", code, flags=re.MULTILINE)
    ours = sorted({it for it in imports if "dropjax" in it}, key=from_last)
    others = sorted(set(imports) - set(ours), key=from_last)
    parts = ["\n".join(others), "\n".join(ours), code]
    return "\n\n".join(filter(None, parts))


def from_last(line: str) -> tuple[bool, str]:
    """The order of imports."""
    return line.startswith("from"), line


def sharing(entry: Entry) -> Iterator[str]:
    """The cell of docs/methods.md, and the shape of an example's mask."""
    yield f"{entry.shares[0].upper()}{entry.shares[1:]}."
    for row in rows_of(entry.functions)[:1]:
        yield shapes(row)


def elsewhere(entry: Entry) -> str:
    """The names in other libraries."""
    if set(entry.elsewhere) == {"-"}:
        return "None of Keras, PyTorch, torchvision, timm and Flax has it."
    lines = [list(pair) for pair in zip(LIBRARIES, entry.elsewhere, strict=True)]
    return left(table(["library", "name"], lines))


def papers(entry: Entry) -> Iterator[str]:
    """The citations, and their entries in BibTeX."""
    keys = entry.data["papers"]
    yield "\n".join(f"- {{cite:t}}`{key}`" for key in keys)
    texts = "\n\n".join(bibtex()[key] for key in keys)
    yield f":::{{dropdown}} BibTeX\n```bibtex\n{texts}\n```\n:::"


@functools.cache
def bibtex() -> dict[str, str]:
    """The entries of references.bib, as they are written."""
    text = (HERE / "references.bib").read_text()
    found = re.findall(r"^@\w+\{(\w+),\n.*?^\}$", text, re.MULTILINE | re.DOTALL)
    whole = re.findall(r"^@.*?^\}$", text, re.MULTILINE | re.DOTALL)
    return dict(zip(found, whole, strict=True))


def references(entry: Entry) -> str:
    """Links to all that is public of a method."""
    functions = [it.__name__ for it in entry.functions]
    names = [f"dropjax.{name}" for name in [*functions, *entry.more]]
    for room, layers in entry.layers.items():
        names += [f"dropjax.{room}.{layer.__name__}" for layer in layers]
    return "\n".join(f"- {{py:obj}}`{name}`" for name in names)


def gallery() -> str:
    """The first page: cards with pictures, by chapter, and the list of pages."""
    parts = [
        "# Methods",
        "One page for each method: its definition, which elements share a mask value, "
        "the laws that it keeps, its names in other libraries, what it costs, and when "
        "to use it. [The tables](../methods.md) have all names at a glance, and the "
        "[explorer](../explorer.md) draws masks.",
    ]
    chapters: dict[str, list[Entry]] = {}
    for entry in entries():
        chapters.setdefault(entry.chapter, []).append(entry)
    for chapter, own in chapters.items():
        cards = "\n".join(map(card, own))
        parts += [
            f"## {chapter}",
            f":::::{{grid}} 2 2 3 4\n:gutter: 3\n\n{cards}\n:::::",
        ]
        tree = "\n".join(entry.page for entry in own)
        parts.append(f"```{{toctree}}\n:hidden:\n:caption: {chapter}\n\n{tree}\n```")
    others = "../methods\n../explorer"
    parts.append(f"```{{toctree}}\n:hidden:\n:caption: All methods\n\n{others}\n```")
    return "\n\n".join(parts) + "\n"


def card(entry: Entry) -> str:
    """A picture, a name and a sentence that link to a page."""
    top = ""
    if entry.name in shown_methods():
        top = f":img-top: images/{entry.name}.png\n:img-alt: {entry.name}\n"
    return (
        f"::::{{grid-item-card}} {entry.data['title']}\n{top}:link: {entry.page}\n"
        f":link-type: doc\n\n{docstring(described(entry)[0]).summary}\n::::"
    )
