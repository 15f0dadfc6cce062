"""Twins in other libraries: the same bits, or the same structure."""

import functools
import os

os.environ["KERAS_BACKEND"] = "jax"

import flax.linen as nn
import jax
import jax.numpy as jnp
import keras
import numpy as np
import pytest
from flax import nnx
from jax import lax

import dropjax as dj
import dropjax.linen as djl
import dropjax.nnx as djn
from tests.methods import array

RNGS = {"dropout": jax.random.key(42)}
RATES = [0.0, 0.1, 0.3, 0.5, 0.9, 1.0]


class Block(nn.Module):
    dropout: type
    rate: float = 0.3

    @nn.compact
    def __call__(self, x, train):
        x = nn.Dense(32)(x)
        x = self.dropout(self.rate)(x, deterministic=not train)
        x = nn.relu(nn.Dense(16)(x))
        drop = self.dropout(rate=0.1, broadcast_dims=(0,), deterministic=not train)
        return drop(nn.LayerNorm()(x))


class Scanned(nn.Module):
    dropout: type

    @nn.compact
    def __call__(self, x, train):
        class Step(nn.Module):
            dropout: type
            train: bool

            @nn.compact
            def __call__(self, x, _):
                x = nn.Dense(16)(x)
                return self.dropout(0.5, deterministic=not self.train)(x), None

        step = nn.scan(
            nn.remat(Step),
            variable_axes={"params": 0},
            split_rngs={"params": True, "dropout": True},
            length=4,
        )
        return step(self.dropout, train)(nn.Dense(16)(x), None)[0]


class Ensemble(nn.Module):
    dropout: type

    @nn.compact
    def __call__(self, x, train):
        several = nn.vmap(
            Block,
            in_axes=(None, None),
            variable_axes={"params": 0},
            split_rngs={"params": True, "dropout": True},
            axis_size=3,
        )
        return several(self.dropout)(x, train)


@pytest.mark.parametrize("jitted", [False, True])
@pytest.mark.parametrize("model", [Block, Scanned, Ensemble])
def test_linen_models_change_no_bit(model, jitted):
    x = array((8, 12))
    outputs, gradients = [], []
    for dropout in (nn.Dropout, djl.Dropout):
        net = model(dropout)
        variables = net.init(jax.random.key(0), x, False)

        def apply(variables, net=net):
            return net.apply(variables, x, True, rngs=RNGS)

        def loss(variables, apply=apply):
            return (apply(variables) ** 2).sum()

        wrap = jax.jit if jitted else lambda f: f
        outputs.append(wrap(apply)(variables))
        gradients.append(jax.jit(jax.grad(loss))(variables))
    np.testing.assert_array_equal(*outputs)
    close = functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-6)
    jax.tree.map(close, *gradients)


class NnxBlock(nnx.Module):
    def __init__(self, dropout, rngs):
        self.first = nnx.Linear(12, 32, rngs=rngs)
        self.drop = dropout(0.3, rngs=rngs)
        self.second = nnx.Linear(32, 16, rngs=rngs)
        self.last = dropout(0.1, broadcast_dims=(0,), rngs=rngs)

    def __call__(self, x):
        return self.last(nnx.relu(self.second(self.drop(self.first(x)))))


@pytest.mark.parametrize("jitted", [False, True])
def test_nnx_models_change_no_bit(jitted):
    x = array((8, 12))
    theirs, ours = (NnxBlock(d, nnx.Rngs(0)) for d in (nnx.Dropout, djn.Dropout))
    call = nnx.jit(lambda model: model(x)) if jitted else lambda model: model(x)
    for _ in range(3):
        np.testing.assert_array_equal(call(theirs), call(ours))
    theirs.eval()
    ours.eval()
    np.testing.assert_array_equal(call(theirs), call(ours))


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16", "complex64"])
def test_the_same_elements_drop_in_every_dtype(rate, dtype):
    x = array((16, 24), jnp.dtype(dtype))
    ours = djl.Dropout(rate, deterministic=False).apply({}, x, rngs=RNGS)
    theirs = nn.Dropout(rate, deterministic=False).apply({}, x, rngs=RNGS)
    np.testing.assert_array_equal(ours == 0, theirs == 0)
    if dtype == "float32":
        np.testing.assert_array_equal(ours, theirs)
    np.testing.assert_allclose(
        ours.astype(jnp.complex64), theirs.astype(jnp.complex64), rtol=1e-2
    )


