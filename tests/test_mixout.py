"""Mixout over trees: DropConnect that falls back to pretrained weights."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax.core import freeze

import dropjax as dj
from tests.methods import array

KEY = jax.random.key(2020)
RATE = 0.3
PARAMS = {"dense": {"kernel": array((20, 30)), "bias": array((30,), seed=1)}}
OLD = {"dense": {"kernel": array((20, 30), seed=2), "bias": array((30,), seed=3)}}
W, U = PARAMS["dense"]["kernel"], OLD["dense"]["kernel"]


def mixed(w=W, u=U, rate=RATE, key=KEY, **options):
    return dj.mixout(key, {"kernel": w}, {"kernel": u}, rate, **options)["kernel"]


def mask(rate=RATE, key=KEY):
    return dj.dropconnect_mask(key, {"kernel": W}, rate)["kernel"]


def paper(mask, w, u, rate):
    """The paper's formula, in double precision."""
    w, u, mask = (np.asarray(it, np.float64) for it in (w, u, mask))
    return (mask * w + (1 - mask) * u - rate * u) / (1 - rate)


def test_it_is_the_papers_formula_with_the_masks_of_dropconnect():
    np.testing.assert_allclose(mixed(), paper(mask(), W, U, RATE), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(mixed()[~mask()], U[~mask()])


def test_the_mean_over_masks_is_the_weights():
    low, high = paper(0, W, U, RATE), paper(1, W, U, RATE)
    np.testing.assert_allclose(RATE * low + (1 - RATE) * high, W, rtol=1e-12)
    many = jax.jit(jax.vmap(lambda key: mixed(key=key)))(jax.random.split(KEY, 4000))
    deviation = np.abs(np.asarray(W - U)) * np.sqrt(RATE / (1 - RATE) / 4000)
    assert (np.abs(many.mean(0) - W) < 5 * deviation).all()


def test_around_zero_it_is_dropconnect_bit_for_bit():
    zeros = jax.tree.map(jnp.zeros_like, PARAMS)
    for scaling in ("inverted", "standard"):
        ours = dj.mixout(KEY, PARAMS, zeros, RATE, scaling=scaling)
        theirs = dj.dropconnect(KEY, PARAMS, RATE, scaling=scaling)
        chex.assert_trees_all_equal(ours, theirs)


def test_standard_scaling_is_the_plain_mix_and_its_mean():
    y = mixed(scaling="standard")
    np.testing.assert_array_equal(y, jnp.where(mask(), W, U))
    calm = mixed(scaling="standard", deterministic=True, key=None)
    np.testing.assert_allclose(calm, 0.7 * W + 0.3 * U, rtol=1e-5, atol=1e-6)


def test_off_is_free_and_one_is_the_pretrained_net():
    for rate, deterministic in ((RATE, True), (0, False)):
        options = {"deterministic": deterministic}
        assert dj.mixout(None, PARAMS, OLD, rate, **options) is PARAMS
    assert mixed(rate=1.0, key=None) is U


def test_only_kernels_by_default_and_containers_may_differ():
    y = dj.mixout(KEY, freeze(PARAMS), {**OLD, "more": jnp.ones(3)}, RATE)
    assert type(y) is type(freeze(PARAMS))
    assert y["dense"]["bias"] is PARAMS["dense"]["bias"]
    bias = dj.mixout(KEY, PARAMS, OLD, 1.0, where=lambda path, _: "bias" in path)
    assert bias["dense"]["bias"] is OLD["dense"]["bias"]
    assert bias["dense"]["kernel"] is W


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "complex64"])
def test_dtypes_are_kept_and_rounded_once(dtype):
    w, u = array((20, 30), jnp.dtype(dtype)), array((20, 30), jnp.dtype(dtype), 2)
    y = mixed(w, u)
    assert y.dtype == dtype
    wide = "complex64" if dtype == "complex64" else "float32"
    low, high = u.astype(wide), w.astype(wide)
    # But for where two programs, one with fused multiplication, differ at a tie.
    assert (y != mixed(high, low).astype(dtype)).mean() < 0.01
    low, high = np.asarray(low), np.asarray(high)
    expected = np.where(mask(), low + (high - low) / np.float32(0.7), low)
    np.testing.assert_allclose(y.astype(wide), expected, rtol=1e-2, atol=1e-6)


def test_finetuning_stays_near_the_pretrained_net():
    """What the method is for: with a high rate, weights are pulled to the old ones."""
    x, target = array((50, 8)), array((50, 1), seed=5)
    start = {"kernel": jnp.ones((8, 1))}

    def distance(rate):
        optimizer = optax.sgd(0.005)

        def step(carry, key):
            params, state = carry

            def loss(params):
                w = dj.mixout(key, params, start, rate)["kernel"]
                return ((x @ w - target) ** 2).mean()

            updates, state = optimizer.update(jax.grad(loss)(params), state)
            return (optax.apply_updates(params, updates), state), None

        carry = (start, optimizer.init(start))
        keys = jax.random.split(KEY, 300)
        (params, _), _ = jax.jit(lambda carry: jax.lax.scan(step, carry, keys))(carry)
        return float(jnp.abs(params["kernel"] - 1).sum())

    assert distance(0.8) < 0.8 * distance(0.0)


def test_the_ends_are_exact_and_a_nan_rate_is_seen():
    tiny, infinite = jnp.full((2, 2), 1e-8), jnp.full((2, 2), jnp.inf)
    ones = jnp.ones((2, 2))
    standard = {"scaling": "standard", "deterministic": True, "key": None}
    for rate in (0.0, jnp.float32(0.0)):
        np.testing.assert_array_equal(mixed(tiny, ones, rate, **standard), tiny)
    for rate in (1.0, jnp.float32(1.0)):
        np.testing.assert_array_equal(mixed(infinite, ones, rate, **standard), ones)
    np.testing.assert_array_equal(mixed(tiny, ones, jnp.float32(0.0)), tiny)
    for scaling in ("standard", "inverted"):
        nan = jax.jit(lambda rate, way=scaling: mixed(rate=rate, scaling=way))
        assert np.isnan(nan(jnp.float32(jnp.nan))).all()
