"""Concrete dropout: relaxed coins, a rate that is learned, what it costs."""

import importlib

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import dropjax as dj
import dropjax.linen as djl
import dropjax.nnx as djn
from tests.methods import array

KEY = jax.random.key(2017)
X = array((40, 30))
KERNEL = array((30, 5), seed=1)
LOGIT = jnp.float32(-0.85)
RATE = float(jax.nn.sigmoid(LOGIT))


def test_at_a_low_temperature_it_is_dropout_coin_for_coin():
    cold = dj.concrete_dropout(KEY, X, LOGIT, temperature=1e-6)
    expected = dj.dropout(KEY, X, RATE)
    np.testing.assert_allclose(cold, expected, rtol=1e-5, atol=1e-6)


def test_it_is_the_papers_formula():
    words = np.asarray(jax.random.bits(KEY, X.shape, jnp.uint32), np.float64)
    u = (np.floor(words / 512) + 0.5) / 2**23
    z = 1 / (1 + np.exp(-(float(LOGIT) + np.log(u) - np.log(1 - u)) / 0.1))
    expected = np.asarray(X, np.float64) * (1 - z) / (1 - RATE)
    y = dj.concrete_dropout(KEY, X, LOGIT)
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-4)


def test_the_gradient_is_that_of_finite_differences():
    with jax.enable_x64(True):
        x = jnp.asarray(X, jnp.float64)

        def loss(logit):
            return (dj.concrete_dropout(KEY, x, logit) ** 2).sum()

        logit, step = jnp.float64(LOGIT), 1e-6
        expected = (loss(logit + step) - loss(logit - step)) / (2 * step)
        np.testing.assert_allclose(jax.grad(loss)(logit), expected, rtol=1e-5)


def test_off_is_free_and_dtypes_are_kept():
    assert dj.concrete_dropout(None, X, LOGIT, deterministic=True) is X
    for dtype in ("bfloat16", "float16", "complex64"):
        x = array((40, 30), jnp.dtype(dtype))
        y = dj.concrete_dropout(KEY, x, LOGIT)
        assert (y.shape, y.dtype) == (x.shape, x.dtype)
        if dtype != "complex64":
            wide = dj.concrete_dropout(KEY, x.astype(jnp.float32), LOGIT)
            np.testing.assert_array_equal(y, wide.astype(dtype))


@pytest.mark.parametrize("logit", [-40.0, 40.0, 100.0])
def test_certain_rates_are_finite_with_finite_gradients(logit):
    def loss(x, logit):
        return dj.concrete_dropout(KEY, x, logit).sum()

    y = dj.concrete_dropout(KEY, X, jnp.float32(logit))
    gradients = jax.jit(jax.grad(loss, (0, 1)))(X, jnp.float32(logit))
    assert all(np.isfinite(leaf).all() for leaf in (y, *gradients))
    if logit < 0:
        np.testing.assert_allclose(y, X, rtol=1e-6)


def test_the_noise_is_finite_for_every_word(monkeypatch):
    room = importlib.import_module("dropjax.functional.activations._concrete_dropout")
    words = jnp.array([0, 1 << 9, 2**31, 2**32 - 1], jnp.uint32)
    monkeypatch.setattr(room, "random_words", lambda key, shape: words)
    noise = np.asarray(room._noise(KEY, (4,), np.dtype(np.float32)))
    assert np.isfinite(noise).all()
    np.testing.assert_allclose(noise[0], -noise[3], rtol=1e-2)
    assert noise[0] < noise[1] < noise[2] < noise[3]


def test_coins_are_shared_and_rates_may_differ_by_feature():
    x = jnp.ones((8, 5, 6))
    y = dj.concrete_dropout(KEY, x, LOGIT, broadcast_dims=1)
    np.testing.assert_array_equal(y, jnp.broadcast_to(y[:, :1], x.shape))
    logits = jnp.array([[-30.0, 0.0]])
    y = dj.concrete_dropout(KEY, jnp.ones((50, 2)), logits)
    np.testing.assert_allclose(y[:, 0], 1, rtol=1e-6)
    assert y[:, 1].std() > 0.5


def test_the_backward_pass_keeps_x_and_the_key_alone():
    _, back = jax.vjp(lambda x, z: dj.concrete_dropout(KEY, x, z), X, LOGIT)
    assert sum(leaf.size for leaf in jax.tree.leaves(back)) <= X.size + 8


def test_the_regularizer_is_the_definition():
    entropy = -RATE * np.log(RATE) - (1 - RATE) * np.log(1 - RATE)
    squares = (np.asarray(KERNEL, np.float64) ** 2).sum()
    expected = (0.5 * 4.0 * squares / (1 - RATE) - 30 * entropy) / 100
    cost = dj.concrete_dropout_regularizer(LOGIT, KERNEL, 100, length_scale=2.0)
    np.testing.assert_allclose(cost, expected, rtol=1e-5)
    wide = dj.concrete_dropout_regularizer(LOGIT, jnp.ones((3, 3, 7, 2)), 1)
    assert jnp.isclose(wide, 0.5e-4 * 126 / (1 - RATE) - 7 * entropy)


@pytest.mark.parametrize("logit", [-90.0, 0.0, 80.0, 100.0, 1e4])
def test_the_entropy_is_finite_at_both_ends(logit):
    cost = dj.concrete_dropout_regularizer(jnp.float32(logit), 0 * KERNEL, 1)
    slopes = jax.grad(dj.concrete_dropout_regularizer, (0, 1))(
        jnp.float32(logit), 0 * KERNEL, 1
    )
    assert all(np.isfinite(slope).all() for slope in slopes)
    p = 1 / (1 + np.exp(-logit))
    expected = 0 if abs(logit) > 50 else -p * np.log(p) - (1 - p) * np.log(1 - p)
    np.testing.assert_allclose(cost, -30 * expected, atol=1e-5)


