"""Runs the code of the README with the installed dropjax, outside of the checkout."""

import pathlib
import re
import sys
from importlib import metadata

import jax

import dropjax
import dropjax.linen
import dropjax.nnx

README = pathlib.Path(__file__).resolve().parents[1] / "README.md"

folder = pathlib.Path(dropjax.__file__).parent
assert folder.is_relative_to(sys.prefix), f"not the installed package: {folder}"
assert (folder / "py.typed").exists()
assert metadata.version("dropjax")
for name in dropjax.__all__:
    assert hasattr(dropjax, name), name
for block in re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL):
    exec(compile(block, str(README), "exec"), {"__name__": "readme"})
y = dropjax.dropout(jax.random.key(0), jax.numpy.ones((100, 100)), 0.5)
assert 0.4 < (y == 0).mean() < 0.6, "the installed wheel drops the wrong fraction"
print("the installed wheel works")
