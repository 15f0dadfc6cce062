"""The library's promise: every law, over every method and every face of it."""

import functools
import itertools
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
from tests.compilations import in_third_call
from tests.methods import METHODS

RATE = 0.3
INEXACT = ("float32", "bfloat16", "float16", "complex64")
GENERATORS = {
    "threefry": functools.partial(jax.random.key, impl="threefry2x32"),
    "fast": functools.partial(jax.random.key, impl=dj.fast_prng),
    "rbg": functools.partial(jax.random.key, impl="rbg"),
}
DRAWN_FOR_THE_BATCH = ("cutout", "random_erasing", "spec_augment", "subset_branch")
PLATFORMS = ("cpu", "cuda", "rocm", "tpu")


def anything(method):
    return True


def every(belongs, **choices):
    """All methods of a kind, each with its own choices, as of faces or dtypes."""
    cases = []
    for method in filter(belongs, METHODS):
        marks = [pytest.mark.slow] * method.slow
        for chosen in itertools.product(*(own(method) for own in choices.values())):
            name = "-".join((*chosen, method.name))
            cases.append(pytest.param(*chosen, method, marks=marks, id=name))
    return pytest.mark.parametrize((*choices, "method"), cases)


def every_face(belongs, **choices):
    return every(belongs, **choices, face=lambda method: method.faces)


def taken(*dtypes):
    return lambda method: [dtype for dtype in dtypes if method.takes(dtype)]


def refused(*dtypes):
    return lambda method: [dtype for dtype in dtypes if not method.takes(dtype)]


def is_masked_activation(method):
    return method.mask and method.smooth and not method.product


def is_plain(method):
    return method.mask and method.fair and method.plain


def takes_traced_rates(method):
    return method.rated and not method.static


every_method = every(anything)
every_smooth = every(lambda method: method.smooth)
every_activation = every(lambda method: method.smooth and not method.product)
every_mask = every(lambda method: method.mask)
every_fair_mask = every(lambda method: method.mask and method.fair)
every_generator = pytest.mark.parametrize("generator", ["threefry", "fast"])


@pytest.fixture
def key():
    return jax.random.key(2013)


def full_mask(method, key, rate=RATE):
    if method.mask is None:
        return None
    shape = method.output or method.shape
    mask = np.asarray(method.mask(key, method.shape, rate))
    for axis, side in enumerate(method.block):
        mask = np.repeat(mask, side, axis).take(range(shape[axis]), axis)
    return jnp.broadcast_to(mask, shape)


def assert_same(method, y, expected, err_msg=""):
    """To the last bit where all programs agree on it, on any processor."""
    atol = method.last_bits(expected)
    np.testing.assert_allclose(y, expected, 0, atol, err_msg=err_msg)


def assert_as_defined(method, y, expected):
    """To the last bit where the definition is one product."""
    if method.plain:
        np.testing.assert_array_equal(y, expected)
    else:
        np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-6)


# Law 1: off is free.


@every_face(anything)
def test_off_needs_no_key_and_returns_x_itself(method, face):
    x = method.array()
    drop, whole = getattr(method, face), method.whole(x)
    flagged = [] if method.off else [(RATE, True)]
    for rate, deterministic in flagged + [(0, False), (0.0, False)] * method.rated:
        y = drop(None, x, rate, deterministic=deterministic)
        itself = whole is x and not method.product
        assert y is x if itself else jnp.array_equal(y, whole)


@every_method
def test_off_draws_nothing(method):
    flags = [(RATE, True)] + [(0.0, False)] * method.rated

    def off(x):
        return [method.function(None, x, rate, deterministic=on) for rate, on in flags]

    assert "random" not in str(jax.make_jaxpr(off)(method.array()))


@every_mask
def test_an_off_mask_keeps_all_and_needs_no_key(method):
    assert method.mask(None, method.shape, 0.0).all()
    assert method.mask(None, method.shape, RATE, deterministic=True).all()


