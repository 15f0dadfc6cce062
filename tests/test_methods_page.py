"""The page of methods names everything that is public, and nothing else."""

import importlib
import pathlib
import re

import dropjax as dj
import dropjax.linen as djl
import dropjax.nnx as djn

PAGE = (pathlib.Path(__file__).parent.parent / "docs" / "methods.md").read_text()
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
            assert line.count("|") in (4, 8), line
