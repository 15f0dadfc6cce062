"""Programs exported for sizes that are known only when they run."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax import export

import dropjax as dj
import dropjax.linen as djl
import dropjax.nnx as djn
from dropjax._random import element_index
from tests.methods import array

KEY = jax.random.key(0)
FAST = jax.random.key(0, impl=dj.fast_prng)
SEQUENCES, VECTORS = array((70, 6, 5)), array((70, 5))
KERNEL, WINDOW, BIAS = array((5, 7)), array((3, 5, 7)), array((7,))


def symbolic(x, shape="b, ..."):
    return jax.ShapeDtypeStruct(export.symbolic_shape(shape, like=x.shape), x.dtype)


def assert_exported(function, x, sizes=(3, 70)):
    """Exported for any batch, it is what it is for each."""
    jitted = jax.jit(function)
    program = export.export(jitted)(symbolic(x))
    for size in sizes:
        np.testing.assert_array_equal(program.call(x[:size]), jitted(x[:size]))


@pytest.mark.parametrize("mask_per", ["batch", "example", 3])
@pytest.mark.parametrize("key", [KEY, FAST], ids=["threefry", "fast"])
def test_products_with_masked_weights(mask_per, key):
    options = {"bias": BIAS, "bias_rate": 0.4, "mask_per": mask_per}
    assert_exported(
        lambda x: dj.dropconnect_dense(key, x, KERNEL, 0.3, **options), VECTORS
    )
    assert_exported(
        lambda x: dj.dropconnect_conv(key, x, WINDOW, 0.3, **options), SEQUENCES
    )


@pytest.mark.parametrize("deterministic", [False, True])
def test_layers_of_masked_weights(deterministic):
    dense = djl.DropConnectDense(7, 0.3, mask_per="example")
    variables = dense.init(KEY, VECTORS, deterministic=True)
    assert_exported(lambda x: dense.apply(variables, x, deterministic, KEY), VECTORS)
    conv = djn.DropConnectConv(5, 7, (3,), 0.3, mask_per=2, rngs=nnx.Rngs(0))
    assert_exported(lambda x: conv(x, deterministic=deterministic, rngs=KEY), SEQUENCES)


@pytest.mark.parametrize("inference", ["gaussian", "monte_carlo"])
def test_sampled_inference(inference):
    layer = djl.DropConnectDense(7, 0.3, inference=inference, activation=jax.nn.relu)
    variables = layer.init(KEY, VECTORS, deterministic=False, rng=KEY)
    assert_exported(lambda x: layer.apply(variables, x, True, KEY), VECTORS, (3,))


def test_flaxs_layers_with_a_fast_key():
    layer = nn.Dropout(0.5, deterministic=False)
    assert_exported(lambda x: layer.apply({}, x, rngs={"dropout": FAST}), VECTORS)
    attention = nn.MultiHeadDotProductAttention(
        2, qkv_features=8, dropout_rate=0.3, attention_fn=dj.dot_product_attention
    )
    variables = attention.init(KEY, SEQUENCES, deterministic=True)
    assert_exported(
        lambda x: attention.apply(
            variables, x, deterministic=False, rngs={"dropout": FAST}
        ),
        SEQUENCES,
        (3,),
    )


def test_masks_by_shape_and_rates_of_examples():
    assert_exported(lambda x: dj.dropout_mask(KEY, x.shape, 0.5), SEQUENCES)
    assert_exported(lambda x: dj.keep_mask(FAST, (5, x.shape[0]), 0.5), VECTORS)
    rates = lambda x: jax.nn.sigmoid(x[:, :1])  # noqa: E731
    shared = {"broadcast_dims": (1,)}
    assert_exported(lambda x: dj.dropout(KEY, x, rates(x), **shared), VECTORS)
    shared = lambda x: {"noise_shape": (x.shape[0], 1)}  # noqa: E731
    assert_exported(lambda x: dj.dropout(KEY, x, 0.5, **shared(x)), VECTORS)
    assert_exported(lambda x: dj.apply_mask(x, x > 0, keep=rates(x), fill=-x), VECTORS)


@pytest.mark.parametrize("width", ["uint8", "uint32"])
def test_a_fast_key_draws_words_for_any_shape(width):
    assert_exported(lambda x: jax.random.bits(FAST, x.T.shape, width), VECTORS)


def test_the_index_of_an_element_goes_beyond_32_bits():
    width = 2**21

    def ends(x):
        high, low, _ = element_index((2, x.shape[0], width), jnp.uint32(1))
        return jnp.stack([high[:, -1, -1], low[:, -1, -1]])

    rows = jnp.zeros(2**12 + 1)
    high, low = export.export(jax.jit(ends))(symbolic(rows)).call(rows)
    index = np.arange(1, 3) * len(rows) * width - 1
    np.testing.assert_array_equal(high, index >> 32)
    np.testing.assert_array_equal(low, index & (2**32 - 1))


def test_off_and_a_rate_of_0_need_no_size():
    for options in ({"rate": 0.5, "deterministic": True}, {"rate": 0.0}):
        tokens = lambda x, o=options: dj.patch_dropout(None, x, **o)[0]  # noqa: E731
        export.export(jax.jit(tokens))(symbolic(SEQUENCES, "b, t, d"))
        blocks = lambda x, o=options: dj.drop_block(None, x, **o)  # noqa: E731
        export.export(jax.jit(blocks))(symbolic(SEQUENCES, "b, t, d"))
