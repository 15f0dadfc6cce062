"""apply_mask and the dense and convolution functions, by hand and by numpy."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import dropjax as dj
from dropjax._apply import nan_seen
from tests.methods import array

KEY = jax.random.key(2013)


def test_apply_mask_keeps_scales_and_fills():
    x = jnp.array([1.0, 2.0, 3.0])
    mask = jnp.array([True, False, True])
    assert dj.apply_mask(x, mask).tolist() == [1, 0, 3]
    assert dj.apply_mask(x, mask, keep=0.5).tolist() == [2, 0, 6]
    assert dj.apply_mask(x, mask, fill=-1.0).tolist() == [1, -1, 3]
    assert dj.apply_mask(x, mask, fill=10 * x).tolist() == [1, 20, 3]
    assert dj.apply_mask(x, False).tolist() == [0, 0, 0]
    assert dj.apply_mask(x, np.True_).tolist() == [1, 2, 3]


@pytest.mark.parametrize("dtype", [jnp.uint8, jnp.int8, jnp.int32])
def test_apply_mask_takes_integers_where_nothing_is_scaled(dtype):
    x, mask = jnp.array([1, 2, 3], dtype), jnp.array([True, False, True])
    for one in (1, 1.0):
        y = dj.apply_mask(x, mask, keep=one, fill=7)
        assert (y.dtype, y.tolist()) == (dtype, [1, 7, 3])


def test_apply_mask_broadcasts_mask_keep_and_fill():
    x = jnp.ones((2, 3))
    keep = jnp.array([[0.5], [0.0]])
    y = dj.apply_mask(x, jnp.array([[True], [False]]), keep=keep)
    assert y.tolist() == [[2, 2, 2], [0, 0, 0]]
    fill = jnp.array([[1.0, 2.0, 3.0]])
    assert dj.apply_mask(x, False, fill=fill).tolist() == [[1, 2, 3]] * 2


def test_a_share_of_zero_divides_nothing():
    x = jnp.array([1.0, jnp.nan])
    gradient = jax.grad(lambda x: dj.apply_mask(x, False, keep=0.0).sum())(x)
    assert gradient.tolist() == [0, 0]
    assert dj.apply_mask(x, False, keep=jnp.float32(0)).tolist() == [0, 0]


@pytest.mark.parametrize("rate", [1, jnp.float32(1), jnp.ones((2,))])
def test_standard_scaling_at_rate_one_leaves_nothing_behind(rate):
    x = jnp.array([jnp.nan, 1.0])
    options = {"scaling": "standard", "deterministic": True}
    assert dj.dropout(None, x, rate, **options).tolist() == [0, 0]


def test_standard_scaling_by_one_is_x_itself():
    x = jnp.ones(3)
    assert dj.dropout(None, x, 0, scaling="standard", deterministic=True) is x


def test_a_share_shows_that_a_rate_is_nan():
    for keep in (jnp.float32(jnp.nan), jnp.array([0.5, jnp.nan])):
        assert jnp.isnan(nan_seen(0.25, keep))
    for keep in (jnp.float32(0.5), np.float32(0.5)):
        assert nan_seen(0.25, keep) == 0.25


@pytest.mark.parametrize("shape", [(), (0,), (3, 0), (1,)])
def test_empty_and_scalar_arrays(shape):
    y = dj.dropout(KEY, jnp.ones(shape), 0.5)
    assert y.shape == shape
    assert dj.dropout_mask(KEY, shape, 0.5).shape == shape


def test_small_floats():
    x = array((64, 8)).astype(jnp.float8_e4m3fn)
    y = dj.dropout(KEY, x, 0.5)
    assert y.dtype == x.dtype
    kept = y != 0
    doubled = (2 * x.astype(jnp.float32)).astype(x.dtype)
    np.testing.assert_array_equal(y[kept], doubled[kept])


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16, jnp.float32])
def test_the_mean_is_kept_in_every_precision(dtype):
    """flax divides bfloat16 by bfloat16(0.9) = 0.8984; that would show here."""
    x = jnp.full((1000, 1000), 1.0078125, dtype)
    mean = dj.dropout(KEY, x, 0.1).astype(jnp.float32).mean(dtype=jnp.float32)
    spread = 1.0078125 * np.sqrt(0.1 / 0.9) / 1000
    rounding = float(jnp.finfo(dtype).eps) / 4
    assert abs(mean - 1.0078125) < 4 * spread + rounding


def test_numpy_arrays_are_taken():
    x = np.ones((50, 50), np.float32)
    np.testing.assert_array_equal(
        dj.dropout(KEY, x, 0.5), dj.dropout(KEY, jnp.asarray(x), 0.5)
    )
    rate = np.linspace(0, 1, 50)[:, None]
    y = dj.dropout(KEY, x, rate)
    assert y[0].all()
    assert not y[-1].any()


def weights():
    return array((6, 3)), array((3,), seed=1), array((5, 6), seed=2)


def test_dense_masks_kernel_and_bias_as_the_tree_transform_does():
    kernel, bias, x = weights()
    y = dj.dropconnect_dense(KEY, x, kernel, 0.5, bias=bias, bias_rate=0.3)
    params, rates = {"kernel": kernel, "bias": bias}, {"kernel": 0.5, "bias": 0.3}
    masked = dj.dropconnect(KEY, params, rates, where=lambda path, leaf: True)
    expected = x @ masked["kernel"] + masked["bias"][None]
    np.testing.assert_allclose(y, expected, rtol=1e-5)
    whole = dj.dropconnect_dense(KEY, x, kernel, 0.5, bias=bias)
    np.testing.assert_allclose(whole, x @ masked["kernel"] + bias[None], rtol=1e-5)


def test_the_gradient_of_a_dropped_weight_is_zero_and_others_are_scaled():
    kernel, bias, x = weights()

    def loss(x, kernel, bias):
        return (dj.dropconnect_dense(KEY, x, kernel, 0.5, bias=bias) ** 2).sum()

    mask = dj.dropconnect_mask(KEY, {"kernel": kernel}, 0.5)["kernel"]
    masked = jnp.where(mask, 2 * kernel, 0)
    error = 2 * (x @ masked + bias[None])
    gradients = jax.jit(jax.grad(loss, (0, 1, 2)))(x, kernel, bias)
    expected = error @ masked.T, jnp.where(mask, 2 * (x.T @ error), 0), error.sum(0)
    for ours, by_hand in zip(gradients, expected, strict=True):
        np.testing.assert_allclose(ours, by_hand, rtol=1e-4, atol=1e-5)


def test_the_backward_pass_keeps_no_masked_kernel():
    kernel, x = jnp.ones((64, 64)), jnp.ones((2, 64))
    drop = lambda x, kernel: dj.dropconnect_dense(KEY, x, kernel, 0.5)  # noqa: E731
    _, back = jax.vjp(drop, x, kernel)
    kept = [leaf for leaf in jax.tree.leaves(back) if leaf.shape == kernel.shape]
    assert len(kept) == 1
    np.testing.assert_array_equal(kept[0], kernel)


def test_the_backward_pass_fuses_with_its_neighbours():
    gradient = jax.jit(jax.grad(lambda x: dj.dropout(KEY, x, 0.5).sum()))
    program = gradient.lower(jnp.ones(9)).as_text().splitlines()
    (hidden,) = (line for line in program if "barrier" in line)
    assert hidden.endswith("tensor<2xui32>"), "only the key may pass a barrier"


@pytest.mark.parametrize("impl", [None, dj.fast_prng], ids=["threefry", "fast"])
def test_a_scanned_net_stores_neither_masks_nor_counters(impl):
    x, weights = jnp.ones((256, 128)), jnp.ones((4, 128, 128))
    keys = jax.random.split(jax.random.key(0, impl=impl), 4)

    def loss(weights, keys):
        def layer(x, each):
            return jnp.tanh(dj.dropout(each[1], x @ each[0], 0.5)), None

        return jax.lax.scan(layer, x, (weights, keys))[0].sum()

    text = jax.jit(jax.grad(loss)).lower(weights, keys).compile().as_text()
    assert re.search(r"= f32\[256,128\]\S* fusion\(", text)
    assert not re.search(r"= (u32|pred)\[256,128\]\S* fusion\(", text)


def test_a_vector_of_inputs():
    kernel, _, x = weights()
    one = dj.dropconnect_dense(KEY, x[0], kernel, 0.5)
    np.testing.assert_allclose(
        one, dj.dropconnect_dense(KEY, x, kernel, 0.5)[0], rtol=1e-5
    )


def test_preferred_element_type_and_precision():
    kernel, bias, x = (a.astype(jnp.bfloat16) for a in weights())
    options = {"preferred_element_type": jnp.float32, "precision": "highest"}
    y = dj.dropconnect_dense(KEY, x, kernel, 0.5, bias=bias, **options)
    assert y.dtype == jnp.float32
    image, window = jnp.ones((1, 5, 6), jnp.bfloat16), kernel[None]
    y = dj.dropconnect_conv(KEY, image, window, 0.5, bias=bias, **options)
    assert y.dtype == jnp.float32


def test_conv_masks_bias_too_and_every_default_matters():
    x, window = array((2, 9, 9, 4)), array((3, 3, 4, 6), seed=1)
    bias = jnp.ones(6)
    drop = lambda **options: dj.dropconnect_conv(KEY, x, window, 0.5, **options)  # noqa: E731
    plain = drop(bias=bias)
    assert not jnp.array_equal(plain, drop(bias=bias, bias_rate=0.5))
    assert plain.shape == (2, 9, 9, 6)
    assert drop(strides=2).shape == (2, 5, 5, 6)
    assert drop(padding="VALID").shape == (2, 7, 7, 6)
    assert drop(padding="VALID", dilation=2).shape == (2, 5, 5, 6)
    assert drop(padding=0, input_dilation=2).shape == (2, 15, 15, 6)
    assert drop(padding=[(0, 1), 2]).shape == (2, 8, 11, 6)
    by_default = {"strides": 1, "padding": "SAME", "dilation": 1}
    np.testing.assert_array_equal(drop(), drop(**by_default, feature_group_count=1))
    assert not jnp.array_equal(drop(), drop(scaling="standard"))


def test_a_weakly_typed_array_stays_weakly_typed():
    x = jnp.full((4, 4), 2.0)
    for keep in (1.0, 0.5, jnp.float32(0.5)):
        assert jax.typeof(dj.apply_mask(x, x > 0, keep=keep)).weak_type
    assert not jax.typeof(dj.apply_mask(x.astype(x.dtype), x > 0)).weak_type
