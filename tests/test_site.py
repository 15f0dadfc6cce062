"""The site's generated pages leave nothing out; `make docs` builds them."""

import importlib
import re

import generate
import pytest
from generate._docstrings import PUBLIC_MODULES, as_rest

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


def test_links_hold_on_the_site():
    source = generate.HERE / "guide.md"
    text = "[the table](../benchmarks/results/cpu.md#all) and [methods.md](methods.md)"
    moved = "[the table](benchmarks/cpu.md#all) and [](methods.md)"
    assert generate.relink(text, source, source) == moved
    own = "[a law](../tests/test_laws.py), [a site](https://a.org), [above](#above)"
    assert generate.relink(own, source, source) == own
