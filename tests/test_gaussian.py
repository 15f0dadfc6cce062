"""Gaussian pre-activations: the inference of the paper, and noise for training."""

import functools

import flax.errors
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax import lax
from jax.sharding import AxisType, NamedSharding, PartitionSpec

import dropjax as dj
import dropjax.linen as djl
import dropjax.nnx as djn
from dropjax import inference
from tests.methods import array

KEY = jax.random.key(2013)
DENSE = (array((9, 6)), array((6, 4), seed=1))
CONV = (array((9, 5, 6)), array((2, 6, 4), seed=1))
BIAS = {"bias": array((4,), seed=2), "bias_rate": 0.4}
NOISE = {
    "dense": functools.partial(dj.dropconnect_dense, noise="gaussian"),
    "conv": functools.partial(dj.dropconnect_conv, noise="gaussian"),
}
INFERENCE = {
    "dense": (dj.dropconnect_gaussian, dj.dropconnect_moments, DENSE),
    "conv": (dj.dropconnect_conv_gaussian, dj.dropconnect_conv_moments, CONV),
}

every_kind = pytest.mark.parametrize("kind", INFERENCE)
relu = jax.nn.relu


@every_kind
@pytest.mark.parametrize("scaling", ["inverted", "standard"])
def test_mean_activations_are_those_of_the_closed_form(kind, scaling):
    gaussian, moments, arrays = INFERENCE[kind]
    options = {**BIAS, "scaling": scaling}
    mean, variance = moments(*arrays, 0.3, **options)
    y = jax.jit(
        lambda key: gaussian(key, *arrays, 0.3, relu, num_samples=20_000, **options)
    )(KEY)
    error = jnp.sqrt(variance / 20_000)
    assert (abs(y - inference.relu_mean(mean, variance)) < 5 * error).all()


def test_the_mean_is_that_of_samples_written_out():
    mean, variance = dj.dropconnect_moments(*DENSE, 0.3)
    keys = jax.random.split(KEY, 3)
    noise = jnp.stack([jax.random.normal(key, mean.shape) for key in keys])
    expected = jnp.tanh(mean[None] + jnp.sqrt(variance)[None] * noise).mean(0)
    y = dj.dropconnect_gaussian(KEY, *DENSE, 0.3, jnp.tanh, num_samples=3)
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-6)


def test_an_activation_may_change_shape_and_dtype():
    share = lambda y: (y > 0).astype(jnp.float16).mean((-1, -2))  # noqa: E731
    y = dj.dropconnect_gaussian(KEY, *DENSE, 0.5, share, num_samples=2)
    assert (y.shape, y.dtype) == ((), jnp.float16)


def test_a_mean_of_equal_or_infinite_samples_is_that_sample():
    whole = lambda y: jnp.full_like(y, 0.1)  # noqa: E731

    @jax.jit  # Outside of jit the loop is Python's, which takes a minute.
    def mean(key):
        return dj.dropconnect_gaussian(key, *DENSE, 0.5, whole, num_samples=100_000)

    np.testing.assert_allclose(mean(KEY), 0.1, rtol=3e-5)  # A sum loses 1e-4.
    whole = lambda y: jnp.full_like(y, -jnp.inf)  # noqa: E731
    y = dj.dropconnect_gaussian(KEY, *DENSE, 0.5, whole, num_samples=3)
    assert (y == -jnp.inf).all()


@every_kind
def test_nothing_is_drawn_and_no_key_needed_where_nothing_is_dropped(kind):
    gaussian, moments, arrays = INFERENCE[kind]
    for rate in (0.0, 0, 1):
        y = gaussian(None, *arrays, rate, jnp.tanh, num_samples=9, bias=BIAS["bias"])
        mean, _ = moments(*arrays, rate, bias=BIAS["bias"])
        np.testing.assert_array_equal(y, jnp.tanh(mean))
    with pytest.raises(ValueError, match="key is None"):
        gaussian(None, *arrays, 0.0, jnp.tanh, num_samples=9, **BIAS)


@every_kind
def test_rates_may_be_traced_and_have_no_gradient(kind):
    gaussian, _, arrays = INFERENCE[kind]

    @jax.jit
    def value_and_gradients(x, kernel, rate):
        def loss(*arguments):
            return gaussian(KEY, *arguments, jnp.tanh, num_samples=5).sum()

        return jax.value_and_grad(loss, (0, 1, 2))(x, kernel, rate)

    for rate in (0.0, 0.3, 1.0):
        value, gradients = value_and_gradients(*arrays, rate)
        assert all(np.isfinite(gradient).all() for gradient in gradients)
        assert gradients[-1] == 0
        if rate in (0.0, 1.0):
            expected = gaussian(None, *arrays, rate, jnp.tanh, num_samples=5).sum()
            np.testing.assert_allclose(value, expected, rtol=1e-4, atol=1e-5)
    value, _ = value_and_gradients(*arrays, jnp.nan)
    assert np.isnan(value)