def test_three_faces_agree():
    layer = djl.ConcreteDropout(nn.Dense(5), examples=100, init_rate=0.3)
    variables = layer.init(KEY, X, deterministic=True)
    assert set(variables["params"]) == {"kernel", "bias", "logit"}
    kernel = variables["params"]["kernel"]
    logit = variables["params"]["logit"]
    np.testing.assert_allclose(jax.nn.sigmoid(logit), 0.3, rtol=1e-6)
    own = djn.ConcreteDropout(
        nnx.Linear(30, 5, rngs=nnx.Rngs(0)), 100, init_rate=0.3, rngs=nnx.Rngs(1)
    )
    own.module.kernel[...] = kernel
    expected = dj.concrete_dropout(KEY, X, logit) @ kernel
    cost = dj.concrete_dropout_regularizer(logit, kernel, 100)
    noisy = layer.apply(variables, X, deterministic=False, rng=KEY)
    for outputs in (noisy, own(X, rngs=KEY)):
        np.testing.assert_allclose(outputs[0], expected, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(outputs[1], cost, rtol=1e-6)
    again = layer.apply(variables, X, deterministic=False, rngs={"dropout": KEY})
    assert not jnp.array_equal(again[0], expected)


@pytest.mark.parametrize(
    ("linen", "own"),
    [
        (
            lambda: nn.Conv(12, (3, 3), feature_group_count=6),
            lambda rngs: nnx.Conv(6, 12, (3, 3), feature_group_count=6, rngs=rngs),
        ),
        (
            lambda: nn.DenseGeneral((4, 5)),
            lambda rngs: nnx.LinearGeneral(6, (4, 5), rngs=rngs),
        ),
    ],
    ids=["depthwise", "several output axes"],
)
def test_the_layers_pay_for_the_features_that_they_drop(linen, own):
    x = array((2, 7, 7, 6))
    linen, rngs = djl.ConcreteDropout(linen(), 100), nnx.Rngs(0)
    variables = linen.init(KEY, x, deterministic=True)
    own = djn.ConcreteDropout(own(rngs), 100)
    own.module.kernel[...] = kernel = variables["params"]["kernel"]
    squares = (np.asarray(kernel, np.float64) ** 2).sum()
    entropy = -0.1 * np.log(0.1) - 0.9 * np.log(0.9)
    expected = (0.5e-4 * squares / 0.9 - 6 * entropy) / 100
    for _, cost in (
        linen.apply(variables, x, deterministic=True),
        own(x, deterministic=True),
    ):
        np.testing.assert_allclose(cost, expected, rtol=1e-5)
    logit = variables["params"]["logit"]
    cost = dj.concrete_dropout_regularizer(logit, kernel, 100, features=6)
    np.testing.assert_allclose(cost, expected, rtol=1e-5)


def test_a_kernel_in_a_box_is_found():
    boxes = nn.with_partitioning(nn.initializers.lecun_normal(), (None, "model"))
    layers = [nn.Dense(5), nn.Dense(5, kernel_init=boxes)]
    bare, boxed = (djl.ConcreteDropout(layer, 100) for layer in layers)
    variables = boxed.init(KEY, X, deterministic=True)
    assert isinstance(variables["params"]["kernel"], nn.Partitioned)
    outputs = boxed.apply(variables, X, deterministic=False, rng=KEY)
    expected = bare.apply(nn.unbox(variables), X, deterministic=False, rng=KEY)
    for one, other in zip(outputs, expected, strict=True):
        np.testing.assert_array_equal(one, other)


def test_defaults_of_the_layers_are_those_of_the_function():
    linen = djl.ConcreteDropout(nn.Dense(5), examples=1)
    own = djn.ConcreteDropout(nnx.Linear(3, 5, rngs=nnx.Rngs(0)), 1)
    for layer in (linen, own):
        assert layer.temperature == 0.1
        assert layer.broadcast_dims == ()
        assert layer.length_scale == 1e-2
    assert linen.init_rate == 0.1
    np.testing.assert_allclose(jax.nn.sigmoid(own.logit[...]), 0.1, rtol=1e-6)


def test_the_rate_is_learned_down_from_data_that_leave_no_doubt():
    """With many examples of a linear law, noise only hurts; with few, it stays."""
    x = jax.random.normal(KEY, (200, 4))
    y = x @ jnp.array([1.0, -2.0, 0.5, 3.0])

    def learned(examples):
        layer = djl.ConcreteDropout(nn.Dense(1), examples, init_rate=0.3)
        params = layer.init(KEY, x, deterministic=True)
        optimizer = optax.adam(0.05)

        def step(carry, key):
            params, state = carry

            def loss(params):
                output, cost = layer.apply(params, x, deterministic=False, rng=key)
                return 0.5 * ((output[:, 0] - y) ** 2).mean() + cost

            updates, state = optimizer.update(jax.grad(loss)(params), state)
            return (optax.apply_updates(params, updates), state), None

        carry = (params, optimizer.init(params))
        keys = jax.random.split(KEY, 400)
        (params, _), _ = jax.jit(lambda c: jax.lax.scan(step, c, keys))(carry)
        return float(jax.nn.sigmoid(params["params"]["logit"]))

    with jax.numpy_dtype_promotion("standard"):
        many, few = learned(10000), learned(1)
    assert many < 0.02
    assert few > 0.1