def test_nnx_streams_advance_as_the_hosts_do():
    x = array((4, 4))
    for rate, deterministic in ((0.5, False), (0.5, True), (0.0, False), (1.0, False)):
        streams = nnx.Rngs(dropout=1), nnx.Rngs(dropout=1)
        for dropout, rngs in zip((nnx.Dropout, djn.Dropout), streams, strict=True):
            layer = dropout(rate, rngs=rngs)
            layer(x, deterministic=deterministic)
            layer(x, deterministic=deterministic, rngs=rngs)
        counts = [int(rngs.dropout.count[...]) for rngs in streams]
        assert counts[0] == counts[1], (rate, deterministic)


def zero_pattern_is_shared(y, axes):
    first = jnp.take(y, jnp.array([0]), axis=axes[0])
    for axis in axes[1:]:
        first = jnp.take(first, jnp.array([0]), axis=axis)
    return jnp.array_equal(y == 0, jnp.broadcast_to(first == 0, y.shape))


@pytest.mark.parametrize("dimensions", [1, 2, 3])
def test_kerass_spatial_dropout_has_our_structure(dimensions):
    shape = (6, *(2, 3, 4)[:dimensions], 30)
    x, spatial = array(shape), tuple(range(1, dimensions + 1))
    layer = getattr(keras.layers, f"SpatialDropout{dimensions}D")(0.4, seed=1)
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        theirs = jnp.asarray(layer(x, training=True))
    ours = dj.spatial_dropout(jax.random.key(1), x, 0.4)
    for y in (ours, theirs):
        assert zero_pattern_is_shared(y, spatial)
        assert not zero_pattern_is_shared(y, (0,))
        assert not zero_pattern_is_shared(y, (dimensions + 1,))
    assert_same_survivors(theirs, ours, x, 0.4)


@pytest.mark.parametrize("noise_shape", [(6, 1, 30), (None, 1, None), (1, None, 30)])
def test_kerass_noise_shape_has_our_structure(noise_shape):
    x = array((6, 9, 30))
    layer = keras.layers.Dropout(0.4, noise_shape=noise_shape, seed=1)
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        theirs = jnp.asarray(layer(x, training=True))
    ours = dj.dropout(jax.random.key(1), x, 0.4, noise_shape=noise_shape)
    shared = tuple(axis for axis, size in enumerate(noise_shape) if size == 1)
    for y in (ours, theirs):
        for axis in range(3):
            assert zero_pattern_is_shared(y, (axis,)) == (axis in shared)
    assert_same_survivors(theirs, ours, x, 0.4)


def assert_same_survivors(theirs, ours, x, rate):
    kept = (theirs != 0) & (ours != 0)
    np.testing.assert_allclose(theirs[kept], ours[kept], rtol=1e-6)
    np.testing.assert_allclose(ours[kept], x[kept] / (1 - rate), rtol=1e-6)


@pytest.mark.parametrize("padding", ["SAME", "VALID", "CIRCULAR", "REFLECT", 2])
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_whole_convolutions_are_flaxs(padding, rank):
    x, options = array((2, *(9, 8, 7)[:rank], 4)), {"padding": padding}
    options |= {"strides": 2, "kernel_dilation": 2, "feature_group_count": 2}
    host = nn.Conv(6, (3,) * rank, **options)
    ours = djl.DropConnectConv(6, (3,) * rank, 0.5, **options)
    variables = host.init(jax.random.key(0), x)
    y = ours.apply(variables, x, deterministic=True)
    np.testing.assert_array_equal(y, host.apply(variables, x))
    key = jax.random.key(1)
    masked = {"params": dj.dropconnect(key, variables["params"], 0.5)}
    y = ours.apply(variables, x, deterministic=False, rng=key)
    np.testing.assert_array_equal(y, host.apply(masked, x))