def test_transforms():
    x, kernel = DENSE
    infer = functools.partial(
        dj.dropconnect_gaussian, rate=0.3, activation=jnp.tanh, num_samples=4
    )
    keys = jax.random.split(KEY, 3)
    loss = lambda s: infer(KEY, s * x, kernel).sum()  # noqa: E731

    @jax.jit
    def ways(keys):
        scanned = lax.map(lambda key: infer(key, x, kernel), keys)
        mapped = jax.vmap(infer, (0, None, None))(keys, x, kernel)
        loop = jnp.stack([infer(key, x, kernel) for key in keys])
        return loop, scanned, mapped

    loop, *others = ways(keys)
    for other in others:
        np.testing.assert_allclose(other, loop, rtol=1e-5, atol=1e-6)

    @jax.jit
    def slopes(s):
        around = (loss(s + 1e-3) - loss(s - 1e-3)) / 2e-3
        return around, jax.grad(loss)(s), jax.jvp(loss, (s,), (1.0,))[1]

    around, *others = slopes(1.0)
    np.testing.assert_allclose(others, [around] * 2, rtol=1e-2)
    with jax.debug_key_reuse(True):
        jax.jit(jax.grad(lambda x, key: infer(key, x, kernel).sum()))(
            x, jax.random.key(0)
        )


@pytest.mark.parametrize("axis_type", ["Auto", "Explicit"])
def test_a_sharded_batch_has_the_same_samples_without_talk(axis_type):
    mesh = jax.make_mesh((2,), ("data",), (getattr(AxisType, axis_type),))
    x, kernel = array((8, 6)), DENSE[1]
    infer = functools.partial(
        dj.dropconnect_gaussian, rate=0.3, activation=jnp.tanh, num_samples=4
    )
    y = infer(KEY, x, kernel)
    with jax.set_mesh(mesh):
        shards = jax.device_put(x, NamedSharding(mesh, PartitionSpec("data")))
        jitted = jax.jit(infer)
        sharded = jitted(KEY, shards, kernel)
        text = jitted.lower(KEY, shards, kernel).compile().as_text()
    np.testing.assert_allclose(sharded, y, rtol=1e-5, atol=1e-6)
    for talk in ("all-reduce", "all-gather", "all-to-all", "permute"):
        assert talk not in text


@pytest.mark.parametrize("axis_type", ["Auto", "Explicit"])
def test_a_sharded_kernel_has_the_same_moments_and_samples(axis_type):
    mesh = jax.make_mesh((2,), ("model",), (getattr(AxisType, axis_type),))
    x, kernel = array((8, 6)), array((6, 4), seed=1)
    calls = [
        lambda kernel: dj.dropconnect_moments(x, kernel, 0.3)[1],
        lambda kernel: dj.dropconnect_gaussian(
            KEY, x, kernel, 0.3, jnp.tanh, num_samples=4
        ),
        lambda kernel: dj.dropconnect_dense(KEY, x, kernel, 0.3, noise="gaussian"),
        lambda kernel: dj.apply_mask(kernel, jnp.arange(4) % 2 == 0, keep=0.5),
    ]
    for call in calls:
        y = call(kernel)
        with jax.set_mesh(mesh):
            spec = PartitionSpec(None, "model")
            shards = jax.device_put(kernel, NamedSharding(mesh, spec))
            sharded = call(shards)
        np.testing.assert_allclose(sharded, y, rtol=1e-5, atol=1e-6)
        assert sharded.sharding.is_equivalent_to(shards.sharding, 2)


