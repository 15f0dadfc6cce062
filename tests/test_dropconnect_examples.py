"""A mask of the weights for every example, against masks written out."""

import functools
import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax import lax
from jax.extend.random import threefry2x32_p
from jax.sharding import AxisType, NamedSharding, PartitionSpec

import dropjax as dj
import dropjax.linen as djl
import dropjax.nnx as djn
from dropjax._random import leaf_keys
from dropjax.functional.weights._conv import Conv
from dropjax.functional.weights._packed_masks import realized_rate
from tests.methods import array

KEY = jax.random.key(2013)
dense = functools.partial(dj.dropconnect_dense, mask_per="example")
conv = functools.partial(dj.dropconnect_conv, mask_per="example")


@functools.cache
def numbers(name, count, shape):
    """A 16-bit number for each example and weight, (count, *shape)."""
    first, second = jax.random.key_data(leaf_keys(KEY, [name])[0])
    weight = jnp.arange(math.prod(shape), dtype=jnp.uint32).reshape(1, *shape)
    found = np.zeros((count, *shape), np.int64)
    own = np.arange(count).reshape(-1, *[1] * len(shape))
    for pair in range(8):
        block, index = np.broadcast_arrays(own // 32 * 8 + pair, weight)
        words = threefry2x32_p.bind(first, second, jnp.uint32(block), jnp.uint32(index))
        for which in (0, 1):
            coin = np.asarray(words[which]) >> (own % 32).astype(np.uint32) & 1
            found += (1 - coin.astype(np.int64)) << (15 - 2 * pair - which)
    return found


def written_out(name, count, shape, rate):
    """The masks, (count, *shape): where the numbers are below a level."""
    return numbers(name, count, shape) < np.round((1 - np.asarray(rate)) * 2**16)


def realized(rate):
    return np.round(np.asarray(rate) * 2**16) / 2**16


def explicit(x, kernel, masks, rate):
    weights = jnp.where(masks, kernel / (1 - realized(rate)).astype(kernel.dtype), 0)
    return jnp.einsum("b...i,bio->b...o", x, weights, precision="highest")


@pytest.mark.parametrize(("batch", "rate"), [(1, 0.3), (5, 0.75), (32, 0.5), (70, 0.3)])
def test_masks_are_those_written_out(batch, rate):
    x, kernel = array((batch, 20)), array((20, 7), seed=1)
    expected = explicit(x, kernel, written_out("kernel", batch, (20, 7), rate), rate)
    np.testing.assert_allclose(dense(KEY, x, kernel, rate), expected, atol=1e-5)
    positions = dense(KEY, jnp.stack([x, 2 * x], 1), kernel, rate)
    both = jnp.stack([expected, 2 * expected], 1)
    np.testing.assert_allclose(positions, both, atol=1e-5)


@pytest.mark.parametrize("share", [1, 3, 40, 100])
def test_examples_share_masks_as_claimed(share):
    x, kernel = array((70, 20)), array((20, 7), seed=1)
    masks = written_out("kernel", -(-70 // share), (20, 7), 0.5)
    masks = np.repeat(masks, share, 0)[:70]
    y = dj.dropconnect_dense(KEY, x, kernel, 0.5, mask_per=share)
    np.testing.assert_allclose(y, explicit(x, kernel, masks, 0.5), atol=1e-5)


def test_one_example_without_a_batch_axis():
    x, kernel = array((20,)), array((20, 7), seed=1)
    for share in ("example", 3):
        drop = functools.partial(dj.dropconnect_dense, KEY, mask_per=share)
        bias = {"bias": array((7,)), "bias_rate": 0.4}
        first = drop(x[None], kernel, 0.5, **bias)[0]
        np.testing.assert_array_equal(drop(x, kernel, 0.5, **bias), first)
        assert drop(jnp.ones((0, 20)), kernel, 0.5, **bias).shape == (0, 7)
    image, window = array((6, 6, 3)), array((3, 3, 3, 4))
    bias = {"bias": array((4,)), "bias_rate": 0.4}
    first = conv(KEY, image[None], window, 0.5, **bias)[0]
    np.testing.assert_array_equal(conv(KEY, image, window, 0.5, **bias), first)


def test_a_mask_does_not_depend_on_the_batch():
    x, kernel = array((70, 20)), array((20, 7), seed=1)
    whole = dense(KEY, x, kernel, 0.3)
    np.testing.assert_allclose(dense(KEY, x[:33], kernel, 0.3), whole[:33], rtol=1e-5)


@pytest.mark.parametrize("generator", ["threefry2x32", "rbg", dj.fast_prng])
@pytest.mark.parametrize("rate", [0.1, 0.5])
def test_shares_and_independence(generator, rate):
    key = jax.random.key(1, impl=generator)
    batch, shape = 70, (16, 80)
    ones = jnp.ones(shape)
    pick = jnp.eye(16)[jnp.arange(batch) % 16]
    kept = np.asarray(dense(key, pick, ones, rate, scaling="standard"))
    deviation = math.sqrt(rate * (1 - rate) / kept.size)
    assert abs(1 - kept.mean() - rate) < 5 * deviation
    centred = kept - kept.mean()
    for other in (np.roll(centred, 1, 1), np.roll(centred, 16, 0), centred[::-1]):
        correlation = (centred * other).mean() / centred.var()
        assert abs(correlation) < 5 / math.sqrt(kept.size / 2)


@pytest.mark.parametrize("kind", ["dense", "conv"])
def test_gradients_are_those_of_explicit_masks(kind):
    with jax.enable_x64(True):
        x, kernel = array((40, 20), np.float64), array((20, 7), np.float64, 1)
        bias, pull = array((7,), np.float64, 2), array((40, 7), np.float64, 3)
        masks = written_out("kernel", 40, (20, 7), 0.3)
        biases = written_out("bias", 40, (7,), 0.4)
        options = {"bias_rate": 0.4}

        def ours(x, kernel, bias):
            if kind == "dense":
                return dense(KEY, x, kernel, 0.3, bias=bias, **options)
            image, window = x[:, None, None], kernel[None, None]
            return conv(KEY, image, window, 0.3, bias=bias, **options)[:, 0, 0]

        def theirs(x, kernel, bias):
            dropped = jnp.where(biases, bias / (1 - realized(0.4)), 0)
            return explicit(x, kernel, masks, 0.3) + dropped

        arguments = (x, kernel, bias)

        @functools.partial(jax.jit, static_argnums=0)
        def derivatives(function, *arguments):
            y, back = jax.vjp(function, *arguments)
            return y, back(pull), jax.jvp(function, arguments, arguments)[1]

        pairs = (derivatives(function, *arguments) for function in (ours, theirs))
        for own, other in zip(*map(jax.tree.leaves, pairs), strict=True):
            assert np.linalg.norm(own - other) < 1e-10 * np.linalg.norm(other)


@pytest.mark.parametrize("kind", ["dense", "conv"])
def test_transforms(kind):
    key = jax.random.key(3, impl=dj.fast_prng)
    shapes = {"dense": ((9, 6), (6, 4)), "conv": ((9, 5, 6), (2, 6, 4))}
    x, kernel = (array(shape) for shape in shapes[kind])
    function = {"dense": dense, "conv": conv}[kind]
    drop = lambda key, x, kernel: function(key, x, kernel, 0.3)  # noqa: E731

    @jax.jit
    def ways(key, x, kernel):
        return {
            "x": jax.vmap(drop, (None, 0, None))(key, x[None], kernel)[0],
            "kernel": jax.vmap(drop, (None, None, 0))(key, x, kernel[None])[0],
            "linear": jax.linearize(lambda x: drop(key, x, kernel), x)[1](x),
        }

    y = drop(key, x, kernel)
    for name, way in ways(key, x, kernel).items():
        np.testing.assert_allclose(way, y, rtol=2e-5, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "complex64"])
@pytest.mark.parametrize("scaling", ["inverted", "standard"])
def test_dtypes(dtype, scaling):
    x, kernel = array((9, 600), jnp.dtype(dtype)), array((600, 4), jnp.dtype(dtype))
    y = dense(KEY, x, kernel, 0.3, scaling=scaling)
    assert (y.shape, y.dtype) == ((9, 4), x.dtype)
    wide = dtype if dtype == "complex64" else "float32"
    weights = (
        kernel
        if scaling == "standard"
        else kernel.astype(wide) / jnp.asarray(1 - realized(0.3), wide)
    )
    masks = written_out("kernel", 9, (600, 4), 0.3)
    weights = jnp.where(masks, weights.astype(dtype).astype(wide), 0)
    expected = jnp.einsum("bi,bio->bo", x.astype(wide), weights, precision="highest")
    step = float(jnp.finfo(dtype).eps)
    np.testing.assert_allclose(
        y, expected.astype(dtype), rtol=max(step, 1e-5), atol=30 * step
    )
    wanted = dense(KEY, x, kernel, 0.3, preferred_element_type=wide)
    assert wanted.dtype == wide


@pytest.mark.parametrize("shape", [(), (7,), (20, 1), (20, 7)])
def test_rates_may_be_traced_and_one_for_each_weight(shape):
    x, kernel = array((40, 20)), array((20, 7), seed=1)
    rate = np.linspace(0.2, 0.7, math.prod(shape)).reshape(shape)
    rate = np.float32(realized(rate))
    drop = jax.jit(lambda rate: dense(KEY, x, kernel, rate))
    masks = written_out("kernel", 40, (20, 7), np.broadcast_to(rate, (20, 7)))
    expected = explicit(x, kernel, masks, np.broadcast_to(rate, (20, 7)))
    np.testing.assert_allclose(drop(rate), expected, atol=1e-4)
    both = dense(KEY, jnp.stack([x, x], 1), kernel, jnp.asarray(rate))[:, 0]
    np.testing.assert_allclose(both, expected, atol=1e-4)


def test_rates_at_the_ends():
    x, kernel = array((40, 20)), array((20, 7), seed=1)
    whole = dj.dropconnect_dense(None, x, kernel, 0.5, deterministic=True)
    drop = jax.jit(jax.value_and_grad(lambda rate: dense(KEY, x, kernel, rate).sum()))
    for rate, expected in ((0.0, whole), (1.0, 0 * whole)):
        np.testing.assert_array_equal(dense(None, x, kernel, rate), expected)
        y, slope = drop(rate)
        np.testing.assert_allclose(y, expected.sum(), rtol=1e-3)
        assert slope == 0
    for rate in (1e-9, 1 - 1e-9):
        assert np.isfinite(dense(KEY, x, kernel, rate)).all()
    with pytest.raises(ValueError, match="must broadcast to the mask's shape"):
        dense(KEY, x, kernel, jnp.full((2, 20, 7), 0.5))


@pytest.mark.parametrize("kind", [float, jnp.float32])
def test_rates_are_met_to_16_bits_and_certain_only_where_asked(kind):
    least = 2.0**-16
    met = {0.0: 0.0, 1e-6: least, 2.6 * least: 3 * least, 1 - 1e-6: 1 - least, 1.0: 1.0}
    for rate, expected in met.items():
        assert realized_rate(kind(rate)) == expected


@pytest.mark.parametrize("scaling", ["inverted", "standard"])
@pytest.mark.parametrize("share", ["batch", "example", 2])
@pytest.mark.parametrize("kind", ["dense", "conv"])
def test_a_rate_that_is_nan_is_seen(kind, share, scaling):
    x, kernel, bias = array((5, 4, 3)), array((2, 3, 7), seed=1), jnp.ones(7)
    function = dj.dropconnect_conv
    if kind == "dense":
        x, kernel, function = x[:, 0], kernel[0], dj.dropconnect_dense
    options = {"mask_per": share, "scaling": scaling}
    nan = jnp.float32(jnp.nan)

    @jax.jit
    def drop(rate, bias_rate=None):
        rates = {"bias": bias, "bias_rate": bias_rate}
        return function(KEY, x, kernel, rate, **rates, **options)

    assert np.isnan(drop(nan)).all()
    assert np.isnan(drop(0.5, nan)).all()
    each = jnp.full(kernel.shape, 0.5).at[..., 2].set(jnp.nan)
    seen = np.isnan(drop(each))
    assert seen[..., 2].all()
    assert not np.delete(seen, 2, -1).any()


@pytest.mark.parametrize("share", ["example", 2])
@pytest.mark.parametrize("kind", ["dense", "conv"])
def test_without_jit_the_masks_are_the_same(kind, share):
    x, kernel = array((3, 4, 2)), array((2, 2, 3), seed=1)
    function = dj.dropconnect_conv
    if kind == "dense":
        x, kernel, function = x[:, 0], kernel[0], dj.dropconnect_dense
    bias = {"bias": jnp.ones(3), "bias_rate": 0.5}
    drop = functools.partial(function, KEY, x, kernel, 0.3, mask_per=share, **bias)
    jitted = drop()
    with jax.disable_jit():
        np.testing.assert_allclose(drop(), jitted, rtol=1e-5, atol=1e-6)


def test_standard_scaling_scales_by_the_rate_that_was_met():
    x, kernel = array((40, 20)), array((20, 7), seed=1)
    y = dense(None, x, kernel, 0.3, scaling="standard", deterministic=True)
    expected = dj.dropconnect_dense(
        None, x, kernel, float(realized(0.3)), scaling="standard", deterministic=True
    )
    np.testing.assert_array_equal(y, expected)
    scaled = dense(KEY, x, kernel, 0.3) * np.float32(1 - realized(0.3))
    standard = dense(KEY, x, kernel, 0.3, scaling="standard")
    np.testing.assert_allclose(standard, scaled, rtol=1e-4, atol=1e-5)


def test_a_bias_is_dropped_for_each_example():
    x, kernel, bias = jnp.zeros((65, 20)), jnp.zeros((20, 50)), jnp.ones(50)
    for share in (1, 3):
        y = dj.dropconnect_dense(
            KEY, x, kernel, 0.5, bias=bias, bias_rate=0.5, mask_per=share
        )
        masks = written_out("bias", -(-65 // share), (50,), 0.5)
        np.testing.assert_array_equal(y, 2 * np.repeat(masks, share, 0)[:65])
    image, window = jnp.zeros((65, 3, 3, 2)), jnp.zeros((2, 2, 2, 50))
    y = conv(KEY, image, window, 0.0, bias=bias, bias_rate=0.5)
    masks = written_out("bias", 65, (50,), 0.5)
    np.testing.assert_array_equal(y[:, 1, 2], 2 * masks)
    np.testing.assert_array_equal(conv(KEY, image, window, 0.5, bias=bias), 1)


@pytest.mark.parametrize("poison", [np.nan, np.inf])
def test_poison_in_dropped_weights_vanishes_from_outputs_and_gradients(poison):
    x, masks = array((40, 3)), written_out("kernel", 40, (3, 7), 0.5)
    kernel = array((3, 7), seed=1).at[1, 2].set(poison).at[2, 5].set(poison)

    def both(function):
        y, back = jax.vjp(function, x, kernel)
        return y, *back(jnp.ones_like(y))

    found = both(lambda x, kernel: dense(KEY, x, kernel, 0.5))
    wanted = both(lambda x, kernel: explicit(x, kernel, masks, 0.5))
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(np.isfinite(found[0][:, 2]), ~masks[:, 1, 2])
    np.testing.assert_array_equal(np.isfinite(found[1][:, 1]), ~masks[:, 1, 2])


def test_poison_in_the_inputs_is_seen_though_weights_are_dropped():
    y = dense(KEY, jnp.full((40, 1), jnp.nan), jnp.ones((1, 7)), 0.5)
    assert np.isnan(y).all()


CONVOLUTIONS = {
    "1d": ((9, 3), (2, 3, 4), {}),
    "2d": ((6, 7, 3), (3, 2, 3, 4), {}),
    "3d": ((4, 4, 3, 2), (2, 2, 2, 2, 4), {}),
    "strides": ((9, 8, 3), (3, 3, 3, 4), {"strides": (2, 3)}),
    "valid": ((9, 8, 3), (3, 3, 3, 4), {"padding": "VALID", "strides": 2}),
    "dilation": ((9, 8, 3), (3, 3, 3, 4), {"dilation": (1, 2)}),
    "circular": ((9, 8, 3), (3, 3, 3, 4), {"padding": "CIRCULAR"}),
    "reflect": ((9, 8, 3), (3, 3, 3, 4), {"padding": "REFLECT", "dilation": 2}),
    "causal": ((9, 3), (3, 3, 4), {"padding": "CAUSAL", "dilation": 2}),
    "pairs": ((9, 8, 3), (3, 3, 3, 4), {"padding": [(2, 0), (0, 3)]}),
    "negative": ((9, 8, 3), (3, 3, 3, 4), {"padding": [(-2, 0), (0, 3)]}),
    "transposed": ((4, 5, 3), (3, 3, 3, 4), {"padding": 2, "input_dilation": (2, 3)}),
    "groups": ((5, 5, 6), (2, 3, 2, 9), {"feature_group_count": 3}),
    "depthwise": ((5, 5, 6), (2, 3, 1, 12), {"feature_group_count": 6}),
}
PLAIN = {"strides": 1, "padding": "SAME", "dilation": 1, "input_dilation": 1}
PLAIN |= {"feature_group_count": 1}


@pytest.mark.parametrize("case", CONVOLUTIONS)
def test_a_product_with_patches_is_a_convolution(case):
    shape, window, options = CONVOLUTIONS[case]
    x, kernel = array((2, *shape)), array(window, seed=1)
    linear = Conv(**{**PLAIN, **options})
    expected = jax.jit(lambda *operands: linear(*operands))(x, kernel)
    y = jax.jit(linear.per_example())(x, kernel)
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("options", [{}, {"strides": 2, "feature_group_count": 3}])
@pytest.mark.parametrize("given", [None, lax.conv_general_dilated])
def test_convolutions_are_those_of_masked_kernels(options, given):
    groups = options.get("feature_group_count", 1)
    x, kernel = array((35, 5, 4, 6)), array((2, 3, 6 // groups, 9), seed=1)
    masks = written_out("kernel", 35, kernel.shape, 0.5)
    plain = Conv(**{**PLAIN, **options})
    expected = jax.jit(jax.vmap(plain))(x[:, None], jnp.where(masks, 2 * kernel, 0))
    y = conv(KEY, x, kernel, 0.5, conv_general_dilated=given, **options)
    np.testing.assert_allclose(y, expected[:, 0], rtol=1e-4, atol=1e-4)


def test_convolutions_take_several_batch_axes_and_shared_masks():
    x, kernel = array((5, 2, 6, 3)), array((2, 3, 4), seed=1)
    y = conv(KEY, x, kernel, 0.5)
    np.testing.assert_allclose(y[:, 1], conv(KEY, x[:, 1], kernel, 0.5), rtol=1e-5)
    pairs = dj.dropconnect_conv(KEY, x[:, 0], kernel, 0.5, mask_per=2)
    first = conv(KEY, x[::2, 0], kernel, 0.5)
    np.testing.assert_allclose(pairs[::2], first, rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match="padding must be a number"):
        conv(KEY, x[:, 0], kernel, 0.5, input_dilation=2)


BATCHES = {
    "dense": (dense, array((16, 20)), array((20, 7))),
    "dense, whole words": (dense, array((128, 20)), array((20, 7))),
    "conv": (conv, array((256, 5, 6)), array((2, 6, 4))),
}


@pytest.mark.parametrize("axis_type", ["Auto", "Explicit"])
@pytest.mark.parametrize("case", BATCHES)
def test_a_sharded_batch_has_the_same_masks_without_talk(case, axis_type):
    mesh = jax.make_mesh((8,), ("data",), (getattr(AxisType, axis_type),))
    function, x, kernel = BATCHES[case]
    bias = {"bias": array(kernel.shape[-1:]), "bias_rate": 0.4}
    jitted = jax.jit(lambda x, rate: function(KEY, x, kernel, rate, **bias))
    y = jitted(x, 0.3)
    with jax.set_mesh(mesh):
        shards = jax.device_put(x, NamedSharding(mesh, PartitionSpec("data")))
        compiled = jitted.lower(shards, 0.3).compile()
    sharded = compiled(shards, 0.3)
    np.testing.assert_allclose(sharded, y, rtol=1e-4, atol=1e-5)
    for talk in ("all-reduce", "all-gather", "all-to-all", "permute"):
        assert talk not in compiled.as_text()
    assert sharded.sharding.is_equivalent_to(shards.sharding, y.ndim)


def test_features_that_are_sharded_are_summed():
    x, kernel = BATCHES["dense"][1:]
    jitted = jax.jit(lambda x: dense(KEY, x, kernel, 0.3))
    with jax.set_mesh(jax.make_mesh((2,), ("model",), (AxisType.Explicit,))):
        y = jitted(jax.device_put(x, PartitionSpec(None, "model")))
    np.testing.assert_allclose(y, jitted(x), rtol=1e-4, atol=1e-5)
    assert y.sharding.is_fully_replicated


@pytest.mark.parametrize("kind", ["dense", "conv"])
def test_shard_map_takes_it(kind):
    mesh = jax.make_mesh((2,), ("data",), (AxisType.Auto,))
    function, x, kernel = BATCHES[kind]
    data, whole = PartitionSpec("data"), PartitionSpec()
    keys = jax.random.split(KEY, 2)

    @functools.partial(
        jax.shard_map, mesh=mesh, in_specs=(data, data, whole), out_specs=data
    )
    def local(keys, x, kernel):
        return function(keys[0], x, kernel, 0.5)

    y = jax.jit(local)(keys, x[:8], kernel)
    expected = [function(keys[i], x[4 * i :][:4], kernel, 0.5) for i in (0, 1)]
    np.testing.assert_allclose(y, jnp.concatenate(expected), rtol=1e-5, atol=1e-5)


def test_layers():
    x, image = array((9, 6)), array((9, 5, 6))
    options = {"mask_per": 2, "bias_rate": 0.5}
    pairs = (
        (djl.DropConnectDense(4, 0.5, bias_init=nn.initializers.ones, **options), x),
        (
            djl.DropConnectConv(4, 2, 0.5, bias_init=nn.initializers.ones, **options),
            image,
        ),
    )
    for layer, x in pairs:
        variables = layer.init(KEY, x, True)
        kernel, bias = variables["params"]["kernel"], variables["params"]["bias"]
        function = dj.dropconnect_dense if kernel.ndim == 2 else dj.dropconnect_conv
        expected = function(KEY, x, kernel, 0.5, bias=bias, **options)
        np.testing.assert_array_equal(layer.apply(variables, x, False, KEY), expected)
        rngs = nnx.Rngs(0)
        other = (
            djn.DropConnectLinear(6, 4, 0.5, rngs=rngs, **options)
            if kernel.ndim == 2
            else djn.DropConnectConv(6, 4, 2, 0.5, rngs=rngs, **options)
        )
        other.kernel[...], other.bias[...] = kernel, bias
        np.testing.assert_array_equal(other(x, rngs=KEY), expected)


def test_a_product_of_ones_own_is_called():
    calls = []

    def dot_general(*arguments, **options):
        calls.append(arguments[0].shape)
        return lax.dot_general(*arguments, **options)

    x, kernel = array((9, 6)), array((6, 4))
    y = dense(KEY, x, kernel, 0.5, dot_general=dot_general)
    np.testing.assert_allclose(y, dense(KEY, x, kernel, 0.5), rtol=1e-5, atol=1e-6)
    assert calls


@pytest.mark.parametrize("mask_per", ["batch", "example"])
@pytest.mark.parametrize(
    ("x", "kernel", "padding", "places"),
    [
        ((0, 5, 3), (2, 3, 4), "SAME", 5),
        ((2, 0, 3), (2, 3, 4), "SAME", 0),
        ((2, 0, 3), (2, 3, 4), "VALID", 0),
        ((2, 5, 3), (2, 3, 0), "VALID", 4),
        ((2, 1, 3), (3, 3, 4), "VALID", 0),
    ],
)
def test_convolutions_of_and_to_nothing(mask_per, x, kernel, padding, places):
    x, kernel = jnp.ones(x), jnp.ones(kernel)
    y = dj.dropconnect_conv(KEY, x, kernel, 0.5, padding=padding, mask_per=mask_per)
    assert y.shape == (x.shape[0], places, kernel.shape[-1])
