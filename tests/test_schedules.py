"""Rates over depth and over steps, and every way to use one."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax import lax

import dropjax as dj
import dropjax.linen as djl
from dropjax.schedules import (
    curriculum,
    early_dropout,
    late_dropout,
    linear_over_depth,
)

KEY = jax.random.key(2016)
X = jnp.ones((30, 40))


def test_the_papers_rates_grow_from_the_first_layer_to_the_last():
    np.testing.assert_allclose(linear_over_depth(0.5, 5), [0.1, 0.2, 0.3, 0.4, 0.5])


@pytest.mark.parametrize("depth", [2, 12, 24])
def test_timms_rates_are_its_linspace(depth):
    rates = linear_over_depth(0.3, depth, convention="timm")
    np.testing.assert_allclose(rates, np.linspace(0, 0.3, depth))


def test_timm_never_drops_a_lone_layer():
    np.testing.assert_array_equal(linear_over_depth(0.3, 1, convention="timm"), [0])


def test_efficientnets_rates_stop_short_of_the_rate():
    rates = linear_over_depth(0.2, 16, convention="efficientnet")
    np.testing.assert_allclose(rates, [0.2 * index / 16 for index in range(16)])


def test_host_rates_are_of_the_host_so_that_none_is_free():
    rates = linear_over_depth(0.5, 3, convention="timm")
    assert isinstance(rates, np.ndarray)
    assert dj.dropout(None, X, rates[0]) is X
    assert not dj.dropout(None, X, 2 * rates[-1]).any()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_traced_rate_gives_traced_rates_of_its_dtype(dtype):
    traced = jax.jit(lambda rate: linear_over_depth(rate, 4))(jnp.asarray(0.5, dtype))
    assert traced.dtype == dtype
    np.testing.assert_allclose(traced, linear_over_depth(0.5, 4), rtol=1e-2)


def test_curriculum_is_the_papers_formula():
    schedule = curriculum(0.5, 200)
    for step in (0, 1, 50, 200):
        keep = 0.5 * np.exp(-10 / 200 * step) + 0.5
        np.testing.assert_allclose(schedule(step), 1 - keep, atol=1e-6)
    np.testing.assert_allclose(
        curriculum(0.3, 10, sharpness=1.0)(10), 0.3 * (1 - 1 / np.e)
    )


def test_curriculum_starts_gently_without_a_loss_of_precision():
    np.testing.assert_allclose(curriculum(0.5, 10**7)(1), 5e-7, rtol=1e-5)


def test_early_dropout_is_optaxs_linear_schedule_to_zero():
    ours, theirs = early_dropout(0.3, 7), optax.linear_schedule(0.3, 0.0, 7)
    with jax.numpy_dtype_promotion("standard"):
        for step in range(10):
            np.testing.assert_allclose(ours(step), theirs(step), atol=1e-7)
    assert ours(0) == np.float32(0.3)
    assert ours(7) == ours(10**9) == 0


def test_early_dropout_has_the_endpoints_of_the_papers_linspace():
    ours = [early_dropout(0.5, 9)(step) for step in range(10)]
    np.testing.assert_allclose(ours, np.linspace(0.5, 0, 10), atol=1e-7)


@pytest.mark.parametrize("make", [curriculum, early_dropout, late_dropout])
def test_negative_steps_are_the_first(make):
    schedule = make(0.3, 7)
    assert schedule(-50) == schedule(0)


def test_early_and_late_dropout_share_the_steps():
    early, late = early_dropout(0.3, 7, form="constant"), late_dropout(0.3, 7)
    steps = jnp.arange(12)
    rate, none = np.full(12, np.float32(0.3)), np.zeros(12, np.float32)
    np.testing.assert_array_equal(early(steps), np.where(steps < 7, rate, none))
    np.testing.assert_array_equal(late(steps), np.where(steps < 7, none, rate))


@pytest.mark.parametrize("make", [early_dropout, late_dropout])
def test_the_rate_of_a_schedule_may_be_traced(make):
    traced = jax.jit(lambda rate, step: make(rate, 7)(step))
    for step in (0, 3, 8):
        np.testing.assert_allclose(traced(jnp.float32(0.3), step), make(0.3, 7)(step))


@pytest.mark.parametrize("make", [early_dropout, late_dropout])
def test_stochastic_depth_takes_early_and_late_rates(make):
    """One rate per branch, in one program for all steps."""
    traces = []

    @jax.jit
    def branches(x, step):
        traces.append(step)
        rates = linear_over_depth(make(0.8, 100)(step), 4)
        return [
            dj.drop_path(key, x, rate)
            for key, rate in zip(jax.random.split(KEY, 4), rates, strict=True)
        ]

    x, keys = jnp.ones((500, 2)), jax.random.split(KEY, 4)
    for step in (0, 50, 100):
        now = float(make(0.8, 100)(step))
        rates = linear_over_depth(now, 4)
        for y, key, rate in zip(branches(x, jnp.int32(step)), keys, rates, strict=True):
            np.testing.assert_allclose(y, dj.drop_path(key, x, rate), rtol=1e-6)
            assert abs((y == 0).mean() - rate) < 0.1
    assert len(traces) == 1


SCHEDULES = {
    "curriculum": curriculum(0.5, 100),
    "early_dropout": early_dropout(0.5, 50),
    "late_dropout": late_dropout(0.5, 50),
    "constant": optax.constant_schedule(0.5),
    "linear": optax.linear_schedule(0.0, 0.5, 100),
    "cosine": optax.cosine_decay_schedule(0.5, 100),
    "late": optax.piecewise_constant_schedule(0.5, {50: 0.0}),
    "joined": optax.join_schedules(
        [optax.constant_schedule(0.0), optax.constant_schedule(0.5)], [50]
    ),
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_any_optax_schedule_is_a_rate(name):
    with jax.numpy_dtype_promotion("standard"):  # optax mixes integers and floats
        rates = [SCHEDULES[name](step) for step in (0, 20, 70)]
    for rate in rates:
        y = dj.dropout(KEY, X, rate)
        np.testing.assert_array_equal(y, dj.dropout(KEY, X, float(rate)))


def test_a_schedule_is_one_compilation():
    schedule, traces = curriculum(0.5, 100), []

    @jax.jit
    def step(x, count):
        traces.append(count)
        key = jax.random.fold_in(KEY, count)
        return djl.Dropout(0.1).apply({}, x, False, key, rate=schedule(count))

    shares = [float((step(X, jnp.int32(count)) == 0).mean()) for count in (0, 20, 100)]
    assert len(traces) == 1
    assert shares[0] == 0
    np.testing.assert_allclose(shares[1:], [0.43, 0.5], atol=0.06)


def test_rates_over_depth_and_steps_go_through_a_scan_over_layers():
    traces = []

    @jax.jit
    def net(x, step):
        traces.append(step)
        rates = curriculum(0.5, 100)(step) * linear_over_depth(jnp.float32(1), 3)

        def layer(x, inputs):
            key, rate = inputs
            return dj.dropout(key, x, rate), (rate, x)

        return lax.scan(layer, x, (jax.random.split(KEY, 3), rates))

    for step in (0, 60):
        y, (rates, before) = net(X, jnp.int32(step))
        full = float(curriculum(0.5, 100)(step))
        np.testing.assert_allclose(rates, linear_over_depth(full, 3), rtol=1e-6)
        last = jax.random.split(KEY, 3)[-1]
        np.testing.assert_array_equal(y, dj.dropout(last, before[-1], rates[-1]))
    assert len(traces) == 1
