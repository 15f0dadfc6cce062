"""Checks that functions and transforms need only jax and jaxtyping."""

import importlib.util
import pathlib
import sys

import jax

import dropjax

folder = pathlib.Path(dropjax.__file__).parent
assert folder.is_relative_to(sys.prefix), f"not the installed package: {folder}"
for name in ("flax", "optax", "chex"):
    assert importlib.util.find_spec(name) is None, f"{name} is installed"
key, x = jax.random.key(0), jax.numpy.ones((100, 100))
assert 0.4 < (dropjax.dropout(key, x, 0.5) == 0).mean() < 0.6
assert 0.4 < (dropjax.dropconnect(key, {"kernel": x}, 0.5)["kernel"] == 0).mean() < 0.6
for part in ("linen", "nnx", "optimizers"):
    try:
        getattr(dropjax, part)
    except ModuleNotFoundError:
        continue
    raise AssertionError(f"dropjax.{part} should need another package")
print("functions and transforms need only jax and jaxtyping")
