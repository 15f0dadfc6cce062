"""docs/guides/migrating.md: each pair of programs gives what the page says."""

import os
import pathlib
import re
import warnings

import jax
import numpy as np
import pytest

os.environ.setdefault("KERAS_BACKEND", "jax")
PAGE = (pathlib.Path(__file__).parents[1] / "docs/guides/migrating.md").read_text()
PYTHON = re.compile(r"```python\n(.*?)```", re.DOTALL)
START = PYTHON.search(PAGE)[1]


def tabs():
    for section in PAGE.split("\n## ")[1:]:
        title, *found = section.split(":::{tab-item} ")
        for tab in found:
            name = f"{title.splitlines()[0]}, {tab.splitlines()[0]}"
            marks = [pytest.mark.torch] if "import torch" in tab else []
            yield pytest.param(tab, id=name, marks=marks)


@pytest.mark.parametrize("tab", list(tabs()))
def test_the_programs_of_a_tab_agree(tab):
    theirs, ours = PYTHON.findall(tab)
    words = {}
    exec(START, words)
    for library in re.findall(r"^import (keras|torch\w*|timm)", theirs, re.MULTILINE):
        pytest.importorskip(library)
    with (
        warnings.catch_warnings(action="ignore"),
        jax.numpy_dtype_promotion("standard"),
    ):
        exec(theirs, words)
    exec(ours, words)
    y, z = np.asarray(words["y"]), np.asarray(words["z"])
    assert y.shape == z.shape
    if "Other elements drop" in tab:
        np.testing.assert_array_equal(shared_axes(y), shared_axes(z))
        np.testing.assert_allclose(np.unique(y), np.unique(z), rtol=1e-6)
    else:
        assert "The same elements drop" in tab or "the values are the same" in tab
        np.testing.assert_allclose(y, z, rtol=1e-5)


def shared_axes(y):
    """The axes along which all elements are the same."""
    first = [np.take(y, [0], axis) for axis in range(y.ndim)]
    return [axis for axis, it in enumerate(first) if (y == it).all()]