@pytest.mark.parametrize("padding", ["CIRCULAR", "REFLECT"])
def test_even_windows_are_padded_as_flax_pads(padding):
    x = array((2, 9, 8, 4))
    host = nn.Conv(6, (4, 2), padding=padding)
    variables = host.init(jax.random.key(0), x)
    ours = djl.DropConnectConv(6, (4, 2), 0.5, padding=padding)
    y = ours.apply(variables, x, deterministic=True)
    np.testing.assert_array_equal(y, host.apply(variables, x))


@pytest.mark.parametrize("batch", [(), (2,), (2, 3)])
def test_causal_and_unbatched_convolutions_are_flaxs(batch):
    x = array((*batch, 9, 4))
    for options in (
        {"padding": "CAUSAL"},
        {"input_dilation": 2, "padding": 1},
        {"strides": (3,)},
    ):
        host = nn.Conv(6, 3, **options)
        variables = host.init(jax.random.key(0), x)
        ours = djl.DropConnectConv(6, 3, 0.5, **options)
        y = ours.apply(variables, x, deterministic=True)
        np.testing.assert_array_equal(y, host.apply(variables, x))


@pytest.mark.parametrize("dtype", [None, jnp.bfloat16])
def test_whole_dense_layers_are_flaxs(dtype):
    x = array((5, 3, 8))
    host = nn.Dense(6, dtype=dtype)
    variables = host.init(jax.random.key(0), x)
    ours = djl.DropConnectDense(6, 0.5, dtype=dtype)
    y = ours.apply(variables, x, deterministic=True)
    np.testing.assert_array_equal(y, host.apply(variables, x))
    initial = ours.init(jax.random.key(0), x, deterministic=False)
    jax.tree.map(np.testing.assert_array_equal, initial, variables)
    theirs, own = (
        cls(8, 6, *rate, dtype=dtype, rngs=nnx.Rngs(0))
        for cls, rate in ((nnx.Linear, ()), (djn.DropConnectLinear, (0.5,)))
    )
    np.testing.assert_array_equal(theirs(x), own(x, deterministic=True))


def test_replacements_of_the_product_are_used():
    calls = []

    def spy(*args, **kwargs):
        calls.append(kwargs)
        return lax.dot_general(*args, **kwargs)

    x, key = array((5, 8)), jax.random.key(1)
    plain = djl.DropConnectDense(6, 0.5)
    variables = plain.init(key, x, deterministic=True)
    expected = plain.apply(variables, x, False, key)
    for options in ({"dot_general": spy}, {"dot_general_cls": lambda: spy}):
        layer = djl.DropConnectDense(6, 0.5, **options)
        np.testing.assert_array_equal(layer.apply(variables, x, False, key), expected)
    layer = djn.DropConnectLinear(
        8,
        6,
        0.5,
        dot_general=spy,
        preferred_element_type=jnp.float32,
        precision="highest",
        rngs=nnx.Rngs(0),
    )
    layer(x)
    assert len(calls) == 3
    assert calls[-1]["preferred_element_type"] == jnp.float32
    assert calls[-1]["precision"] == "highest"


def test_replacements_of_the_convolution_are_used():
    calls = []

    def spy(*args, **kwargs):
        calls.append(kwargs)
        return lax.conv_general_dilated(*args, **kwargs)

    x, key = array((2, 8, 3)), jax.random.key(1)
    for options in (
        {"conv_general_dilated": spy},
        {"conv_general_dilated_cls": lambda: spy},
    ):
        layer = djl.DropConnectConv(6, (3,), 0.5, **options)
        layer.init(key, x, deterministic=True)
    djn.DropConnectConv(3, 6, 3, 0.5, conv_general_dilated=spy, rngs=nnx.Rngs(0))(x)
    assert len(calls) == 3
