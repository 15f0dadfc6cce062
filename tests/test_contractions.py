"""DropConnect of dense layers over any axes and of einsums, beside flax's layers."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import dropjax as dj
import dropjax.linen as djl
import dropjax.nnx as djn
from tests.methods import array

KEY = jax.random.key(2013)
X = array((6, 7, 4, 5))
HEADS = functools.partial(dj.dropconnect_einsum, einsum_str="btij,ijhd->bthd")
DENSE = {
    "heads": ((3, 2), {}),
    "back": (3, {"axis": (-2, -1)}),
    "an inner axis": (3, {"axis": 1}),
    "axes in another order": (3, {"axis": (-1, -2)}),
    "weights per example": ((3, 2), {"batch_dims": 0}),
    "weights per position": (3, {"axis": (2,), "batch_dims": (0, 1)}),
    "no bias": (3, {"use_bias": False}),
    "bfloat16": (3, {"dtype": jnp.bfloat16}),
}
EINSUMS = {
    "heads": ("btij,ijhd->bthd", (4, 5, 3, 2)),
    "any batch": ("...j,jk->...k", (5, 3)),
    "shared positions": ("btij,tjk->btik", (7, 5, 3)),
    "summed": ("btij,ijk->bt", (4, 5, 3)),
}


def same_after_masking(host, ours, **options):
    """The parameters are flax's, and so are the outputs with masked parameters."""
    variables = host.init(KEY, X)
    initial = ours.init(KEY, X, deterministic=True)
    jax.tree.map(np.testing.assert_array_equal, initial, variables)
    whole = ours.apply(variables, X, deterministic=True)
    np.testing.assert_array_equal(whole, host.apply(variables, X))
    kernel = {"kernel": variables["params"]["kernel"]}
    params = {**variables["params"], **dj.dropconnect(KEY, kernel, 0.5)}
    y = ours.apply(variables, X, deterministic=False, rng=KEY)
    np.testing.assert_array_equal(y, host.apply({"params": params}, X))


@pytest.mark.parametrize("case", DENSE)
def test_linen_dense_layers_over_any_axes_are_flaxs(case):
    features, options = DENSE[case]
    host = options | {"batch_dims": tuple(np.ravel(options.get("batch_dims", ())))}
    same_after_masking(
        nn.DenseGeneral(features, **host),
        djl.DropConnectDenseGeneral(features, 0.5, **options),
    )


@pytest.mark.parametrize("case", EINSUMS)
def test_linen_einsums_are_flaxs(case):
    equation, shape = EINSUMS[case]
    same_after_masking(
        nn.Einsum(shape, equation), djl.DropConnectEinsum(shape, 0.5, equation)
    )


@pytest.mark.parametrize("case", DENSE)
def test_nnx_dense_layers_over_any_axes_are_flaxs(case):
    features, options = DENSE[case]
    axes = np.ravel(options.get("axis", -1))
    batch = np.ravel(options.get("batch_dims", ())).astype(int)
    options = {name: it for name, it in options.items() if name != "batch_dims"}
    options["axis"] = tuple(map(int, axes))
    options["batch_axis"] = {int(axis): X.shape[axis] for axis in batch}
    sizes = tuple(X.shape[axis] for axis in sorted(axes))
    host = nnx.LinearGeneral(sizes, features, **options, rngs=nnx.Rngs(0))
    ours = djn.DropConnectLinearGeneral(
        sizes, features, 0.5, **options, rngs=nnx.Rngs(0)
    )
    np.testing.assert_array_equal(ours(X, deterministic=True), host(X))
    host.kernel[...] = dj.dropconnect(KEY, {"kernel": host.kernel[...]}, 0.5)["kernel"]
    np.testing.assert_array_equal(ours(X, rngs=KEY), host(X))


@pytest.mark.parametrize("case", EINSUMS)
def test_nnx_einsums_are_flaxs(case):
    equation, shape = EINSUMS[case]
    host = nnx.Einsum(equation, shape, rngs=nnx.Rngs(0))
    ours = djn.DropConnectEinsum(equation, shape, 0.5, rngs=nnx.Rngs(0))
    np.testing.assert_array_equal(ours(X, deterministic=True), host(X))
    host.kernel[...] = dj.dropconnect(KEY, {"kernel": host.kernel[...]}, 0.5)["kernel"]
    np.testing.assert_array_equal(ours(X, rngs=KEY), host(X))