def test_shard_map_takes_it():
    mesh = jax.make_mesh((2,), ("data",), (AxisType.Auto,))
    spec = PartitionSpec("data")

    @functools.partial(
        jax.shard_map, mesh=mesh, in_specs=(spec, PartitionSpec()), out_specs=spec
    )
    def local(x, kernel):
        own = jax.random.fold_in(KEY, lax.axis_index("data"))
        return dj.dropconnect_gaussian(own, x, kernel, 0.3, relu, num_samples=2)

    assert jax.jit(local)(array((8, 6)), DENSE[1]).shape == (8, 4)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_is_kept_and_averaged_in_float32(dtype):
    x, kernel = (one.astype(dtype) for one in DENSE)
    infer = jax.jit(
        lambda x, kernel: dj.dropconnect_gaussian(
            KEY, x, kernel, 0.5, jnp.abs, num_samples=500
        )
    )
    y = infer(x, kernel)
    assert y.dtype == x.dtype
    np.testing.assert_allclose(y, infer(*DENSE), rtol=0.03, atol=0.03)
    small = 1e-4 * jnp.ones_like(kernel)
    expected = infer(DENSE[0], small.astype(jnp.float32))
    np.testing.assert_allclose(infer(x, small), expected, rtol=0.03, atol=1e-6)


def test_double_precision_is_kept():
    with jax.enable_x64(True):
        x, kernel = array((9, 6), np.float64), array((6, 4), np.float64, 1)
        y = dj.dropconnect_gaussian(KEY, x, kernel, 0.3, jnp.tanh, num_samples=3)
        assert y.dtype == x.dtype


def test_memory_does_not_grow_with_the_number_of_samples():
    x, kernel = jnp.ones((64, 128)), jnp.ones((128, 256))

    def scratch(num_samples):
        def loss(x):
            return dj.dropconnect_gaussian(
                KEY, x, kernel, 0.5, jnp.tanh, num_samples=num_samples
            ).sum()

        compiled = jax.jit(jax.grad(loss)).lower(x).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    assert scratch(500) - scratch(5) < 64 * 256 * 4


@pytest.mark.parametrize("shape", [(0, 6), (3, 0)])
def test_empty_arrays(shape):
    x, kernel = jnp.ones(shape), jnp.ones((shape[1], 4))
    y = dj.dropconnect_gaussian(KEY, x, kernel, 0.5, relu, num_samples=2)
    assert y.shape == (shape[0], 4)
    assert not y.any()


@every_kind
@pytest.mark.parametrize("scaling", ["inverted", "standard"])
def test_noise_has_the_moments_of_masks(kind, scaling):
    _, moments, (x, kernel) = INFERENCE[kind]
    options = {**BIAS, "scaling": scaling}
    mean, variance = moments(x[0], kernel, 0.3, **options)
    batch = jnp.broadcast_to(x[0], (20_000, *x[0].shape))
    y = jax.jit(lambda x: NOISE[kind](KEY, x, kernel, 0.3, **options))(batch)
    assert (abs(y.mean(0) - mean) < 5 * jnp.sqrt(variance / 20_000)).all()
    assert (abs(y.var(0) / variance - 1) < 5 * np.sqrt(2 / 20_000)).all()


@every_kind
def test_noise_is_that_of_the_key(kind):
    _, moments, arrays = INFERENCE[kind]
    mean, variance = moments(*arrays, 0.3)
    expected = mean + jnp.sqrt(variance) * jax.random.normal(KEY, mean.shape)
    y = NOISE[kind](KEY, *arrays, 0.3)
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-6)
    examples = NOISE[kind](KEY, *arrays, 0.3, mask_per="example")
    np.testing.assert_array_equal(examples, y)


@every_kind
def test_noise_that_is_off_is_the_layer_itself(kind):
    x, kernel = INFERENCE[kind][2]
    plain = {"dense": dj.dropconnect_dense, "conv": dj.dropconnect_conv}[kind]
    for rate, off in ((0.3, True), (0, False), (1, False)):
        options = {"deterministic": off, "bias": BIAS["bias"], "scaling": "standard"}
        y = NOISE[kind](None, x, kernel, rate, **options)
        np.testing.assert_array_equal(y, plain(None, x, kernel, rate, **options))


@every_kind
def test_noise_has_gradients_without_variance_and_none_to_the_rate(kind):
    x, kernel = INFERENCE[kind][2]

    @jax.jit
    def gradients(x, kernel, rate):
        loss = lambda *arrays: jnp.sin(NOISE[kind](KEY, *arrays)).sum()  # noqa: E731
        return jax.grad(loss, (0, 1, 2))(x, kernel, rate)

    for rate in (0.0, 0.3, 1.0):
        for scale in (0.0, 1e-30, 1.0):
            found = gradients(scale * x, kernel, rate)
            assert all(np.isfinite(one).all() for one in found)
            assert found[-1] == 0

    def explicit(x):
        mean, variance = INFERENCE[kind][1](x, kernel, 0.3)
        noise = jnp.sqrt(variance) * jax.random.normal(KEY, mean.shape)
        return jnp.sin(mean + noise).sum()

    np.testing.assert_allclose(
        gradients(x, kernel, 0.3)[0], jax.grad(explicit)(x), rtol=1e-4, atol=1e-4
    )