@every_face(lambda method: method.off)
def test_what_is_not_x_itself_when_off_is_the_mean(method, face):
    x = method.array()
    y = getattr(method, face)(None, x, RATE, deterministic=True)
    if method.hole:  # The mean of two, which XLA may fuse.
        np.testing.assert_allclose(y, method.off(x, RATE), rtol=1e-6)
    else:
        assert_as_defined(method, y, method.off(x, RATE))


@every_face(lambda method: method.certain)
def test_rate_one_drops_everything_without_a_key(method, face):
    x = method.array()
    np.testing.assert_array_equal(getattr(method, face)(None, x, 1), method.filling(x))


# Law 2: same shape, same dtype.


@every_face(anything, dtype=taken(*INEXACT, "int32", "uint8"))
def test_shape_and_dtype_are_kept(method, face, dtype, key):
    x = method.array(dtype)
    drop = getattr(method, face)
    y, still = drop(key, x, RATE), drop(key, x, RATE, deterministic=True)
    assert (y.shape, y.dtype) == (method.output or x.shape, x.dtype)
    off = method.off(method.array(), RATE) if method.off else x
    assert (still.shape, still.dtype) == (off.shape, x.dtype)


def weakly_typed(x):
    """The same numbers, of a type that gives way as a Python number's does."""
    zero = 0 if jnp.issubdtype(x.dtype, np.integer) else 0.0
    return jnp.full(x.shape, zero).at[...].set(x)


@every_face(anything)
def test_weak_types_stay_weak(method, face, key):
    x, drop = method.array(), getattr(method, face)
    weak = weakly_typed(x)
    assert jax.typeof(weak).weak_type
    y, off = drop(key, weak, RATE), drop(key, weak, RATE, deterministic=True)
    assert jax.typeof(y).weak_type == jax.typeof(off).weak_type
    assert jax.typeof(off).weak_type or method.product
    np.testing.assert_array_equal(y, drop(key, x, RATE))


@every(anything, dtype=taken("float64", "complex128"))
def test_double_precision_is_kept_and_has_the_same_mask(method, dtype, key):
    half = {"float64": "float32", "complex128": "complex64"}[dtype]
    single = method.function(key, method.array(half), RATE)
    with jax.enable_x64(True):
        x = method.array(dtype)
        y = method.function(key, x, RATE)
        assert y.dtype == x.dtype
        if method.mask:
            expected = method.expect(full_mask(method, key), x, RATE)
            np.testing.assert_allclose(y, expected, rtol=1e-14, atol=1e-14)
        np.testing.assert_allclose(y, single, rtol=1e-5, atol=1e-5)


@every(
    lambda method: method.refuses,
    dtype=refused("float32", "complex64", "int32", "bool"),
)
def test_other_kinds_of_numbers_are_refused(method, dtype, key):
    ways = ("a floating-point or complex array", "an array of integers", "a real dtype")
    rule = f"must be (of )?({'|'.join(ways)}|an array of numbers)|selects no leaf"
    with pytest.raises((TypeError, ValueError), match=rule):
        method.function(key, jnp.ones(method.shape, dtype), RATE)


@every_face(lambda method: method.mask, dtype=taken("uint8", "int16", "int32"))
def test_integers_are_kept_or_filled(method, face, dtype, key):
    x = method.array(dtype)
    y = getattr(method, face)(key, x, RATE)
    expected = jnp.where(full_mask(method, key), x, method.filling(x))
    np.testing.assert_array_equal(y, expected)
    if takes_traced_rates(method):
        traced = jax.jit(method.function)(key, x, jnp.float32(RATE))
        np.testing.assert_array_equal(traced, expected)


@every_method
def test_empty_arrays_stay_empty(method, key):
    x = method.array()
    # A window has no size 0.
    first = [] if method.name.startswith("dropconnect_conv") else [x[:0]]
    for empty in (*first, x[..., :0]):
        y = method.function(key, empty, RATE)
        assert (y.size, y.dtype) == (0, empty.dtype)


# Law 3: select, never multiply.


