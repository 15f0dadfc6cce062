"""The site's generated pages leave nothing out; `make docs` builds them."""

import ast
import builtins
import importlib
import re
import tomllib

import generate
import pytest
from generate._costs import CPU, read
from generate._docstrings import PUBLIC_MODULES, as_rest
from generate._laws import rows_of
from generate._methods import bibtex, entries

import dropjax as dj
from tests.methods import METHODS

PAGES = dict(generate.all_pages())


def test_every_public_name_is_in_the_reference_once():
    entries = []
    for name, text in PAGES.items():
        if name.startswith("reference/"):
            entries += re.findall(r"^\.\. auto\w+:: (\S+)", text, re.MULTILINE)
            data = r"^\.\. py:data:: (\S+)\n   :module: (\S+)"
            found = re.findall(data, text, re.MULTILINE)
            entries += [f"{module}.{thing}" for thing, module in found]
    public = [
        f"{module}.{thing}"
        for module in PUBLIC_MODULES
        for thing in importlib.import_module(module).__all__
    ]
    assert sorted(entries) == sorted(public)


def test_every_method_of_the_table_has_a_page():
    shown = [thing for entry in entries() for thing in entry.functions]
    for entry in entries():
        shown += [layer for layers in entry.layers.values() for layer in layers]
    for method in METHODS:
        assert all(thing in shown for thing in method.public), method.name
    named = {name for entry in entries() for name in [*entry.names, *entry.more]}
    functions = {name for name in dj.__all__ if not name.endswith("_mask")}
    assert functions - named <= {"apply_mask", "fast_prng", "keep_mask"}


def test_every_page_of_a_method_is_in_its_gallery():
    for entry in entries():
        assert f":link: {entry.page}\n" in PAGES["methods/index.md"]
        text = PAGES[f"methods/{entry.page}.md"]
        for section in ("When to use it", "Definition", "Example", "Laws that hold"):
            has_laws = entry.functions and not rows_of([*entry.functions])
            assert f"\n## {section}\n" in text or has_laws, entry.page


def test_what_is_written_of_methods_is_used_and_exists():
    data = tomllib.loads((generate.HERE / "methods.toml").read_text())
    names = {name for it in entries() for name in [it.name, *it.more]}
    assert data.keys() == names
    cited = {key for own in data.values() for key in own.get("papers", ())}
    assert cited <= bibtex().keys()
    rows = {row["name"] for path in CPU for row in read(path)["rows"]}
    assert {row for own in data.values() for row in own.get("cpu", ())} <= rows


def test_examples_on_pages_import_what_they_use():
    for name, text in PAGES.items():
        if name.startswith("methods/"):
            for code in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
                assert unbound(code) <= set(dir(builtins)), name


def unbound(code):
    """The names in a program that nothing in it defines."""
    tree = list(ast.walk(ast.parse(code)))
    names = [it for it in tree if isinstance(it, ast.Name)]
    bound = {it.id for it in names if isinstance(it.ctx, ast.Store)}
    for it in tree:
        if isinstance(it, ast.arg):
            bound.add(it.arg)
        elif isinstance(it, ast.alias):
            bound.add(it.asname or it.name.split(".")[0])
        elif isinstance(it, ast.FunctionDef | ast.ClassDef):
            bound.add(it.name)
    return {it.id for it in names} - bound


@pytest.mark.parametrize(
    ("markdown", "rest"),
    [
        ("scaled by `rate`s", r"scaled by ``rate``\ s"),
        ("`dropout` and `x * c`", ":py:obj:`dropout <dropjax.dropout>` and ``x * c``"),
        ("the $1 -\n$ rest", "the :math:`1 -` rest"),
        ("(*batch, width)", r"(\*batch, width)"),
        ("$$y = x$$", "\n.. math::\n\n   y = x\n\n"),
        ("[a page](https://a.org/b)", "`a page <https://a.org/b>`__"),
        (">>> y = x ** 2 * `z`", ">>> y = x ** 2 * `z`"),
        ("as\n\n    y = *x,", "as\n\n\n.. code-block:: python\n\n    y = *x,\n"),
    ],
)
def test_docstrings_become_rest(markdown, rest):
    assert "\n".join(as_rest(markdown.split("\n"))) == rest


@pytest.mark.parametrize(
    ("code", "name"),
    [
        ("dropout", "dropjax.dropout"),
        ("dj.dropout()", "dropjax.dropout"),
        ("djl.Dropout", "dropjax.linen.Dropout"),
        ("inference.monte_carlo", "dropjax.inference.monte_carlo"),
        ("Dropout", None),  # It may be any library's.
        ("jnp.where", None),
        ("rate", None),
    ],
)
def test_names_in_sentences_are_linked(code, name):
    assert generate.full_name(code) == name


def test_links_hold_on_the_site():
    source = generate.HERE / "speed.md"
    text = "[the table](../benchmarks/results/cpu.md#all) and [methods.md](methods.md)"
    moved = "[the table](benchmarks/cpu.md#all) and [](methods.md)"
    assert generate.relink(text, source, source) == moved
    own = "[a law](../tests/test_laws.py), [a site](https://a.org), [above](#above)"
    assert generate.relink(own, source, source) == own