def test_noise_is_not_saved():
    x, kernel = array((40, 6)), DENSE[1]
    _, back = jax.vjp(lambda x: NOISE["dense"](KEY, x, kernel, 0.3), x)
    saved = sum(leaf.size for leaf in jax.tree.leaves(back))
    output = 40 * 4
    assert saved < x.size + 3 * kernel.size + 2 * output


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_noise_keeps_half_precision(dtype):
    x, kernel = (array_.astype(dtype) for array_ in DENSE)
    y = NOISE["dense"](KEY, x, kernel, 0.3)
    assert y.dtype == x.dtype
    np.testing.assert_allclose(y, NOISE["dense"](KEY, *DENSE, 0.3), atol=0.1)
    wide = NOISE["dense"](KEY, x, kernel, 0.3, preferred_element_type=jnp.float32)
    assert wide.dtype == jnp.float32
    large = NOISE["dense"](KEY, 1000 * x, kernel, 0.3)
    assert np.isfinite(large).all()


def test_noise_under_vmap_scan_and_a_traced_nan():
    x, kernel = DENSE
    drop = lambda key: NOISE["dense"](key, x, kernel, 0.3)  # noqa: E731
    keys = jax.random.split(KEY, 3)
    loop = jnp.stack([drop(key) for key in keys])
    np.testing.assert_allclose(jax.vmap(drop)(keys), loop, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(lax.map(drop, keys), loop, rtol=1e-5, atol=1e-6)
    noisy = jax.jit(lambda rate: NOISE["dense"](KEY, x, kernel, rate))
    assert np.isnan(noisy(jnp.float32(jnp.nan))).all()


LAYERS = {
    "dense": (
        lambda **options: djl.DropConnectDense(4, 0.5, **options),
        lambda **options: djn.DropConnectLinear(6, 4, 0.5, rngs=nnx.Rngs(0), **options),
        dj.dropconnect_dense,
    ),
    "conv": (
        lambda **options: djl.DropConnectConv(4, 2, 0.5, **options),
        lambda **options: djn.DropConnectConv(
            6, 4, 2, 0.5, rngs=nnx.Rngs(0), **options
        ),
        dj.dropconnect_conv,
    ),
}


def both_layers(kind, deterministic, key, **options):
    """What the Linen layer answers, with the same parameters in the NNX layer."""
    make_linen, make_nnx, _ = LAYERS[kind]
    x, kernel = INFERENCE[kind][2]
    variables = {"params": {"kernel": kernel, "bias": BIAS["bias"]}}
    y = make_linen(**options).apply(variables, x, deterministic, key)
    other = make_nnx(**options)
    other.kernel[...], other.bias[...] = kernel, BIAS["bias"]
    expected = other(x, deterministic=deterministic, rngs=key)
    np.testing.assert_array_equal(y, expected)
    return y


@every_kind
def test_layers_with_gaussian_noise_and_an_activation(kind):
    x, kernel = INFERENCE[kind][2]
    options = {"noise": "gaussian", "activation": jnp.tanh, "bias_rate": 0.4}
    y = both_layers(kind, False, KEY, **options)
    expected = NOISE[kind](KEY, x, kernel, 0.5, **BIAS)
    np.testing.assert_allclose(y, jnp.tanh(expected), rtol=1e-6)


@every_kind
def test_layers_answer_with_the_mean_network_and_need_no_key(kind):
    x, kernel = INFERENCE[kind][2]
    whole = LAYERS[kind][2](None, x, kernel, 0.5, bias=BIAS["bias"], deterministic=True)
    np.testing.assert_array_equal(both_layers(kind, True, None), whole)
    y = both_layers(kind, True, None, activation=jnp.tanh)
    np.testing.assert_array_equal(y, jnp.tanh(whole))


@every_kind
@pytest.mark.parametrize("inference_", ["gaussian", "monte_carlo"])
@pytest.mark.parametrize("deterministic", [True, False])
def test_layers_that_sample_must_know_their_activation(kind, inference_, deterministic):
    x, kernel = INFERENCE[kind][2]
    make_linen, make_nnx, _ = LAYERS[kind]
    variables = {"params": {"kernel": kernel, "bias": BIAS["bias"]}}
    rule = f"inference='{inference_}' .* but activation is None"
    with pytest.raises(ValueError, match=rule):
        make_linen(inference=inference_).apply(variables, x, deterministic, KEY)
    with pytest.raises(ValueError, match=rule):
        make_nnx(inference=inference_)(x, deterministic=deterministic, rngs=KEY)


@every_kind
def test_layers_answer_with_the_gaussian_mean(kind):
    gaussian, _, (x, kernel) = INFERENCE[kind]
    sampled = {"activation": jnp.tanh, "num_samples": 7}
    options = {"inference": "gaussian", "bias_rate": 0.4, **sampled}
    y = both_layers(kind, True, KEY, **options)
    expected = gaussian(KEY, x, kernel, 0.5, jnp.tanh, num_samples=7, **BIAS)
    np.testing.assert_array_equal(y, expected)


@pytest.mark.parametrize("kind", ["dense"])
def test_layers_answer_with_the_mean_over_masks(kind):
    x, kernel = INFERENCE[kind][2]
    sampled = {"activation": jnp.tanh, "num_samples": 7, "mask_per": "example"}
    options = {"inference": "monte_carlo", "bias_rate": 0.4, **sampled}
    y = both_layers(kind, True, KEY, **options)
    keys = jax.random.split(KEY, 7)
    drop = lambda key: LAYERS[kind][2](  # noqa: E731
        key, x, kernel, 0.5, mask_per="example", **BIAS
    )
    expected = jnp.tanh(jax.vmap(drop)(keys)).mean(0)
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-6)


