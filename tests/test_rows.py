"""Products with masks per example have two forms, one for GPUs: the same masks."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import dropjax as dj
from dropjax.functional.weights import _rows
from tests.methods import array

KEYS = {"threefry": jax.random.key(5), "fast": jax.random.key(5, impl=dj.fast_prng)}
RATES = {
    "known": 0.3,
    "traced": jnp.float32(0.3),
    "of each unit": jnp.linspace(0.1, 0.6, 7),
}


@pytest.fixture
def on_a_gpu(monkeypatch):
    """A function, run in the form that a GPU gets."""

    def choose(*args, default, **forms):
        return forms.get("cuda", default)(*args)

    def run(function, *args):
        with monkeypatch.context() as patch:
            patch.setattr(lax, "platform_dependent", choose)
            jax.clear_caches()
            found = function(*args)
        jax.clear_caches()
        return found

    return run


@pytest.mark.parametrize("stored", [2**26, 2000], ids=["at once", "in parts"])
@pytest.mark.parametrize("mask_per", ["example", 4])
@pytest.mark.parametrize("rate", RATES.values(), ids=RATES)
def test_both_forms_agree_in_all_derivatives(
    rate, mask_per, stored, on_a_gpu, monkeypatch
):
    key = KEYS["threefry" if isinstance(rate, float) else "fast"]
    monkeypatch.setattr(_rows, "_STORED_BYTES", stored)
    x, kernel = array((37, 20)), array((20, 7), seed=1)

    @functools.partial(jax.jit, static_argnums=3)
    def everything(key, x, kernel, known, rate):
        def layer(x, kernel):
            own = known if known is not None else rate
            return dj.dropconnect_dense(key, x, kernel, own, mask_per=mask_per)

        def loss(x, kernel):
            return (layer(x, kernel) ** 2).sum()

        def along(scale):
            return loss(scale * x, scale * kernel)

        _, pushed = jax.jvp(layer, (x, kernel), (kernel[0, 0] * x, kernel))
        gradients = jax.grad(loss, (0, 1))(x, kernel)
        return layer(x, kernel), gradients, pushed, jax.hessian(along)(1.0)

    known, traced = (rate, None) if isinstance(rate, float) else (None, rate)
    wanted = everything(key, x, kernel, known, traced)
    found = on_a_gpu(everything, key, x, kernel, known, traced)
    for one, other in zip(*map(jax.tree.leaves, (found, wanted)), strict=True):
        scale = np.abs(other).max()
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6 * scale)


def test_a_dropped_nan_reaches_no_gradient_on_a_gpu(on_a_gpu):
    x, kernel = array((8, 4)), array((4, 3), seed=1).at[1, 2].set(jnp.nan)

    def gradient(x):
        y = dj.dropconnect_dense(KEYS["fast"], x, kernel, 0.5, mask_per="example")
        return jnp.where(jnp.isnan(y), 0, y).sum()

    found = on_a_gpu(jax.jit(jax.grad(gradient)), x)
    np.testing.assert_array_equal(
        np.isnan(found), np.isnan(jax.jit(jax.grad(gradient))(x))
    )
    assert np.isfinite(found).any(0).all()


def test_a_gpus_program_has_no_loops():
    layer = functools.partial(dj.dropconnect_dense, mask_per="example")
    x, kernel = jnp.ones((128, 80)), jnp.ones((80, 80))
    gradients = jax.jit(
        jax.grad(lambda x, w, key: layer(key, x, w, 0.5).sum(), (0, 1))
    ).trace(x, kernel, KEYS["fast"])
    loops = {
        platform: gradients.lower(lowering_platforms=(platform,))
        .as_text()
        .count("stablehlo.while")
        for platform in ("cpu", "cuda")
    }
    # What is left are those of threefry, which make the key of the leaf.
    assert loops["cuda"] < loops["cpu"]