@every_face(is_masked_activation)
@pytest.mark.parametrize("poison", [np.nan, np.inf, -np.inf])
def test_poison_vanishes_where_dropped_and_stays_where_kept(method, face, poison, key):
    x = jnp.full(method.shape, poison)
    y = getattr(method, face)(key, x, RATE)
    expected = method.expect(full_mask(method, key), x, RATE)
    assert_as_defined(method, y, expected)
    assert np.isfinite(y).any() or not method.heals


@every(is_masked_activation)
@pytest.mark.parametrize("poison", [np.nan, np.inf])
def test_gradients_are_selected_too(method, poison, key):
    x = method.array()
    y, back = jax.vjp(lambda x: method.function(key, x, RATE), x)
    poisoned = jnp.full_like(y, poison)
    (gradient,) = back(poisoned)
    mask = full_mask(method, key)
    _, back = jax.vjp(lambda x: method.expect(mask, x, RATE), x)
    np.testing.assert_array_equal(gradient, back(poisoned)[0])
    assert np.isfinite(gradient).any() or not method.heals


# Law 4: survivors are exact.


@every_face(lambda method: method.mask)
def test_survivors_are_exact(method, face, key):
    x = method.array()
    y = getattr(method, face)(key, x, RATE)
    assert_as_defined(method, y, method.expect(full_mask(method, key), x, RATE))


@every(
    lambda method: method.mask and method.once,
    dtype=taken("bfloat16", "float16"),
)
def test_half_precision_is_scaled_in_float32_and_rounded_once(method, dtype, key):
    x = method.array(dtype)
    y = method.function(key, x, 0.1)
    wide = method.expect(full_mask(method, key, 0.1), x.astype(np.float32), 0.1)
    error = method.last_bits(wide)
    assert (y >= (wide - error).astype(x.dtype)).all()
    assert (y <= (wide + error).astype(x.dtype)).all()


# Law 5: rates.


@every_face(lambda method: method.rated)
@pytest.mark.parametrize("rate", [-0.1, math.nan, math.inf])
def test_a_negative_or_endless_rate_is_refused(method, face, rate, key):
    rule = r"rate is the .* must lie in \[0, 1\], got"
    if method.noise:
        rule = f"{method.noise} must be finite and 0 or more, got"
    with pytest.raises(ValueError, match=rule):
        getattr(method, face)(key, method.array(), rate)


@every_face(lambda method: method.rated and not method.noise)
@pytest.mark.parametrize("rate", [1.1, np.float64(2)])
def test_a_rate_above_1_is_refused(method, face, rate, key):
    with pytest.raises(ValueError, match=r"rate is the .* must lie in \[0, 1\], got"):
        getattr(method, face)(key, method.array(), rate)


@every_face(takes_traced_rates)
def test_an_array_that_can_be_seen_is_refused_as_a_number_is(method, face, key):
    x, drop = method.array(), getattr(method, face)
    for rate in (-0.5, math.nan, *[1.5] * (not method.noise)):
        with pytest.raises(ValueError, match="must") as of_number:
            drop(key, x, rate)
        with pytest.raises(ValueError, match="must") as of_array:
            drop(key, x, jnp.float32(rate))
        assert str(of_array.value) == str(of_number.value)


@every(takes_traced_rates)
def test_traced_rates_need_no_retracing_and_are_finite_at_both_ends(method, key):
    x = method.array()
    traces = []

    @jax.jit
    def value_and_gradients(x, rate):
        traces.append(rate)
        loss = lambda x, rate: method.function(key, x, rate).sum()  # noqa: E731
        gradients = jax.grad(loss, (0, 1))(x, rate) if method.smooth else (x, 0)
        return method.function(key, x, rate), *gradients

    ends = (1.0, 1.5) if method.certain else ()
    for rate in (0.0, 0.25, *ends, *[-0.5] * (not method.noise)):
        y, gradient, rate_gradient = value_and_gradients(x, jnp.float32(rate))
        assert np.isfinite(y).all()
        assert np.isfinite(gradient).all()
        assert rate_gradient == 0
        clipped = min(max(rate, 0.0), 1.0)
        assert_as_defined(method, y, method.function(key, x, clipped))
    assert len(traces) == 1


