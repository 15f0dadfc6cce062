"""Targeted dropout: who is a target, and that the laws hold."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import dropjax as dj
from tests.methods import array

KEY = jax.random.key(2019)
SHAPES = [(40, 30), (3, 3, 8, 20)]


def targets(x, share, by):
    sizes = np.abs(np.asarray(x)).reshape(-1, x.shape[-1])
    if by == "units":
        sizes = np.sqrt((sizes**2).sum(0))[:, None]
    order = np.argsort(np.argsort(sizes, axis=0), axis=0)
    chosen = order < round(share * sizes.shape[0])
    return jnp.asarray(chosen.T if by == "units" else chosen.reshape(x.shape))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("by", ["weights", "units"])
@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_the_smallest_are_dropped_as_the_coins_say(shape, by, share):
    x = array(shape)
    chosen = targets(x, share, by).reshape((1,) * (x.ndim - 2) + (-1, shape[-1]))
    chosen = chosen.reshape(shape) if by == "weights" else chosen
    coins = dj.keep_mask(KEY, chosen.shape, 0.4)
    expected = jnp.where(chosen & ~coins, 0, x)
    y = dj.targeted_dropout(KEY, x, 0.4, target=share, by=by)
    np.testing.assert_array_equal(y, expected)
    pruned = dj.targeted_dropout(None, x, 1.0, target=share, by=by)
    np.testing.assert_array_equal(pruned, jnp.where(chosen, 0, x))
    traced = jax.jit(
        lambda *rates: dj.targeted_dropout(KEY, x, rates[0], target=rates[1], by=by)
    )
    np.testing.assert_array_equal(traced(jnp.float32(0.4), jnp.float32(share)), y)


def test_units_have_rates_of_their_own():
    x, rates = array((40, 30)), jnp.linspace(0, 1, 30)[None]
    y = dj.targeted_dropout(KEY, x, rates, target=1.0, by="units")
    np.testing.assert_array_equal(y[:, 0], x[:, 0])
    assert not y[:, -1].any()
    assert 0 < (y != 0).all(0).mean() < 1
    with pytest.raises(ValueError, match=r"mask's shape \(1, 30\)"):
        dj.targeted_dropout(KEY, x, jnp.full(x.shape, 0.5), by="units")


def test_a_vector_is_one_group_and_nothing_is_none():
    x = array((50,))
    y = dj.targeted_dropout(KEY, x, 1.0, target=0.3)
    np.testing.assert_array_equal(y == 0, jnp.abs(x) < jnp.sort(jnp.abs(x))[15])
    for shape in ((5, 0), (0, 5)):
        assert dj.targeted_dropout(KEY, jnp.ones(shape), 0.5).shape == shape


def test_units_are_the_last_axis_of_a_kernel_of_any_rank():
    x = array((3, 2, 5, 40))
    y = dj.targeted_dropout(KEY, x, 0.5, target=1.0, by="units")
    kept = np.asarray(y != 0).reshape(-1, 40)
    assert (kept == kept[0]).all()
    assert 0 < kept[0].sum() < 40
    with pytest.raises(ValueError, match="must broadcast"):
        dj.targeted_dropout(KEY, x, jnp.full((5, 40), 0.5), by="units")


@pytest.mark.parametrize("by", ["weights", "units"])
def test_stacked_layers_are_ranked_one_by_one_under_vmap(by):
    stacked = array((3, 40, 30)) * jnp.array([1.0, 10.0, 100.0])[:, None, None]
    drop = functools.partial(dj.targeted_dropout, rate=1.0, by=by)
    keys = jax.random.split(KEY, 3)
    dropped = jax.vmap(drop)(keys, stacked)
    assert not jnp.array_equal(drop(None, stacked) == 0, dropped == 0)
    np.testing.assert_array_equal((dropped == 0).mean((1, 2)), 0.5)
    for key, kernel, one in zip(keys, stacked, dropped, strict=True):
        np.testing.assert_array_equal(drop(key, kernel), one)


def test_trees_are_as_in_dropconnect():
    params = {"dense": {"kernel": array((40, 30)), "bias": jnp.ones(30)}}
    y = dj.targeted_dropout(KEY, params, 1.0, target=1.0)
    assert not y["dense"]["kernel"].any()
    assert y["dense"]["bias"] is params["dense"]["bias"]
    y = dj.targeted_dropout(KEY, params, 0.5, target=1.0)["dense"]["kernel"]
    mask = dj.dropconnect_mask(KEY, params, 0.5)["dense"]["kernel"]
    np.testing.assert_array_equal(y != 0, mask)
    assert dj.targeted_dropout(None, params, 0.0) is params
    assert dj.targeted_dropout(None, params, 0.5, deterministic=True) is params


def test_laws_of_units():
    x = array((24, 36))
    drop = functools.partial(dj.targeted_dropout, KEY, by="units")
    call = jax.jit(
        jax.value_and_grad(
            lambda x, rate, target: (drop(x, rate, target=target) ** 2).sum(), (0, 1, 2)
        )
    )
    for rate in (0.0, 0.5, 1.0):
        value, (slope, *others) = call(x, jnp.float32(rate), jnp.float32(0.5))
        assert np.isfinite(value)
        np.testing.assert_allclose(slope, 2 * drop(x, rate), rtol=1e-6)
        assert others == [0.0, 0.0]
    for rates in ((jnp.nan, 0.5), (0.5, jnp.nan)):
        rate, target = map(jnp.float32, rates)
        traced = jax.jit(lambda rate, target: drop(x, rate, target=target))
        assert np.isnan(traced(rate, target)).any()
    for dtype in (jnp.bfloat16, jnp.complex64):
        y = drop(x.astype(dtype), 0.5)
        assert (y.dtype, y.shape) == (dtype, x.shape)
    keys = jax.random.split(KEY, 2)
    one = lambda key: dj.targeted_dropout(key, x, 0.5, by="units")  # noqa: E731
    np.testing.assert_array_equal(
        jax.vmap(one)(keys), jnp.stack([one(key) for key in keys])
    )
    _, back = jax.vjp(lambda x: drop(x, 0.5), x)
    assert sum(leaf.size for leaf in jax.tree.leaves(back)) <= x.size + 8
    poisoned = drop(x.at[0, 0].set(jnp.nan), 1.0)
    assert np.isnan(poisoned).sum() == 1
    for shape in ((5,), (0, 3), (3, 0)):
        assert drop(array(shape), 0.5).shape == shape
