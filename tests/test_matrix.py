"""Every method inside of everything that JAX can put a function into, at once."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from tests.methods import METHODS, array

RATE = 0.3


def programs(function):
    """What is called, by where it is called from."""

    @jax.custom_vjp
    def called(key, x, rate):
        return function(key, x, rate)

    def forward(key, x, rate):
        y, pull = jax.vjp(lambda x: function(key, x, rate), x)
        return y, pull

    called.defvjp(forward, lambda pull, cotangent: (None, *pull(cotangent), None))

    def looped(key, x, rate):
        once = lambda state: (state[0] + 1, function(key, state[1], rate))  # noqa: E731
        return lax.while_loop(lambda state: state[0] < 1, once, (0, x))[1]

    def branched(key, x, rate):
        return lax.cond(rate > 0, function, lambda key, x, rate: x, key, x, rate)

    over_keys = jax.vmap(function, (0, None, None))
    return {
        "nested vmap": lambda key, x, rate: jax.vmap(over_keys, (0, None, None))(
            key[None, None], x, rate
        )[0, 0],
        "vmap over rates": lambda key, x, rate: jax.vmap(function, (None, None, 0))(
            key, x, jnp.stack([rate, rate])
        )[1],
        "while_loop": looped,
        "cond": branched,
        "custom_vjp": called,
        "checkpoint": jax.checkpoint(function),
    }


FIRST = {
    method.public[0]: method
    for method in reversed(METHODS)
    if method.smooth and method.output is None and not method.static
}


every_method = pytest.mark.parametrize(
    "method", FIRST.values(), ids=lambda method: method.name
)


@every_method
def test_the_same_values_and_gradients_from_everywhere(method):
    def value_and_gradient(call, key, x, rate):
        y, pull = jax.vjp(lambda x: call(key, x, rate), x)
        return y, pull(jnp.ones_like(y))[0]

    def everywhere(key, x, rate):
        calls = programs(method.function)
        # A while_loop has no reverse mode.
        values = {"while_loop": calls.pop("while_loop")(key, x, rate)}
        both = {
            name: value_and_gradient(call, key, x, rate) for name, call in calls.items()
        }
        return values, both, value_and_gradient(method.function, key, x, rate)

    x = array(method.shape)
    arguments = jax.device_put((jax.random.key(5), x, jnp.float32(RATE)))
    compiled = jax.jit(everywhere).lower(*arguments).compile()
    with jax.transfer_guard("disallow"):
        values, both, (y, gradient) = compiled(*arguments)
    for name, (value, slope) in both.items():
        np.testing.assert_allclose(value, y, rtol=1e-6, atol=1e-6, err_msg=name)
        np.testing.assert_allclose(slope, gradient, rtol=1e-5, atol=1e-5, err_msg=name)
    np.testing.assert_allclose(values["while_loop"], y, rtol=1e-6, atol=1e-6)


@every_method
def test_nothing_leaks_and_nothing_is_nan(method):
    x, key = array(method.shape), jax.random.key(6)
    both = jax.value_and_grad(lambda x: method.function(key, x, RATE).sum())
    y, gradient = both(x)
    with jax.checking_leaks(), jax.debug_nans(True):
        checked, slope = jax.jit(both)(x)
    np.testing.assert_allclose(checked, y, rtol=1e-5)
    np.testing.assert_allclose(slope, gradient, rtol=1e-5, atol=1e-6)


@every_method
def test_unpartitionable_threefry_draws_jaxs_bits_too(method):
    x = array(method.shape)
    with jax.threefry_partitionable(False):
        key = jax.random.key(7)
        y, back = jax.vjp(lambda x: method.function(key, x, RATE), x)
        (gradient,) = back(jnp.ones_like(y))
        if method.mask:
            mask = method.mask(key, method.shape, RATE)
            expected, pull = jax.vjp(lambda x: method.expect(mask, x, RATE), x)
            np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-6)
            (slope,) = pull(jnp.ones_like(y))
            np.testing.assert_allclose(gradient, slope, rtol=1e-5, atol=1e-6)
        if method.name == "dropout":
            kept = jax.random.bernoulli(key, 1 - RATE, method.shape)
            np.testing.assert_array_equal(y != 0, kept)
    assert np.isfinite(gradient).all()
