"""Products with masks per example have two forms, one for GPUs: the same masks."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import dropjax as dj
from dropjax.functional.weights import _per_example
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
    monkeypatch.setattr(_per_example, "_STORED_BYTES", stored)
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


def loops(platform, layer, kernel, x, **options):
    """How many there are in a program of both gradients."""

    def loss(x, kernel, key):
        return layer(key, x, kernel, 0.5, **options).sum()

    gradients = jax.jit(jax.grad(loss, (0, 1))).trace(x, kernel, KEYS["fast"])
    program = gradients.lower(lowering_platforms=(platform,))
    return program.as_text().count("stablehlo.while")


PRODUCTS = {
    "dense": (dj.dropconnect_dense, jnp.ones((80, 80)), jnp.ones((128, 80))),
    "conv": (dj.dropconnect_conv, jnp.ones((3, 3, 2, 4)), jnp.ones((128, 8, 8, 2))),
}


@pytest.mark.parametrize("mask_per", ["example", 4])
@pytest.mark.parametrize("product", PRODUCTS.values(), ids=PRODUCTS)
def test_a_gpus_program_loops_over_no_masks(product, mask_per):
    # What is left is the loop over a coin's bits, in the passes that draw them.
    found = loops("cuda", *product, mask_per=mask_per)
    assert found <= 2
    assert found < loops("cpu", *product, mask_per=mask_per)


@pytest.mark.parametrize(("stored", "together"), [(64, 32), (63, 16), (31, 11), (1, 1)])
def test_masked_kernels_are_made_in_equal_parts(stored, together, monkeypatch):
    x, kernel = jnp.ones((2, 32, 4, 10)), jnp.ones((10, 25))
    monkeypatch.setattr(_per_example, "_STORED_BYTES", stored * 1000)
    assert _per_example._masks_stored(x, kernel) == together
