"""What only a GPU can show: the CPU's masks, flax's bits, no scratch memory."""

import importlib
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import dropjax as dj
import dropjax.linen as djl
from tests.methods import METHODS, array

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(jax.default_backend() != "gpu", reason="there is no GPU"),
]
KEYS = {"threefry": jax.random.key(0), "fast": jax.random.key(0, impl=dj.fast_prng)}


@pytest.mark.parametrize(
    "method", [m for m in METHODS if m.mask], ids=lambda method: method.name
)
@pytest.mark.parametrize("key", KEYS.values(), ids=KEYS)
def test_the_gpu_draws_the_cpus_masks(method, key):
    draw = jax.jit(lambda key: method.mask(key, method.shape, 0.3))
    on_gpu = np.asarray(draw(key))
    on_cpu = draw(jax.device_put(key, jax.devices("cpu")[0]))
    np.testing.assert_array_equal(on_gpu, on_cpu)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_flaxs_elements_drop_on_the_gpu(dtype):
    x, rngs = array((256, 384), jnp.dtype(dtype)), {"dropout": KEYS["threefry"]}
    ours, theirs = (
        jax.jit(lambda x, layer=layer: layer.apply({}, x, False, rngs=rngs))(x)
        for layer in (djl.Dropout(0.1), nn.Dropout(0.1))
    )
    np.testing.assert_array_equal(ours == 0, theirs == 0)
    if dtype == "float32":
        np.testing.assert_array_equal(ours, theirs)


@pytest.fixture
def bars(monkeypatch):
    """Those that `tests/test_gpu_compiler.py` holds without a GPU."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "benchmarks"))
    return importlib.import_module("onpaper.bars")


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("key", KEYS.values(), ids=KEYS)
def test_no_scratch_memory_on_the_gpu(dtype, key, bars):
    x = jnp.ones((4096, 4096), dtype)

    def backward(key, x, cotangent):
        _, back = jax.vjp(lambda x: dj.dropout(key, x, 0.1), x)
        return back(cotangent)

    forward = jax.jit(lambda key, x: dj.dropout(key, x, 0.1)).lower(key, x)
    for lowered in (forward, jax.jit(backward).lower(key, x, x)):
        assert lowered.compile().memory_analysis().temp_size_in_bytes <= bars.SCRATCH


@pytest.mark.parametrize("scanned", [True, False])
@pytest.mark.parametrize("key", KEYS.values(), ids=KEYS)
def test_a_deep_net_keeps_no_masks_on_the_gpu(scanned, key, bars):
    """Scanned, no more than without dropout; unrolled, less than with flax's masks.

    Where products are timed to choose among them, those of an unrolled net may be
    others with dropout than without, and so may their scratch memory.
    """
    layers, x = 8, jnp.ones((2048, 1024))

    def scratch(noise):
        def step(x, layer):
            weights, key = layer
            return noise(key, jax.nn.relu(x @ weights)), None

        def loss(weights, key, x):
            keys = jax.random.split(key, layers)
            if scanned:
                return jax.lax.scan(step, x, (weights, keys))[0].sum()
            for layer in zip(weights, keys, strict=True):
                x, _ = step(x, layer)
            return x.sum()

        weights = jnp.ones((layers, 1024, 1024))
        compiled = jax.jit(jax.grad(loss)).lower(weights, key, x).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    def flax_dropout(key, x):
        return nn.Dropout(0.1, deterministic=False).apply({}, x, rngs={"dropout": key})

    ours = scratch(lambda key, x: dj.dropout(key, x, 0.1))
    if scanned:
        assert ours <= bars.STEP * scratch(lambda key, x: x)
    else:
        assert ours < scratch(flax_dropout)