def test_inference_by_samples_takes_the_layers_rngs():
    x = DENSE[0]
    options = {"inference": "gaussian", "activation": jnp.tanh}
    layer = djl.DropConnectDense(4, 0.5, deterministic=True, **options)
    variables = layer.init({"params": KEY, "dropout": KEY}, x)
    y = layer.apply(variables, x, rngs={"dropout": KEY})
    assert y.shape == (9, 4)
    with pytest.raises(flax.errors.InvalidRngError):
        layer.apply(variables, x)
    assert layer.apply(variables, x, rate=0.0).shape == (9, 4)
    other = djn.DropConnectLinear(6, 4, 0.5, rngs=nnx.Rngs(0), **options)
    other.eval()
    assert not jnp.array_equal(other(x), other(x))
    jitted = nnx.jit(lambda layer, x: layer(x))
    assert not jnp.array_equal(jitted(other, x), jitted(other, x))


@every_kind
def test_each_sample_has_a_key_of_its_own(kind):
    gaussian, _, arrays = INFERENCE[kind]
    with jax.debug_key_reuse(True):
        gaussian(jax.random.key(5), *arrays, 0.5, relu, num_samples=3)


def test_complex_activations_are_averaged_under_strict_promotion():
    activation = lambda y: y.astype(jnp.complex64)  # noqa: E731
    y = dj.dropconnect_gaussian(KEY, *DENSE, 0.5, activation, num_samples=3)
    assert y.dtype == jnp.complex64


def scanned_scratch(layer):
    """What the gradient of sixteen layers in a scan takes, in activations."""
    x, kernels = jnp.ones((2048, 64)), jnp.ones((16, 64, 64))

    def loss(x, kernels, keys):
        step = lambda x, turn: (layer(turn[1], x, turn[0], 0.5), None)  # noqa: E731
        return lax.scan(step, x, (kernels, keys))[0].sum()

    keys = jax.random.split(KEY, 16)
    compiled = jax.jit(jax.grad(loss, (0, 1))).lower(x, kernels, keys).compile()
    return compiled.memory_analysis().temp_size_in_bytes / (16 * x.nbytes)


def test_the_backward_pass_of_noise_keeps_the_inputs_alone():
    masked = scanned_scratch(dj.dropconnect_dense)
    # One layer at a time has the moments and their noise.
    assert scanned_scratch(NOISE["dense"]) < masked + 1


@pytest.mark.parametrize("inference_", ["gaussian", "monte_carlo"])
@pytest.mark.parametrize("rate", [1.0, jnp.float32(1.0)])
def test_at_a_rate_of_one_layers_answer_what_is_left(inference_, rate):
    options = {"inference": inference_, "activation": relu, "deterministic": True}
    x = DENSE[0]
    linen = djl.DropConnectDense(3, rate, **options)
    variables = linen.init({"params": KEY, "dropout": KEY}, x)
    of_nnx = djn.DropConnectLinear(6, 3, rate, rngs=nnx.Rngs(0), **options)
    for y in (linen.apply(variables, x, rngs={"dropout": KEY}), of_nnx(x)):
        np.testing.assert_array_equal(y, jnp.zeros((9, 3)))
