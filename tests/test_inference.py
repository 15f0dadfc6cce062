"""The moments of DropConnect against many masks, and against their formulas."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import dropjax as dj
from dropjax import inference
from tests.methods import array

KEY = jax.random.key(2013)
DRAWS = 100_000
BIAS = {"bias": array((5,), seed=2), "bias_rate": 0.4}


def within_five_errors(samples, mean, variance):
    samples = np.asarray(samples, np.float64)
    error = samples.std(0) / np.sqrt(len(samples))
    assert (abs(samples.mean(0) - mean) <= 5 * error).all()
    squares = (samples - samples.mean(0)) ** 2
    error = squares.std(0) / np.sqrt(len(samples))
    assert (abs(squares.mean(0) - variance) <= 5 * error).all()


@pytest.mark.parametrize("scaling", ["inverted", "standard"])
def test_moments_of_a_dense_layer_are_those_of_many_masks(scaling):
    x, kernel = array((6,)), array((6, 5), seed=1)
    options = {**BIAS, "scaling": scaling}
    batch = jnp.broadcast_to(x, (DRAWS, 6))
    drop = jax.jit(
        lambda x: dj.dropconnect_dense(
            KEY, x, kernel, 0.3, mask_per="example", **options
        )
    )
    moments = dj.dropconnect_moments(x, kernel, 0.3, **options)
    within_five_errors(drop(batch), *moments)


def test_moments_of_a_convolution_are_those_of_many_masks():
    x, kernel = array((3, 3, 2)), array((2, 2, 2, 5), seed=1)
    keys = jax.random.split(KEY, DRAWS)
    options = {**BIAS, "strides": 2}
    drop = lambda key: dj.dropconnect_conv(key, x, kernel, 0.5, **options)  # noqa: E731
    moments = dj.dropconnect_conv_moments(x, kernel, 0.5, **options)
    within_five_errors(jax.jit(jax.vmap(drop))(keys), *moments)


@pytest.mark.parametrize("scaling", ["inverted", "standard"])
def test_the_mean_is_the_layer_when_nothing_is_drawn(scaling):
    x, kernel = array((4, 6)), array((6, 5), seed=1)
    mean, variance = dj.dropconnect_moments(x, kernel, 0.3, scaling=scaling)
    options = {"scaling": scaling, "deterministic": True}
    off = dj.dropconnect_dense(None, x, kernel, 0.3, **options)
    np.testing.assert_allclose(mean, off, rtol=1e-5, atol=1e-6)
    assert variance.shape == mean.shape


def test_moments_at_the_ends_of_the_rate():
    x, kernel = array((4, 6)), array((6, 5), seed=1)
    mean, variance = dj.dropconnect_moments(x, kernel, 0.0)
    np.testing.assert_allclose(mean, x @ kernel, rtol=1e-5, atol=1e-6)
    assert not variance.any()
    moments = jax.jit(lambda rate: dj.dropconnect_moments(x, kernel, rate))(1.0)
    assert not any(moment.any() for moment in moments)


def test_moments_keep_half_precision():
    x, kernel = (array(shape, jnp.bfloat16) for shape in ((4, 6), (6, 5)))
    for moment in dj.dropconnect_moments(x, kernel, 0.3):
        assert moment.dtype == jnp.bfloat16


ACTIVATIONS = {
    "relu": (inference.relu_mean, jax.nn.relu, 1e-5),
    "leaky_relu": (inference.leaky_relu_mean, jax.nn.leaky_relu, 1e-5),
    "gelu": (inference.gelu_mean, lambda x: jax.nn.gelu(x, approximate=False), 1e-5),
    "sigmoid": (inference.sigmoid_mean, jax.nn.sigmoid, 0.02),
    "tanh": (inference.tanh_mean, jnp.tanh, 0.04),
}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_means_of_activations(name):
    """Against the midpoints of 100,000 equally likely intervals."""
    own, activation, error = ACTIVATIONS[name]
    means = jnp.linspace(-6, 6, 25)
    normal = jax.scipy.stats.norm.ppf((jnp.arange(DRAWS, dtype=float) + 0.5) / DRAWS)
    for deviation in (0.0, 0.1, 1.0, 3.0, 10.0, 30.0):
        samples = activation(means[:, None] + deviation * normal[None])
        expected = np.asarray(samples, np.float64).mean(1)
        y = own(means, jnp.full_like(means, deviation**2))
        scale = error * (1 if error > 1e-3 else 1 + 10 * deviation)
        np.testing.assert_allclose(y, expected, rtol=1e-5, atol=scale)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_means_of_activations_have_gradients_without_variance(name):
    own, activation, _ = ACTIVATIONS[name]
    gradients = jax.grad(own, (0, 1))(0.5, 0.0)
    np.testing.assert_allclose(gradients[0], jax.grad(activation)(0.5), rtol=1e-5)
    assert np.isfinite(gradients[1])


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_means_of_activations_are_rounded_once(name, dtype):
    own = ACTIVATIONS[name][0]
    mean, variance = 3 * array((200,), jnp.dtype(dtype)), array((200,), dtype, 1) ** 2
    y = own(mean, variance)
    wide = own(mean.astype(jnp.float32), variance.astype(jnp.float32))
    assert y.dtype == dtype
    np.testing.assert_array_equal(y, wide.astype(dtype))


def test_a_variance_past_half_precision_is_none_of_the_means_concern():
    y = inference.tanh_mean(jnp.float16(1000), jnp.float16(20000))
    np.testing.assert_allclose(y, 0.99997, rtol=1e-3)


@pytest.mark.parametrize("variance", [0.0, 1e-45, 1e-38, 1e-20, 1.0])
@pytest.mark.parametrize("name", ["relu", "leaky_relu", "gelu"])
def test_a_mean_far_from_0_has_the_activations_slope(name, variance):
    own, activation, _ = ACTIVATIONS[name]
    for mean in (1e30, -1e30, 3e38, -3e38):
        value, slopes = jax.value_and_grad(own, (0, 1))(mean, variance)
        np.testing.assert_allclose(value, activation(mean), rtol=1e-6)
        np.testing.assert_allclose(slopes, (jax.grad(activation)(mean), 0), rtol=1e-6)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_a_moment_that_is_nan_is_seen(name):
    own = ACTIVATIONS[name][0]
    for moments in ((jnp.nan, 1.0), (jnp.nan, 0.0), (1.0, jnp.nan)):
        assert jnp.isnan(own(*map(jnp.float32, moments)))
