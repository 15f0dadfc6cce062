"""What eager calls compile beyond the table of methods, of which law 12 speaks."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax import lax

import dropjax as dj
import dropjax.linen as djl
import dropjax.nnx as djn
from dropjax.inference import monte_carlo
from tests.compilations import in_third_call
from tests.methods import array

X, KERNEL, BIAS = array((9, 6)), array((6, 4), seed=1), array((4,), seed=2)
IMAGE, WINDOW = array((9, 5, 6)), array((2, 6, 4), seed=1)
DENSE = (dj.dropconnect_dense, X, KERNEL)
CONV = (dj.dropconnect_conv, IMAGE, WINDOW)


def test_compilations_are_counted():
    assert in_third_call(lambda key: jax.jit(lambda key: key)(key)) == 1


@pytest.mark.parametrize("rate", [0.3, np.float32(0.3), jnp.full((4,), 0.3)], ids=repr)
@pytest.mark.parametrize("kind", [DENSE, CONV], ids=["dense", "conv"])
@pytest.mark.parametrize(
    "options",
    [
        {"mask_per": "example"},
        {"mask_per": 2, "bias": BIAS, "bias_rate": 0.5},
        {"noise": "gaussian", "bias": BIAS, "bias_rate": 0.5},
    ],
    ids=repr,
)
def test_dropconnect_compiles_once(kind, rate, options):
    function, x, kernel = kind
    drop = functools.partial(function, x=x, kernel=kernel, rate=rate, **options)
    assert in_third_call(drop) == 0


@pytest.mark.parametrize("kind", [DENSE, CONV], ids=["dense", "conv"])
@pytest.mark.parametrize("mask_per", ["example", 2])
def test_a_new_rate_is_no_new_program(kind, mask_per):
    function, x, kernel = kind
    rates = iter([0.3, 0.7, 0.41])

    def drop(key):
        options = {"mask_per": mask_per, "bias": BIAS}
        rate = next(rates)
        return function(key, x, kernel, rate, bias_rate=rate, **options)

    assert in_third_call(drop) == 0


def test_dropconnect_knows_lists_and_a_product_of_ones_own_again():
    options = {"strides": [1], "padding": [(1, 0)], "mask_per": 2}
    drop = functools.partial(dj.dropconnect_conv, x=IMAGE, kernel=WINDOW, rate=0.3)
    assert in_third_call(functools.partial(drop, **options)) == 0

    def own(key):
        convolve = lambda *given, **how: lax.conv_general_dilated(*given, **how)  # noqa: E731
        return drop(key, conv_general_dilated=convolve, **options)

    assert in_third_call(own) == 0


@pytest.mark.parametrize("kind", [DENSE, CONV], ids=["dense", "conv"])
def test_gradients_of_dropconnect_compile_once(kind):
    function, x, kernel = kind

    def gradient(key):
        loss = lambda x: function(key, x, kernel, 0.3, mask_per=2).sum()  # noqa: E731
        return jax.grad(loss)(x)

    assert in_third_call(gradient) == 0


@pytest.mark.parametrize(
    "function", [dj.dropconnect_gaussian, dj.dropconnect_conv_gaussian]
)
def test_means_of_activations_compile_once(function):
    x, kernel = DENSE[1:] if function is dj.dropconnect_gaussian else CONV[1:]

    def mean(key):
        activation = lambda y: jnp.maximum(y, 0)  # noqa: E731
        return function(key, x, kernel, 0.3, activation, num_samples=3)

    assert in_third_call(mean) == 0


@pytest.mark.parametrize("inference", ["gaussian", "monte_carlo"])
@pytest.mark.parametrize("mask_per", ["batch", 2])
def test_inference_of_layers_compiles_once(inference, mask_per):
    options = {"inference": inference, "mask_per": mask_per, "num_samples": 3}
    options |= {"activation": jax.nn.relu, "deterministic": True}
    pairs = (
        (djl.DropConnectDense(4, 0.5, **options), X),
        (djl.DropConnectConv(4, 2, 0.5, **options), IMAGE),
    )
    for layer, x in pairs:
        variables = layer.init({"params": jax.random.key(0)}, x, rate=0.0)
        rngs = lambda key: {"dropout": key}  # noqa: E731
        call = lambda key: layer.apply(variables, x, rngs=rngs(key))  # noqa: B023, E731
        assert in_third_call(call) == 0
    own = {"rngs": nnx.Rngs(0), **options}
    for layer, x in (
        (djn.DropConnectLinear(6, 4, 0.5, **own), X),
        (djn.DropConnectConv(6, 4, 2, 0.5, **own), IMAGE),
    ):
        assert in_third_call(lambda key: layer(x, rngs=key)) == 0  # noqa: B023


@pytest.mark.parametrize("options", [{}, {"outputs": "logits", "keep_samples": True}])
@pytest.mark.parametrize("batch_size", [1, 2])
def test_monte_carlo_compiles_once_even_for_new_functions(options, batch_size):
    def predict(key):
        passes = lambda key, x: dj.dropout(key, x, 0.5)  # noqa: E731
        return monte_carlo(passes, 5, batch_size=batch_size, **options)(key, X)

    assert in_third_call(predict) == 0


def test_monte_carlo_sees_what_its_function_closes_over():
    shift = 0.0
    predict = monte_carlo(lambda key: dj.dropout(key, X, 0.5) + shift, 4)
    key = jax.random.key(0)
    before, shift = predict(key).mean, 1.0
    np.testing.assert_allclose(predict(key).mean, before + 1, rtol=1e-6)


@pytest.mark.parametrize(
    "call",
    [
        lambda key: dj.dropconnect_moments(X, KERNEL, 0.3),
        lambda key: dj.dropconnect_conv_moments(IMAGE, WINDOW, 0.3),
        lambda key: dj.concrete_dropout_regularizer(jnp.float32(-1), KERNEL, 9),
        lambda key: dj.inference.relu_mean(X, X**2),
        lambda key: dj.losses.r_drop(dj.dropout(key, X, 0.5), X),
    ],
)
def test_what_draws_nothing_compiles_once(call):
    assert in_third_call(call) == 0
