"""The page of methods names everything that is public, and nothing else."""

import collections
import importlib
import inspect
import pathlib
import re

import dropjax as dj
import dropjax.linen as djl
import dropjax.nnx as djn

PAGE = (pathlib.Path(__file__).parent.parent / "docs" / "methods.md").read_text()
ARGUMENTS, MASKLESS = re.split(r"## A\w+\n|These have no", PAGE)[1:3]
FIRST_CELLS = re.findall(r"^\| (`.*?) \|", PAGE, re.MULTILINE)
LISTED = {name for cell in FIRST_CELLS for name in re.findall(r"`([\w.]+)`", cell)}
TOOLS = {"apply_mask", "fast_prng", "keep_mask"}


def test_every_function_is_listed():
    functions = {name for name in dj.__all__ if not name.endswith("_mask")}
    assert functions - LISTED <= TOOLS
    for room in ("losses", "optimizers", "schedules"):
        for name in importlib.import_module(f"dropjax.{room}").__all__:
            assert f"{room}.{name}" in LISTED or name[0].isupper()


def test_everything_listed_exists():
    for name in LISTED:
        room, _, thing = name.rpartition(".")
        found = importlib.import_module(f"dropjax.{room}" if room else "dropjax")
        assert any(hasattr(it, thing) for it in (found, djl, djn)), name


def test_every_layer_is_listed_or_named_after_its_function():
    for room, where in ((djl, "linen"), (djn, "nnx")):
        for name in room.__all__:
            function = re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()
            assert {name, function, f"{where}.{name}"} & LISTED, name


def test_every_row_has_all_cells():
    for line in PAGE.splitlines():
        if line.startswith("| `"):
            assert line.count("|") in (3, 4, 8), line


def first_arguments(function):
    """All arguments that may be given by position."""
    found = inspect.signature(function).parameters.values()
    return [it.name for it in found if it.kind is it.POSITIONAL_OR_KEYWORD]


def listed(text):
    """The functions in the first column of a table, and what the second says."""
    rows = re.findall(r"^\| (`.*?) \| (.*?) \|$", text, re.MULTILINE)
    return {name: said for cell, said in rows for name in re.findall(r"`(\w+)`", cell)}


def test_functions_with_other_arguments_are_listed():
    others = {}
    for name in set(dj.__all__) - TOOLS:
        arguments = first_arguments(getattr(dj, name))
        second = "shape" if name.endswith("_mask") else "x"
        if arguments != ["key", second, "rate"]:
            others[name] = f"`({', '.join(arguments)})`"
    said = listed(ARGUMENTS)
    assert {name: said[name].removesuffix(", as in flax") for name in said} == others


def test_functions_without_a_mask_function_are_listed():
    functions = {name for name in dj.__all__ if not name.endswith("_mask")} - TOOLS
    maskless = {name for name in functions if f"{name}_mask" not in dj.__all__}
    assert listed(MASKLESS.partition("\n## ")[0]).keys() == maskless


def test_readme_names_the_most_frequent_grammar():
    readme = (pathlib.Path(__file__).parent.parent / "README.md").read_text()
    assert "A function is `f(key, x, rate, *, options" in readme
    names = {name for name in dj.__all__ if not name.endswith("_mask")} - TOOLS
    found = collections.Counter(
        tuple(first_arguments(getattr(dj, name))) for name in names
    )
    ((arguments, count), (_, next_count)) = found.most_common(2)
    assert arguments == ("key", "x", "rate")
    assert count > 4 * next_count