@every_face(lambda method: takes_traced_rates(method) and method.smooth)
def test_a_nan_rate_is_seen(method, face, key):
    drop = jax.jit(functools.partial(getattr(method, face), key, method.array()))
    y = drop(jnp.float32(jnp.nan))
    assert np.isnan(y).any()


@every(takes_traced_rates)
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_a_half_precision_rate_is_taken_as_float32(method, dtype, key):
    rate = jnp.asarray(0.25, dtype)
    x = method.array()
    assert_as_defined(
        method, method.function(key, x, rate), method.function(key, x, 0.25)
    )


@every(lambda method: method.smooth and not method.others)
def test_numpys_doubles_are_rounded_as_jax_rounds_them(method, key):
    x, rate = method.array(), 0.25 if method.static else jnp.float32(0.25)
    y = method.function(key, np.asarray(x, np.float64), rate)
    np.testing.assert_array_equal(y, method.function(key, x, rate))


@every(lambda method: is_plain(method) and method.several)
def test_an_array_of_rates_gives_each_coin_its_own(method, key):
    rates = jnp.linspace(0, 1, method.coins[-1])
    rates = rates.reshape((1,) * (len(method.coins) - 1) + (-1,))
    x = method.array()
    y = method.function(key, x, rates)
    each = [method.function(key, x, rate) for rate in rates.ravel()]
    if method.coins[-1] == method.shape[-1]:
        for index in (0, 1, method.shape[-1] // 2, -1):
            np.testing.assert_array_equal(y[..., index], each[index][..., index])
    with pytest.raises(ValueError, match="must broadcast to the mask's shape"):
        method.function(key, x, jnp.full((2, *method.shape), 0.5))


# Law 6: one key, one use.


@every_method
@every_generator
def test_one_key_one_mask(method, generator):
    # A single coin may well fall as the last one did.
    keys = jax.random.split(GENERATORS[generator](7), 8 if method.coins == () else 2)
    x = method.array()
    drop = lambda key: method.function(key, x, RATE)  # noqa: E731
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
        assert_same(method, loop, drawn[name], name)
    assert (loop != loop[:1]).any()


@every_method
def test_raw_and_typed_keys_are_the_same(method, key):
    x = method.array()
    raw = jax.random.key_data(key)
    for given in (raw, np.asarray(raw)):
        np.testing.assert_array_equal(
            method.function(key, x, RATE), method.function(given, x, RATE)
        )


@every_method
@every_generator
def test_key_reuse_is_noticed(method, generator):
    x = method.array()

    def twice(first, second):
        return method.function(first, x, RATE) + method.function(second, x, RATE)

    with jax.debug_key_reuse(True):
        first, second = jax.random.split(GENERATORS[generator](0))
        jax.jit(twice)(first, second)
        if method.smooth:
            jax.jit(jax.grad(lambda x, key: method.function(key, x, RATE).sum()))(
                x, GENERATORS[generator](1)
            )
        if not method.folds:
            with pytest.raises(jax.errors.KeyReuseError):
                jax.jit(lambda key: twice(key, key))(GENERATORS[generator](2))


@every(
    lambda method: (
        method.mask
        and not method.product
        and method.coins[:1] == method.shape[:1]
        and method.name not in DRAWN_FOR_THE_BATCH
        and not method.name.endswith(("-groups", "-blocks"))
    )
)
def test_more_examples_at_the_end_change_no_mask_before(method, key):
    first, *rest = method.shape
    few, more = (method.mask(key, (n, *rest), RATE) for n in (first, first + 3))
    np.testing.assert_array_equal(few, more[:first])


# Law 7: all transforms.


@every_method
@every_generator
def test_vmap_shares_the_mask_of_a_key(method, generator):
    key, x = GENERATORS[generator](5), method.array()
    drop = lambda x: method.function(key, x, RATE)  # noqa: E731
    mapped = jax.jit(jax.vmap(drop))(jnp.stack([x, x + x]))
    assert_same(method, mapped, jnp.stack([drop(x), drop(x + x)]))


@every_smooth
@every_generator
def test_derivatives(method, generator):
    key, x = GENERATORS[generator](5), method.array()
    drop = lambda x: method.function(key, x, RATE)  # noqa: E731

    @jax.jit
    def derivatives(x):
        ones = jnp.ones_like(x)
        y, back = jax.vjp(jax.checkpoint(drop), x)
        _, linear = jax.linearize(drop, x)
        return {
            "jvp": jax.jvp(drop, (x,), (ones,))[1],
            "grad": jax.grad(lambda x: drop(x).sum())(x),
            "remat": back(jnp.ones_like(y))[0],
            "linearize": linear(ones),
        }

    if method.mask:
        mask = full_mask(method, key)
        explicit = functools.partial(method.expect, mask, rate=RATE)
    else:
        explicit = drop
    y, push = jax.linearize(explicit, x)
    pull = jax.linear_transpose(push, x)
    pushed, pulled = push(jnp.ones_like(x)), pull(jnp.ones_like(y))[0]
    wanted = {"jvp": pushed, "linearize": pushed, "grad": pulled, "remat": pulled}
    for name, derivative in derivatives(x).items():
        np.testing.assert_allclose(
            derivative, wanted[name], rtol=1e-5, atol=1e-6, err_msg=name
        )


@every_smooth
def test_second_derivatives(method, key):
    x = method.array()

    def loss(scale):
        return (method.function(key, scale * x, RATE) ** 2).sum()

    y, slope = jax.jvp(lambda s: method.function(key, s * x, RATE), (1.0,), (1.0,))
    if method.plain and method.mask and not method.hole:
        np.testing.assert_array_equal(slope, y)
    expected = 2 * (slope**2).sum()
    twice = jax.jit(lambda s: (jax.hessian(loss)(s), jax.grad(jax.grad(loss))(s)))
    np.testing.assert_allclose(twice(1.0), [expected, expected], rtol=1e-4)


@every_method
@every_generator
def test_export_to_every_platform(method, generator):
    def value_and_gradient(data, x):
        key = jax.random.wrap_key_data(data, impl=implementation)
        drop = lambda x: method.function(key, x, RATE).sum()  # noqa: E731
        return jax.value_and_grad(drop)(x) if method.smooth else (drop(x), x)

    key, x = GENERATORS[generator](3), method.array()
    implementation, data = jax.random.key_impl(key), jax.random.key_data(key)
    jitted = jax.jit(value_and_gradient)
    exported = export.export(jitted, platforms=PLATFORMS)(data, x)
    restored = export.deserialize(exported.serialize())
    value, gradient = jitted(data, x)
    restored_value, restored_gradient = restored.call(data, x)
    np.testing.assert_array_equal(gradient, restored_gradient)
    np.testing.assert_allclose(value, restored_value, rtol=1e-5)


def export_symbolic(function, key, x, shape):
    """A program for every shape, and the program for a shape that is known."""
    implementation, data = jax.random.key_impl(key), jax.random.key_data(key)

    def on_and_off(data, x):
        key = jax.random.wrap_key_data(data, impl=implementation)
        off = function(None, x, RATE, deterministic=True)
        return function(key, x, RATE), off

    jitted = jax.jit(on_and_off)
    symbolic = jax.ShapeDtypeStruct(export.symbolic_shape(shape, like=x.shape), x.dtype)
    exported = export.export(jitted)(data, symbolic)
    restored = export.deserialize(exported.serialize())
    return functools.partial(restored.call, data), functools.partial(jitted, data)


def assert_same_for_each(method, programs, arrays):
    for x in arrays:
        both = zip(*(program(x) for program in programs), strict=True)
        for symbolic, known in both:
            assert_same(method, symbolic, known, f"shape {x.shape}")


@every_face(lambda method: not method.weights)
def test_export_with_a_symbolic_batch(method, face, key):
    x = method.array()
    if method.counts_batch:
        with pytest.raises(ValueError, match="x must have a known size"):
            export_symbolic(getattr(method, face), key, x, "b, ...")
        return
    programs = export_symbolic(getattr(method, face), key, x, "b, ...")
    sizes = (1, 2, len(x)) if face == "function" else (2,)
    assert_same_for_each(method, programs, [x[:size] for size in sizes])


@every(lambda method: not method.weights)
@every_generator
def test_export_with_no_size_known(method, generator):
    x = method.array()
    names = ", ".join("bcdef"[: x.ndim])
    draw = (method.function, GENERATORS[generator](3), x, names)
    if method.counts:
        with pytest.raises(ValueError, match="must have a known size"):
            export_symbolic(*draw)
    else:
        smaller = x[tuple(slice(max(1, size - 1)) for size in x.shape)]
        assert_same_for_each(method, export_symbolic(*draw), [smaller, x])


# Law 8: the backward pass keeps the key, not the mask.


@every_activation
@every_generator
def test_no_residual_of_the_arrays_size(method, generator):
    x, key = method.array(), GENERATORS[generator](1)
    _, back = jax.vjp(lambda x: method.function(key, x, RATE), x)
    leaves = jax.tree.leaves(back)
    # The key, the rate, and a small table where the definition has one.
    saved = sum(leaf.size for leaf in leaves)
    assert saved <= (16 if "drop_block" in method.name else method.saved)
    # A key is one of the caller's, never one of a generator that is used inside.
    dtypes = {leaf.dtype for leaf in leaves}
    keys = {dtype for dtype in dtypes if jnp.issubdtype(dtype, jax.dtypes.prng_key)}
    assert keys <= {key.dtype}


@every(
    lambda method: (
        method.smooth
        and method.mask
        and not method.product
        and method.coins != ()
        and method.redraws
    )
)
@every_generator
def test_the_backward_pass_hides_its_key_and_none_of_its_numbers(method, generator):
    """A compiler that saw one mask in both passes would store it, as on a GPU."""
    x, key = method.array(), GENERATORS[generator](1)
    slope = jax.jit(jax.grad(lambda x, key: method.function(key, x, RATE).sum()))
    program = slope.lower(x, key).as_text().splitlines()
    hidden = [line for line in program if "optimization_barrier" in line]
    words = jax.random.key_data(key).size
    assert any(line.endswith(f" : tensor<{words}xui32>") for line in hidden)
    assert not any("f32>" in line for line in hidden)


@every_activation
def test_no_residual_of_a_weakly_typed_array(method, key):
    x = weakly_typed(method.array())
    _, back = jax.vjp(lambda x: method.function(key, x, RATE), x)
    saved = sum(leaf.size for leaf in jax.tree.leaves(back))
    assert saved <= (16 if "drop_block" in method.name else method.saved)


@every(lambda method: method.off and not method.product)
def test_no_residual_of_what_is_not_x_itself_when_off(method):
    off = lambda x: method.function(None, x, RATE, deterministic=True)  # noqa: E731
    _, back = jax.vjp(off, method.array())
    assert sum(leaf.size for leaf in jax.tree.leaves(back)) <= method.saved


# Law 9: any mesh, no talk.


@every_method
@every_generator
@pytest.mark.parametrize("axis_type", ["Auto", "Explicit"])
def test_any_mesh_draws_the_same_mask_without_talk(method, generator, axis_type):
    kind = (getattr(jax.sharding.AxisType, axis_type),)
    mesh = jax.make_mesh((2,), ("data",), kind, devices=jax.devices()[:2])
    x, key = method.array(), GENERATORS[generator](1)
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
            compiled = jitted.lower(key, shards).compile()
            sharded, text = compiled(key, shards), compiled.as_text()
        assert_same(method, y, sharded)
        if not method.product:
            samples = [None] * (y.ndim - x.ndim)
            own = NamedSharding(mesh, PartitionSpec(*samples, *spec))
            assert sharded.sharding.is_equivalent_to(own, y.ndim)
            for talk in ("all-reduce", "all-gather", "all-to-all", "permute"):
                assert talk not in text


@every(lambda method: not method.product)
def test_shard_map_draws_local_masks_from_local_keys(method, key):
    auto = (jax.sharding.AxisType.Auto,)
    mesh = jax.make_mesh((2,), ("data",), auto, devices=jax.devices()[:2])
    spec = PartitionSpec("data")

    @jax.jit
    @functools.partial(jax.shard_map, mesh=mesh, in_specs=spec, out_specs=spec)
    def local(x):
        own = jax.random.fold_in(key, lax.axis_index("data"))
        return method.function(own, x[0], RATE)[None]

    x = method.array()
    y = local(jnp.stack([x, x]))
    for device in range(2):
        own = jax.random.fold_in(key, device)
        assert_same(method, y[device], method.function(own, x, RATE))


# Law 10: three faces, one mask.


@every(lambda method: len(method.faces) > 1)
@every_generator
def test_three_faces_give_the_same_array(method, generator):
    key, x = GENERATORS[generator](4), method.array()
    for deterministic in (False, True):
        y, *others = [
            getattr(method, face)(key, x, RATE, deterministic=deterministic)
            for face in method.faces
        ]
        for other in others:
            np.testing.assert_array_equal(y, other)


@every(is_plain)
@every_generator
def test_the_mask_function_tells_who_is_dropped(method, generator):
    key, x = GENERATORS[generator](6), method.array()
    y = method.function(key, x, RATE)
    np.testing.assert_array_equal(y != method.filling(x), full_mask(method, key))


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
    drawn = jax.jit(lambda key: method.mask(key, method.shape, 0.5))
    draw = lambda key: np.asarray(drawn(key))  # noqa: E731
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
        test_vmap_shares_the_mask_of_a_key,
        test_derivatives,
        test_three_faces_give_the_same_array,
        test_the_mask_function_tells_who_is_dropped,
        test_coins_drop_the_claimed_share,
        test_coins_are_independent_along_and_across,
    ],
    ids=lambda law: law.__name__,
)
def test_other_generators_keep_the_laws(law, method):
    law(method, "rbg")