@pytest.mark.parametrize("mask_per", ["example", 2, 4])
def test_examples_have_the_masks_that_they_have_in_a_dense_layer(mask_per):
    """Kernels of one size have the masks of one another, however they are shaped."""
    options = {"mask_per": mask_per, "bias_rate": 0.3}
    kernel, bias = array((4, 5, 3, 2), seed=1), array((3, 2), seed=2)
    flat = dj.dropconnect_dense(
        KEY,
        X.reshape(6, 7, 20),
        kernel.reshape(20, 6),
        0.5,
        bias=bias.ravel(),
        **options,
    )
    flat = flat.reshape(6, 7, 3, 2)
    options["bias"] = bias
    y = dj.dropconnect_dense_general(KEY, X, kernel, 0.5, axis=(-2, -1), **options)
    np.testing.assert_allclose(y, flat, rtol=1e-5, atol=1e-5)
    y = HEADS(KEY, X, kernel, 0.5, **options)
    np.testing.assert_allclose(y, flat, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("batch", [(), (40,)])
@pytest.mark.parametrize("rate", [0.5, 0.3, "array"])
def test_examples_that_are_contracted_whole_are_rows(batch, rate):
    x, kernel = array((*batch, 4, 5)), array((4, 5, 3, 2), seed=1)
    rate = abs(array((5, 1, 2), seed=2)) % 1 if rate == "array" else rate
    flat_rate = np.broadcast_to(rate, kernel.shape).reshape(20, 6)
    options = {"mask_per": "example", "bias_rate": 0.3}
    bias = array((3, 2), seed=3)
    flat = dj.dropconnect_dense(
        KEY,
        x.reshape(*batch, 20),
        kernel.reshape(20, 6),
        rate if np.ndim(rate) == 0 else flat_rate,
        bias=bias.ravel(),
        **options,
    )
    y = dj.dropconnect_dense_general(
        KEY, x, kernel, rate, axis=(-2, -1), bias=bias, **options
    )
    np.testing.assert_array_equal(y.reshape(flat.shape), flat)


def test_an_ellipsis_without_axes_leaves_the_bias_in_its_place():
    x, kernel, bias = array((4,)), array((4, 3), seed=1), array((3,), seed=2)
    options = {"einsum_str": "i,io->o...", "bias": bias, "deterministic": True}
    y = dj.dropconnect_einsum(None, x, kernel, 0.5, **options)
    np.testing.assert_allclose(y, x @ kernel + bias, rtol=1e-5)


def test_noise_has_the_moments_of_masks():
    kernel, bias = array((4, 5, 3, 2), seed=1), array((3, 2), seed=2)
    options = {"bias": bias, "bias_rate": 0.3}
    call = functools.partial(dj.dropconnect_dense_general, axis=(2, 3), **options)
    keys = jax.random.split(KEY, 4000)
    masked = jax.vmap(lambda key: call(key, X, kernel, 0.5, mask_per="example"))(keys)
    noisy = jax.vmap(lambda key: call(key, X, kernel, 0.5, noise="gaussian"))(keys)
    np.testing.assert_allclose(masked.mean(0), noisy.mean(0), atol=0.6)
    np.testing.assert_allclose(masked.var(0), noisy.var(0), rtol=0.2)


@pytest.mark.parametrize("inference", ["gaussian", "monte_carlo"])
def test_inference_by_samples_is_close_to_the_mean(inference):
    options = {"inference": inference, "activation": jnp.tanh, "num_samples": 500}
    layer = djl.DropConnectEinsum((4, 5, 3), 0.1, "btij,ijk->btk", **options)
    variables = layer.init(KEY, X, deterministic=True, rng=KEY)
    y = layer.apply(variables, X, deterministic=True, rng=KEY)
    plain = layer.clone(inference="mean").apply(variables, X, deterministic=True)
    np.testing.assert_allclose(y, plain, atol=0.25)


def test_replacements_of_the_product_are_used():
    calls = []

    def einsum(*args, **options):
        calls.append(options)
        return jnp.einsum(*args, **options)

    kernel = array((4, 5, 3, 2), seed=1)
    y = HEADS(KEY, X, kernel, 0.5, einsum_op=einsum, precision="highest")
    np.testing.assert_allclose(y, HEADS(KEY, X, kernel, 0.5), rtol=1e-5, atol=1e-5)
    assert calls[0] == {"precision": "highest"}
