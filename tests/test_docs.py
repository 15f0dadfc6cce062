"""Every example runs: docstrings, and the code blocks of README and docs."""

import doctest
import importlib
import pathlib
import pkgutil
import re

import generate
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import pytest

import dropjax
from dropjax import *  # noqa: F403

ROOT = pathlib.Path(__file__).parent.parent
MODULES = [name for _, name, _ in pkgutil.walk_packages(dropjax.__path__, "dropjax.")]
RECIPES = ROOT / "docs" / "recipes.md"
MIGRATING = ROOT / "docs" / "guides" / "migrating.md"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *generate.written_pages()]
PAGES.remove(RECIPES)
PAGES.remove(MIGRATING)  # See test_migrating.py.
NOTEBOOKS = [page for page in PAGES if "{code-cell}" in page.read_text()]
PAGES = [page for page in PAGES if page not in NOTEBOOKS]
# Blocks of Python, and cells of notebooks without their options.
BLOCK = re.compile(
    r"^```(?:python|\{code-cell\}[^\n]*)\n(?::[^\n]*\n)*(.*?)^```",
    re.DOTALL | re.MULTILINE,
)
# Each section is a program of its own.
SECTIONS = RECIPES.read_text().split("\n## ")[1:]


@pytest.mark.parametrize("name", ["dropjax", *MODULES])
def test_docstrings(name):
    words = {"jax": jax, "jnp": jnp, "np": np, "dropjax": dropjax}
    words |= {public: getattr(dropjax, public) for public in dropjax.__all__}
    module = importlib.import_module(name)
    found = doctest.testmod(module, extraglobs={**words, "key": jax.random.key(0)})
    assert found.failed == 0


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_code_blocks(page):
    run_code_blocks(page.read_text(), page)


@pytest.mark.parametrize("recipe", SECTIONS, ids=lambda text: text.partition("\n")[0])
def test_recipes(recipe):
    # Optax and Haiku mix dtypes.
    with jax.numpy_dtype_promotion("standard"):
        run_code_blocks(recipe, RECIPES)


def test_no_code_on_a_page_is_left_out():
    """Blocks marked `python` run here, and cells of notebooks in `make docs` too."""
    settings = (ROOT / "docs" / "conf.py").read_text()
    assert "excludepatterns" not in settings
    assert "nb_execution_raise_on_error = True" in settings
    for page in [*PAGES, *NOTEBOOKS, RECIPES, MIGRATING]:
        marks = set(re.findall(r"^ *[`:~]{3,}([^\n]+)", page.read_text(), re.MULTILINE))
        unusual = [it for it in marks if re.match(r"\{?(py|code|sourcecode)", it)]
        assert set(unusual) <= {"python", "{code-cell}", "{code-cell} ipython3"}, page
        assert "skip-execution" not in page.read_text(), page


@pytest.mark.parametrize("page", NOTEBOOKS, ids=lambda page: page.stem)
def test_notebooks(page):
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        run_code_blocks(page.read_text(), page)
    plt.close("all")


def run_code_blocks(text, page):
    words = {"__name__": "page"}
    for block in BLOCK.findall(text):
        exec(compile(block, str(page), "exec"), words)