# These have arrays besides x's coins, or draw without coins, or draw several times.
@every(
    lambda method: method.name in ("mixout", "concrete_dropout", "multi_sample_dropout")
)
def test_other_generators_draw_one_mask(method):
    test_one_key_one_mask(method, "rbg")


# Law 12: an eager call compiles what it needs once.


@every_face(anything)
@pytest.mark.parametrize("deterministic", [False, True])
def test_the_third_eager_call_compiles_nothing(method, face, deterministic):
    drop = functools.partial(getattr(method, face), deterministic=deterministic)
    x = method.array()
    for rate in (RATE, *[jnp.float32(RATE)] * takes_traced_rates(method)):
        assert in_third_call(lambda key: drop(key, x, rate)) == 0  # noqa: B023


# Law 13: nothing public escapes the table.


def test_every_public_name_is_in_the_table():
    listed = {thing for method in METHODS for thing in method.public}
    # These act on no array: what all methods are made of, and what changes layers.
    elsewhere = {dj.apply_mask, dj.keep_mask, dj.fast_prng}  # tests/test_apply.py
    elsewhere |= {dj.selected}  # tests/test_selection.py
    elsewhere |= {djl.rates, djn.set_rates}  # tests/test_rates.py
    # These drop nothing: they are of a Gaussian in the masks' place, and of a cost.
    elsewhere |= {dj.dropconnect_moments, dj.dropconnect_conv_moments}
    elsewhere |= {dj.dropconnect_gaussian, dj.dropconnect_conv_gaussian}
    elsewhere |= {dj.concrete_dropout_regularizer}  # tests/test_concrete_dropout.py
    for room in (dj, djl, djn):
        for name in room.__all__:
            thing = getattr(room, name)
            assert thing in listed | elsewhere, f"{room.__name__}.{name}"
