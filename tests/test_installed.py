"""What dropjax needs and what it does without: flax, optax and chex are for parts."""

import subprocess
import sys
from importlib import metadata

import pytest

import dropjax as dj

# Where nothing but jax and jaxtyping is, as after `pip install --no-deps dropjax`.
ALONE = """
import sys
from importlib.abc import MetaPathFinder

class Missing(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("flax", "optax", "chex"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Missing())
"""

FUNCTIONS = """
import jax, jax.numpy as jnp, numpy as np
import dropjax as dj

key, x, kernel = jax.random.key(0), jnp.ones((4, 6, 6, 8)), jnp.ones((8, 5))
params = {"kernel": kernel, "bias": jnp.ones(5)}
for function in (dj.dropout, dj.spatial_dropout, dj.drop_path, dj.alpha_dropout):
    assert jax.jit(function)(key, x, 0.5).shape == x.shape
fast = jax.random.key(0, impl=dj.fast_prng)
assert jax.grad(lambda x: dj.dropout(fast, x, 0.5).sum())(x).shape == x.shape
assert dj.dropconnect_dense(key, x, kernel, 0.5, mask_per="example").shape[-1] == 5
assert dj.layer_drop(key, x, jnp.tanh, 0.5).shape == x.shape
assert dj.selected(params) == ("kernel",)
for function in (dj.dropconnect, dj.targeted_dropout):
    assert function(key, params, 0.5)["bias"] is params["bias"]
assert dj.mixout(key, params, params, 0.5)["kernel"].shape == (8, 5)
predict = dj.inference.monte_carlo(lambda key, x: dj.dropout(key, x, 0.5), 4)
assert predict(key, x).mean.shape == x.shape
rate = dj.schedules.curriculum(0.5, 10)(3)
assert np.isfinite(dj.losses.r_drop(x, dj.dropout(key, x, rate))).all()
assert not {"flax", "optax", "chex"} & {name.partition(".")[0] for name in sys.modules}
"""


def run(program):
    command = [sys.executable, "-W", "error", "-c", program]
    return subprocess.run(command, capture_output=True, text=True)


def test_functions_and_transforms_need_jax_and_jaxtyping_alone():
    done = run(ALONE + FUNCTIONS)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("how", ["import dropjax.{}", "import dropjax; dropjax.{}"])
@pytest.mark.parametrize(
    ("part", "package"), [("linen", "flax"), ("nnx", "flax"), ("optimizers", "optax")]
)
def test_a_part_says_which_package_it_needs(part, package, how):
    done = run(ALONE + how.format(part))
    assert done.stderr.splitlines()[-1] == (
        f"ModuleNotFoundError: dropjax.{part} needs {package}, which is not installed; "
        f"install it with pip install {package}"
    )
    assert "During handling" not in done.stderr


def test_a_module_that_flax_misses_is_named_as_it_is():
    hidden = ALONE.replace('("flax", "optax", "chex")', '("msgpack",)')
    done = run(hidden + "import dropjax.linen")
    assert done.stderr.splitlines()[-1].endswith("No module named 'msgpack'")


def test_parts_are_attributes_and_are_imported_when_they_are_used():
    program = (
        "import sys, dropjax\n"
        "assert {'linen', 'nnx', 'optimizers', '__version__'} < set(dir(dropjax))\n"
        "assert 'flax' not in sys.modules and 'optax' not in sys.modules\n"
        "assert dropjax.optimizers.mask_updates and 'flax' not in sys.modules\n"
        "assert dropjax.linen.Dropout and dropjax.nnx.Dropout\n"
    )
    done = run(program)
    assert done.returncode == 0, done.stderr


def test_the_version_is_that_of_the_distribution():
    assert dj.__version__ == metadata.version("dropjax")


def test_an_unknown_attribute_is_named():
    with pytest.raises(AttributeError, match="'dropjax' has no attribute 'foo'"):
        dj.foo  # noqa: B018
