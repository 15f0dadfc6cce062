"""The library's promise: every law, over every method and every face of it."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export, lax
from jax.sharding import NamedSharding, PartitionSpec

import dropjax as dj
import dropjax.linen as djl
import dropjax.nnx as djn
from tests.methods import METHODS, array

RATE = 0.3
GENERATORS = {
    "threefry": functools.partial(jax.random.key, impl="threefry2x32"),
    "fast": functools.partial(jax.random.key, impl=dj.fast_prng),
    "rbg": functools.partial(jax.random.key, impl="rbg"),
}
FACES = ("function", "linen", "nnx")
PLATFORMS = ("cpu", "cuda", "rocm", "tpu")


def every(belongs):
    chosen = [
        pytest.param(method, marks=[pytest.mark.slow] * method.slow, id=method.name)
        for method in METHODS
        if belongs(method)
    ]
    return pytest.mark.parametrize("method", chosen)


every_method = every(lambda method: True)
every_activation = every(lambda method: not method.product)
every_mask = every(lambda method: method.mask)
every_masked_activation = every(lambda method: method.mask and not method.product)
every_fair_mask = every(lambda method: method.mask and method.fair)
every_plain_method = every(lambda method: method.mask and method.fair and method.plain)
every_face = pytest.mark.parametrize("face", FACES)
every_generator = pytest.mark.parametrize("generator", ["threefry", "fast"])


@pytest.fixture
def key():
    return jax.random.key(2013)


def full_mask(method, key, rate=RATE):
    if method.mask is None:
        return None
    return jnp.broadcast_to(method.mask(key, method.shape, rate), method.shape)


def assert_as_defined(method, y, expected):
    """To the last bit where the definition is one product."""
    if method.plain:
        np.testing.assert_array_equal(y, expected)
    else:
        np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-6)


# Law 1: off is free.


@every_method
@every_face
def test_off_needs_no_key_and_returns_x_itself(method, face):
    x = array(method.shape)
    drop = getattr(method, face)
    for rate, deterministic in ((RATE, True), (0, False), (0.0, False)):
        if deterministic and method.off:
            continue
        y = drop(None, x, rate, deterministic=deterministic)
        assert jnp.array_equal(y, x) if method.product else y is x


@every_method
def test_off_draws_nothing(method):
    x = array(method.shape)

    def off(x):
        return method.function(None, x, 0.0), method.function(
            None, x, RATE, deterministic=True
        )

    assert "random" not in str(jax.make_jaxpr(off)(x))


@every_mask
def test_an_off_mask_keeps_all_and_needs_no_key(method):
    assert method.mask(None, method.shape, 0.0).all()
    assert method.mask(None, method.shape, RATE, deterministic=True).all()


@every(lambda method: method.off)
@every_face
def test_what_is_not_x_itself_when_off_is_the_mean(method, face):
    x = array(method.shape)
    y = getattr(method, face)(None, x, RATE, deterministic=True)
    assert_as_defined(method, y, method.off(x, RATE))


@every(lambda method: method.certain)
@every_face
def test_rate_one_drops_everything_without_a_key(method, face):
    y = getattr(method, face)(None, array(method.shape), 1)
    assert not y.any()


# Law 2: same shape, same dtype.


@every_method
@every_face
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16", "complex64"])
def test_shape_and_dtype_are_kept(method, face, dtype, key):
    x = array(method.shape, jnp.dtype(dtype))
    for deterministic in (False, True):
        y = getattr(method, face)(key, x, RATE, deterministic=deterministic)
        assert (y.shape, y.dtype) == (x.shape, x.dtype)


@every_method
@pytest.mark.parametrize("dtype", ["float64", "complex128"])
def test_double_precision_is_kept_and_has_the_same_mask(method, dtype, key):
    single = method.function(key, array(method.shape), RATE)
    with jax.enable_x64(True):
        x = array(method.shape, dtype)
        y = method.function(key, x, RATE)
        assert y.dtype == x.dtype
        if method.mask:
            expected = method.expect(full_mask(method, key), x, RATE)
            np.testing.assert_allclose(y, expected, rtol=1e-14, atol=1e-14)
        np.testing.assert_allclose(y.real, single, rtol=1e-5, atol=1e-5)


@every_method
@pytest.mark.parametrize("dtype", ["int32", "bool"])
def test_integers_and_booleans_are_refused(method, dtype, key):
    refused = "must be a floating-point or complex array|selects no leaf"
    with pytest.raises((TypeError, ValueError), match=refused):
        method.function(key, jnp.ones(method.shape, dtype), RATE)


# Law 3: select, never multiply.


@every_masked_activation
@every_face
@pytest.mark.parametrize("poison", [np.nan, np.inf, -np.inf])
def test_poison_vanishes_where_dropped_and_stays_where_kept(method, face, poison, key):
    x = jnp.full(method.shape, poison)
    y = getattr(method, face)(key, x, RATE)
    expected = method.expect(full_mask(method, key), x, RATE)
    assert_as_defined(method, y, expected)
    assert np.isfinite(y).any()


@every_masked_activation
@pytest.mark.parametrize("poison", [np.nan, np.inf])
def test_gradients_are_selected_too(method, poison, key):
    x = array(method.shape)
    _, back = jax.vjp(lambda x: method.function(key, x, RATE), x)
    (gradient,) = back(jnp.full(method.shape, poison))
    mask = full_mask(method, key)
    _, back = jax.vjp(lambda x: method.expect(mask, x, RATE), x)
    np.testing.assert_array_equal(gradient, back(jnp.full(method.shape, poison))[0])
    assert np.isfinite(gradient).any()


# Law 4: survivors are exact.


@every_mask
@every_face
def test_survivors_are_exact(method, face, key):
    x = array(method.shape)
    y = getattr(method, face)(key, x, RATE)
    assert_as_defined(method, y, method.expect(full_mask(method, key), x, RATE))


@every_mask
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_is_scaled_in_float32_and_rounded_once(method, dtype, key):
    x = array(method.shape, jnp.dtype(dtype))
    y = method.function(key, x, 0.1)
    wide = method.expect(full_mask(method, key, 0.1), x.astype(np.float32), 0.1)
    np.testing.assert_array_equal(y, wide.astype(x.dtype))


# Law 5: rates.


@every_method
@every_face
@pytest.mark.parametrize("rate", [-0.1, 1.1, math.nan, math.inf, np.float64(2)])
def test_a_rate_outside_the_unit_interval_is_refused(method, face, rate, key):
    with pytest.raises(ValueError, match=r"rate is the .* must lie in \[0, 1\], got"):
        getattr(method, face)(key, array(method.shape), rate)


@every_method
def test_traced_rates_need_no_retracing_and_are_finite_at_both_ends(method, key):
    x = array(method.shape)
    traces = []

    @jax.jit
    def value_and_gradients(x, rate):
        traces.append(rate)
        loss = lambda x, rate: method.function(key, x, rate).sum()  # noqa: E731
        return method.function(key, x, rate), *jax.grad(loss, (0, 1))(x, rate)

    ends = (1.0, 1.5) if method.certain else ()
    for rate in (0.0, 0.25, -0.5, *ends):
        y, gradient, rate_gradient = value_and_gradients(x, jnp.float32(rate))
        assert np.isfinite(y).all()
        assert np.isfinite(gradient).all()
        assert rate_gradient == 0
        clipped = min(max(rate, 0.0), 1.0)
        assert_as_defined(method, y, method.function(key, x, clipped))
    assert len(traces) == 1


@every_method
def test_a_nan_rate_is_seen(method, key):
    y = method.function(key, array(method.shape), jnp.float32(jnp.nan))
    assert np.isnan(y).any()


@every_method
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_a_half_precision_rate_is_taken_as_float32(method, dtype, key):
    rate = jnp.asarray(0.25, dtype)
    x = array(method.shape)
    assert_as_defined(
        method, method.function(key, x, rate), method.function(key, x, 0.25)
    )


@every_method
def test_numpys_doubles_are_rounded_as_jax_rounds_them(method, key):
    if method.name.startswith(("dropconnect_dense", "dropconnect_conv", "zoneout")):
        pytest.skip("it has other arrays, of JAX's dtype")
    x, rate = array(method.shape), jnp.float32(0.25)
    y = method.function(key, np.asarray(x, np.float64), rate)
    np.testing.assert_array_equal(y, method.function(key, x, rate))


@every_plain_method
def test_an_array_of_rates_gives_each_coin_its_own(method, key):
    rates = jnp.linspace(0, 1, method.coins[-1])
    rates = rates.reshape((1,) * (len(method.coins) - 1) + (-1,))
    x = array(method.shape)
    y = method.function(key, x, rates)
    each = [method.function(key, x, rate) for rate in rates.ravel()]
    if method.coins[-1] == method.shape[-1]:
        for index in (0, 1, method.shape[-1] // 2, -1):
            np.testing.assert_array_equal(y[..., index], each[index][..., index])
    with pytest.raises(ValueError, match="must broadcast to the coins' shape"):
        method.function(key, x, jnp.full((2, *method.shape), 0.5))


# Law 6: one key, one use.


@every_method
@every_generator
def test_one_key_one_mask(method, generator):
    keys = jax.random.split(GENERATORS[generator](7), 3)
    x = array(method.shape)
    drop = functools.partial(method.function, x=x, rate=RATE)
    loop = jnp.stack([drop(key) for key in keys])
    ways = {
        "jit": lambda keys: jnp.stack([drop(key) for key in keys]),
        "remat": lambda keys: jnp.stack([jax.checkpoint(drop)(key) for key in keys]),
        "scan": lambda keys: lax.map(drop, keys),
        "vmap": jax.vmap(drop),
    }
    if generator == "rbg":
        del ways["vmap"]  # JAX says that rbg's bits change under vmap.
    drawn = jax.jit(lambda keys: {name: way(keys) for name, way in ways.items()})(keys)
    for name in ways:
        np.testing.assert_array_equal(loop, drawn[name], name)
    assert not jnp.array_equal(loop[0], loop[1])


@every_method
def test_raw_and_typed_keys_are_the_same(method, key):
    x = array(method.shape)
    raw = jax.random.key_data(key)
    for given in (raw, np.asarray(raw)):
        np.testing.assert_array_equal(
            method.function(key, x, RATE), method.function(given, x, RATE)
        )


@every_method
@every_generator
def test_key_reuse_is_noticed(method, generator):
    x = array(method.shape)

    def twice(first, second):
        return method.function(first, x, RATE) + method.function(second, x, RATE)

    with jax.debug_key_reuse(True):
        first, second = jax.random.split(GENERATORS[generator](0))
        jax.jit(twice)(first, second)
        jax.jit(jax.grad(lambda x, key: method.function(key, x, RATE).sum()))(
            x, GENERATORS[generator](1)
        )
        if "dropconnect" not in method.name:
            with pytest.raises(jax.errors.KeyReuseError):
                jax.jit(lambda key: twice(key, key))(GENERATORS[generator](2))


# Law 7: all transforms.


@every_method
@every_generator
def test_transforms(method, generator):
    key, x = GENERATORS[generator](5), array(method.shape)
    drop = functools.partial(method.function, key, rate=RATE)

    @jax.jit
    def derivatives(x):
        ones = jnp.ones_like(x)
        _, back = jax.vjp(jax.checkpoint(drop), x)
        _, linear = jax.linearize(drop, x)
        return {
            "jvp": jax.jvp(drop, (x,), (ones,))[1],
            "grad": jax.grad(lambda x: drop(x).sum())(x),
            "remat": back(ones)[0],
            "linearize": linear(ones),
        }

    y, mask = drop(x), full_mask(method, key)
    if method.mask:
        explicit = functools.partial(method.expect, mask, rate=RATE)
    else:
        explicit = drop
    _, push = jax.linearize(explicit, x)
    pull = jax.linear_transpose(push, x)
    pushed, pulled = push(jnp.ones_like(x)), pull(jnp.ones_like(x))[0]
    wanted = {"jvp": pushed, "linearize": pushed, "grad": pulled, "remat": pulled}
    for name, derivative in derivatives(x).items():
        np.testing.assert_allclose(
            derivative, wanted[name], rtol=1e-5, atol=1e-6, err_msg=name
        )
    batch = jnp.stack([x, 2 * x])
    mapped = jax.jit(jax.vmap(drop))(batch)
    np.testing.assert_array_equal(mapped, jnp.stack([y, drop(2 * x)]))


@every_method
def test_second_derivatives(method, key):
    x = array(method.shape)

    def loss(scale):
        return (method.function(key, scale * x, RATE) ** 2).sum()

    y, slope = jax.jvp(lambda s: method.function(key, s * x, RATE), (1.0,), (1.0,))
    if method.plain and method.mask:
        np.testing.assert_array_equal(slope, y)
    expected = 2 * (slope**2).sum()
    twice = jax.jit(lambda s: (jax.hessian(loss)(s), jax.grad(jax.grad(loss))(s)))
    np.testing.assert_allclose(twice(1.0), [expected, expected], rtol=1e-4)


@every_method
@every_generator
def test_export_to_every_platform(method, generator):
    def value_and_gradient(data, x):
        key = jax.random.wrap_key_data(data, impl=implementation)
        return jax.value_and_grad(lambda x: method.function(key, x, RATE).sum())(x)

    key, x = GENERATORS[generator](3), array(method.shape)
    implementation, data = jax.random.key_impl(key), jax.random.key_data(key)
    jitted = jax.jit(value_and_gradient)
    exported = export.export(jitted, platforms=PLATFORMS)(data, x)
    restored = export.deserialize(exported.serialize())
    value, gradient = jitted(data, x)
    restored_value, restored_gradient = restored.call(data, x)
    np.testing.assert_array_equal(gradient, restored_gradient)
    np.testing.assert_allclose(value, restored_value, rtol=1e-5)


# Law 8: the backward pass keeps the key, not the mask.


@every_activation
@every_generator
def test_no_residual_of_the_arrays_size(method, generator):
    x, key = array(method.shape), GENERATORS[generator](1)
    _, back = jax.vjp(lambda x: method.function(key, x, RATE), x)
    saved = sum(leaf.size for leaf in jax.tree.leaves(back))
    # The key, the rate, and a small table where the definition has one.
    assert saved <= (16 if "drop_block" in method.name else method.saved)


@every(lambda method: method.off and not method.product)
def test_no_residual_of_what_is_not_x_itself_when_off(method):
    off = lambda x: method.function(None, x, RATE, deterministic=True)  # noqa: E731
    _, back = jax.vjp(off, array(method.shape))
    assert sum(leaf.size for leaf in jax.tree.leaves(back)) <= method.saved


@pytest.mark.parametrize("scanned", [True, False])
@every_generator
def test_a_deep_net_keeps_no_masks(scanned, generator):
    layers, x = 16, jnp.ones((512, 512))

    def loss(x, key):
        keys = jax.random.split(key, layers)
        step = lambda x, key: (dj.dropout(key, x, 0.1), None)  # noqa: E731
        if scanned:
            return lax.scan(step, x, keys)[0].sum()
        return functools.reduce(lambda x, key: step(x, key)[0], keys, x).sum()

    compiled = jax.jit(jax.grad(loss)).lower(x, GENERATORS[generator](0)).compile()
    assert compiled.memory_analysis().temp_size_in_bytes < 2.1 * x.nbytes


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@every_generator
def test_no_scratch_memory(dtype, generator):
    x, key = jnp.ones((1024, 1024), dtype), GENERATORS[generator](0)

    def backward(key, x, cotangent):
        _, back = jax.vjp(lambda x: dj.dropout(key, x, 0.1), x)
        return back(cotangent)

    for compiled in (
        jax.jit(lambda key, x: dj.dropout(key, x, 0.1)).lower(key, x).compile(),
        jax.jit(backward).lower(key, x, x).compile(),
    ):
        assert compiled.memory_analysis().temp_size_in_bytes <= 1024


# Law 9: any mesh, no talk.


@every_method
@every_generator
@pytest.mark.parametrize("axis_type", ["Auto", "Explicit"])
def test_any_mesh_draws_the_same_mask_without_talk(method, generator, axis_type):
    kind = (getattr(jax.sharding.AxisType, axis_type),)
    mesh = jax.make_mesh((2,), ("data",), kind, devices=jax.devices()[:2])
    x, key = array(method.shape), GENERATORS[generator](1)
    y = method.function(key, x, RATE)
    if method.product and axis_type == "Explicit":
        pytest.skip("the product with the identity is of mixed shardings")
    jitted = jax.jit(lambda key, x: method.function(key, x, RATE))
    for axis, size in enumerate(method.shape):
        if size % 2 or axis in method.talks:
            continue
        spec = PartitionSpec(*[None] * axis, "data")
        with jax.set_mesh(mesh):
            shards = jax.device_put(x, NamedSharding(mesh, spec))
            sharded = jitted(key, shards)
            text = jitted.lower(key, shards).compile().as_text()
        np.testing.assert_array_equal(y, sharded)
        if not method.product:
            assert sharded.sharding.is_equivalent_to(shards.sharding, x.ndim)
            for talk in ("all-reduce", "all-gather", "all-to-all", "permute"):
                assert talk not in text


@every_activation
def test_shard_map_draws_local_masks_from_local_keys(method, key):
    auto = (jax.sharding.AxisType.Auto,)
    mesh = jax.make_mesh((2,), ("data",), auto, devices=jax.devices()[:2])
    spec = PartitionSpec("data")

    @functools.partial(jax.shard_map, mesh=mesh, in_specs=spec, out_specs=spec)
    def local(x):
        own = jax.random.fold_in(key, lax.axis_index("data"))
        return method.function(own, x[0], RATE)[None]

    x = array(method.shape)
    y = local(jnp.stack([x, x]))
    for device in range(2):
        own = jax.random.fold_in(key, device)
        np.testing.assert_array_equal(y[device], method.function(own, x, RATE))


# Law 10: three faces, one mask.


@every_method
@every_generator
def test_three_faces_give_the_same_array(method, generator):
    key, x = GENERATORS[generator](4), array(method.shape)
    for deterministic in (False, True):
        y, *others = [
            getattr(method, face)(key, x, RATE, deterministic=deterministic)
            for face in FACES
        ]
        for other in others:
            np.testing.assert_array_equal(y, other)


@every_plain_method
@every_generator
def test_the_mask_function_tells_who_is_dropped(method, generator):
    key = GENERATORS[generator](6)
    y = method.function(key, array(method.shape), RATE)
    np.testing.assert_array_equal(y != 0, full_mask(method, key))


# Law 11: coins are shared exactly as claimed.


@every_mask
def test_coins_have_the_claimed_shape(method, key):
    for rate in (RATE, 0.0):
        assert method.mask(key, method.shape, rate).shape == method.coins


@every_fair_mask
@every_generator
def test_coins_drop_the_claimed_share(method, generator):
    key = GENERATORS[generator](8)
    mask = method.mask(key, method.shape, RATE)
    deviation = math.sqrt(RATE * (1 - RATE) / mask.size)
    assert abs(1 - mask.mean() - RATE) < 5 * deviation
    for rate in (0.01, 0.5, 0.99):
        draw = jax.jit(functools.partial(method.mask, shape=method.shape))
        keys = jax.random.split(key, 8)
        many = np.stack([draw(key, rate=jnp.float32(rate)) for key in keys])
        deviation = math.sqrt(rate * (1 - rate) / many.size)
        assert abs(1 - many.mean() - rate) < 5 * deviation


def correlation(first, second):
    """Of two 0.5-masks, in standard deviations of independent ones."""
    signs = np.where(first, 1, -1) * np.where(second, 1, -1)
    return abs(signs.mean()) * math.sqrt(signs.size)


@every_fair_mask
@every_generator
def test_coins_are_independent_along_and_across(method, generator):
    key = GENERATORS[generator](9)
    toss = jax.jit(lambda key: method.mask(key, method.shape, 0.5))
    draw = lambda key: np.asarray(toss(key))  # noqa: E731
    mask = draw(key)
    for axis, size in enumerate(mask.shape):
        if size > 1:
            shifted = np.roll(mask, 1, axis)
            assert correlation(mask, shifted) < 5, f"neighbours along axis {axis}"
    related = {
        "seeds": GENERATORS[generator](10),
        "split": jax.random.split(key)[0],
        "fold_in": jax.random.fold_in(key, 0),
    }
    for how, other in related.items():
        assert correlation(mask, draw(other)) < 5, how
    first, second = (draw(jax.random.fold_in(key, step)) for step in (1, 2))
    assert correlation(first, second) < 5


# Any other generator, as JAX's rbg, keeps the same laws.


@every(lambda method: method.name in ("dropout", "spatial-2d", "dropconnect"))
@pytest.mark.parametrize(
    "law",
    [
        test_one_key_one_mask,
        test_transforms,
        test_three_faces_give_the_same_array,
        test_the_mask_function_tells_who_is_dropped,
        test_coins_drop_the_claimed_share,
        test_coins_are_independent_along_and_across,
    ],
    ids=lambda law: law.__name__,
)
def test_other_generators_keep_the_laws(law, method):
    law(method, "rbg")


# Law 13: nothing public escapes the table.


def test_every_public_name_is_in_the_table():
    listed = {thing for method in METHODS for thing in method.public}
    elsewhere = {dj.apply_mask, dj.keep_mask, dj.fast_prng}
    elsewhere |= {dj.dropconnect_moments, dj.dropconnect_conv_moments}
    elsewhere |= {dj.mixout}  # tests/test_mixout.py
    elsewhere |= {dj.multi_sample_dropout, dj.multi_sample_dropout_mask}
    elsewhere |= {djl.MultiSampleDropout, djn.MultiSampleDropout}
    elsewhere |= {dj.concrete_dropout, dj.concrete_dropout_regularizer}
    elsewhere |= {djl.ConcreteDropout, djn.ConcreteDropout}
    elsewhere |= {djl.set_rates, djn.set_rates}  # tests/test_rates.py
    elsewhere |= {dj.dropconnect_gaussian, dj.dropconnect_conv_gaussian}
    elsewhere |= {dj.dot_product_attention}  # tests/test_attention.py
    elsewhere |= {djl.RecurrentDropout, djn.RecurrentDropout, djl.Zoneout, djn.Zoneout}
    elsewhere |= {dj.patch_dropout, djl.PatchDropout, djn.PatchDropout}
    elsewhere |= {dj.layer_drop, djl.LayerDrop, djn.LayerDrop}
    elsewhere |= {dj.drop_activation, dj.drop_activation_mask}
    elsewhere |= {djl.DropActivation, djn.DropActivation}
    elsewhere |= {dj.weighted_channel_dropout}  # tests/test_units.py
    elsewhere |= {dj.targeted_dropout}  # tests/test_targeted.py
    elsewhere |= {djl.WeightedChannelDropout, djn.WeightedChannelDropout}
    elsewhere |= {dj.word_dropout, dj.word_dropout_mask, dj.gaussian_noise}
    elsewhere |= {djl.WordDropout, djn.WordDropout}
    elsewhere |= {djl.GaussianNoise, djn.GaussianNoise}
    for room in (dj, djl, djn):
        for name in room.__all__:
            thing = getattr(room, name)
            assert thing in listed | elsewhere, f"{room.__name__}.{name}"
