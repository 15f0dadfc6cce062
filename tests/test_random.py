"""The generators: the bits of jax.random, counters past 2^32, golden masks."""

import functools
import hashlib

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import dropjax as dj
from dropjax._fast_prng import counter_key
from dropjax._random import (
    _high_product,
    _index_along_axes,
    _index_counted,
    _index_of_any_size,
    element_index,
    index_in_window,
    leaf_keys,
    normals,
    random_signed,
    random_uniform,
    random_words,
)
from tests import reference

FAST = functools.partial(jax.random.key, impl=dj.fast_prng)
SHAPES = [(), (0,), (1,), (7,), (1000,), (3, 5), (2, 3, 4, 5), (4, 0, 3), (1, 9, 1)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("seed", [0, 1, 2**32 - 1])
def test_threefry_written_out_gives_jaxs_bits(shape, seed):
    # Of a small seed's key the first word is 0; folded in, neither is.
    key = jax.random.fold_in(jax.random.key(seed, impl="threefry2x32"), 7)
    words = random_words(key, shape)
    np.testing.assert_array_equal(words, jax.random.bits(key, shape))
    uniform = random_uniform(key, shape)
    np.testing.assert_array_equal(uniform, (np.asarray(words) >> 8) / 2.0**24)


@pytest.mark.parametrize("stored", [False, True])
def test_signed_and_normal_numbers_come_from_the_same_words(stored):
    key, shape = jax.random.key(5, impl="threefry2x32"), (50, 21)
    odd = 2 * (np.asarray(random_words(key, shape)) >> 9).astype(np.int64) + 1
    signed = random_signed(key, shape, stored=stored)
    np.testing.assert_array_equal(signed, odd / 2.0**23 - 1)
    found = normals(key, shape, stored=stored)
    np.testing.assert_allclose(found, jax.random.normal(key, shape), rtol=1e-6)


@pytest.mark.parametrize("impl", ["threefry2x32", "rbg", "unsafe_rbg", dj.fast_prng])
@pytest.mark.parametrize("rate", [0.5, 0.1, 1 / 3, 1e-3, 0.999, 1e-7, 1 - 1e-7])
def test_masks_are_jaxs_bernoulli_for_every_key(impl, rate):
    key = jax.random.key(11, impl=impl)
    expected = jax.random.bernoulli(key, 1 - rate, (1000, 33))
    np.testing.assert_array_equal(dj.dropout_mask(key, (1000, 33), rate), expected)
    traced = jnp.float32(rate)
    expected = jax.random.bernoulli(key, 1 - traced, (1000, 33))
    np.testing.assert_array_equal(dj.keep_mask(key, (1000, 33), traced), expected)


def test_the_threshold_is_met_to_the_last_level():
    key = jax.random.key(11, impl="threefry2x32")
    levels = np.asarray(random_words(key, (100,)) >> np.uint32(9))
    for place in np.flatnonzero(levels >= 2**22)[:8]:
        keep = levels[place] / 2**23
        assert not dj.keep_mask(key, (100,), 1 - keep)[place]
        assert dj.keep_mask(key, (100,), 1 - keep - 2**-23)[place]


@pytest.mark.parametrize("impl", ["threefry2x32", dj.fast_prng], ids=str)
def test_a_mask_is_a_use_of_its_key(impl):
    """Called by itself; the laws try methods inside programs."""
    with jax.debug_key_reuse(True):
        key = jax.random.key(0, impl=impl)
        dj.keep_mask(key, (3,), 0.5)
        with pytest.raises(jax.errors.KeyReuseError):
            dj.keep_mask(key, (3,), 0.5)


def test_without_partitionable_threefry_the_bits_are_jaxs_too():
    key = jax.random.key(3, impl="threefry2x32")
    modern = dj.keep_mask(key, (101,), 0.5)
    with jax.threefry_partitionable(False):
        mask = dj.keep_mask(key, (101,), 0.5)
        expected = jax.random.bernoulli(key, 0.5, (101,))
    np.testing.assert_array_equal(mask, expected)
    assert not jnp.array_equal(mask, modern)


@pytest.mark.parametrize(
    "shape", [(2**17, 2**17), (3, 2**33), (2**20 + 7, 4099, 3), (5, 2**16, 2**16 + 1)]
)
@pytest.mark.parametrize("index_of", [element_index, _index_of_any_size])
def test_elements_past_two_to_the_32_have_their_own_counters(shape, index_of):
    """XLA computes only the elements that are asked for."""
    places = [[0] * len(shape), [size - 1 for size in shape]]
    places += [[1] + [0] * (len(shape) - 1), [size // 2 + 1 for size in shape]]

    key = jnp.uint32(2**32 - 1)
    for place in places:
        at = lambda: [words[tuple(place)] for words in index_of(shape, key)[:2]]  # noqa: B023,E731
        high, low = jax.jit(at)()
        expected = int(np.ravel_multi_index(place, shape))
        assert (int(high) << 32) + int(low) == expected


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_gpus_count_the_same_index(shape):
    key = jnp.uint32(2**32 - 1)
    for counted, along_axes in zip(
        _index_counted(shape, key), _index_along_axes(shape, key), strict=True
    ):
        np.testing.assert_array_equal(counted, along_axes, strict=True)


@pytest.mark.parametrize("traced", [False, True])
@pytest.mark.parametrize(
    "shape", [(5, 7, 3), (2**17, 2**17, 2), (2**31, 5, 4), (5, 2**16, 2**16 - 1)]
)
def test_a_window_has_the_indices_that_it_has_in_the_whole(shape, traced):
    key, sizes = jnp.uint32(2**32 - 1), (4, 3, 1)
    for start in ((0, 0, 0), (1, 0, 1), (0, 2, 0), np.subtract(shape, sizes).tolist()):
        own = np.array(start, np.uint32) if traced else start
        window = jax.jit(lambda own: index_in_window(shape, own, sizes, key))
        high, low = window(own) if traced else index_in_window(shape, own, sizes, key)
        places = np.indices(sizes) + np.reshape(start, (3, 1, 1, 1))
        expected = np.ravel_multi_index(tuple(places), shape)
        np.testing.assert_array_equal(high, expected >> 32)
        np.testing.assert_array_equal(low, expected % 2**32)


def test_the_first_axis_of_an_array_with_windows_may_be_symbolic():
    (rows,) = jax.export.symbolic_shape("rows")
    column = jax.ShapeDtypeStruct((rows,), jnp.uint32)

    @jax.jit
    def window(column):
        rows = column.shape[0]
        start, sizes = (0, 2**29 - 3, 2), (rows, 3, 1)
        return index_in_window((rows, 2**29, 5), start, sizes, column[0])

    high, low = jax.export.export(window)(column).call(jnp.zeros(4, jnp.uint32))
    places = np.indices((4, 3, 1)) + np.reshape((0, 2**29 - 3, 2), (3, 1, 1, 1))
    expected = np.ravel_multi_index(tuple(places), (4, 2**29, 5))
    np.testing.assert_array_equal(high, expected >> 32)
    np.testing.assert_array_equal(low, expected % 2**32)


@pytest.mark.parametrize("platform", ["cpu", "tpu", "cuda", "rocm"])
@pytest.mark.parametrize("impl", ["threefry2x32", dj.fast_prng], ids=["slow", "fast"])
def test_each_platform_has_its_own_form_of_the_index(platform, impl):
    """One iota in a GPU's kernel; elsewhere one along each axis, in any loop."""
    drop = jax.jit(lambda key, x: dj.dropout(key, x, 0.1))
    traced = drop.trace(jax.random.key(0, impl=impl), jnp.ones((30, 40)))
    program = traced.lower(lowering_platforms=(platform,)).as_text()
    counted = platform in ("cuda", "rocm")
    assert ("tensor<1200xui32>" in program) == counted
    assert ("stablehlo.iota dim = 0 : tensor<40xui32>" in program) != counted


def test_gpus_do_not_count_past_two_to_the_32():
    """Just above, where a counter of one word would start again."""
    draw = jax.jit(lambda key: dj.keep_mask(key, (2**16, 2**16 + 1), 0.5))
    traced = draw.trace(jax.random.key(0, impl="threefry2x32"))
    program = traced.lower(lowering_platforms=("cuda",)).as_text()
    assert "stablehlo.iota dim = 0 : tensor<65537xui32>" in program
    assert f"stablehlo.iota dim = 0 : tensor<{2**32 + 2**16}xui32>" not in program


def test_high_words_of_products():
    generator, most = np.random.default_rng(0), 2**32 - 1
    index = np.append(generator.integers(2**32, size=200), most).astype(np.uint32)
    for stride in (1, most, 2**32, 2**63 - 1, *generator.integers(2**48, size=20)):
        expected = [int(own) * int(stride) >> 32 & most for own in index]
        found = _high_product(jnp.asarray(index), int(stride))
        np.testing.assert_array_equal(found, np.uint32(expected))


def test_masks_past_two_to_the_32_elements_have_a_shape():
    shape = (2**18, 2**17)
    for key in (jax.random.key(0), FAST(0)):
        mask = jax.eval_shape(lambda key: dj.keep_mask(key, shape, 0.5), key)
        assert mask.shape == shape


def digest(mask):
    return hashlib.sha256(np.packbits(np.asarray(mask)).tobytes()).hexdigest()[:16]


GOLDEN = {
    ("threefry2x32", (64, 64), 0.5): "fd464a8e058feb3c",
    ("threefry2x32", (64, 64), 0.1): "01f8d86ed74b3eaf",
    ("fast", (64, 64), 0.5): "fabaaa232dcc08bc",
    ("fast", (64, 64), 0.1): "73ac79e06629f339",
    ("fast", (3, 5, 7, 11), 0.5): "51b63417a4e14f50",
}


@pytest.mark.parametrize("case", GOLDEN, ids=str)
def test_golden_masks(case):
    impl, shape, rate = case
    key = FAST(2013) if impl == "fast" else jax.random.key(2013, impl=impl)
    assert digest(dj.keep_mask(key, shape, rate)) == GOLDEN[case]


@pytest.mark.parametrize("count", [1, 2, 3])
def test_golden_leaf_keys(count):
    paths = ["a/kernel", "", "b"][:count]
    keys = leaf_keys(jax.random.key(0, impl="threefry2x32"), paths)
    words = [jax.random.key_data(key).tolist() for key in keys]
    expected = [[2436368763, 4003553891], [0, 0], [2497119830, 855218329]]
    assert words == expected[:count]


@pytest.mark.parametrize("index", [0, 1, 4095, 2**31 + 5, 2**32 - 1, 2**32, 2**33 + 7])
def test_the_fast_generator_keeps_to_its_formula(index):
    """Words as arrays have them: only the one that is asked for is computed."""
    key, shape = FAST(2013), (3, 2**32)
    place = np.unravel_index(index, shape)
    found = jax.jit(lambda key: jax.random.bits(key, shape)[place])(key)
    expected = reference.words(reference.FAST, jax.random.key_data(key).tolist(), index)
    assert int(found) == expected[0]


def test_the_fast_generator_does_what_a_generator_does():
    key = FAST(0)
    assert jax.random.split(key, (2, 3)).shape == (2, 3)
    assert jax.random.bits(key, (4,), jnp.uint8).dtype == jnp.uint8
    assert abs(jax.random.normal(key, (10_000,)).std() - 1) < 0.05
    assert abs(jax.random.uniform(key, (10_000,)).mean() - 0.5) < 0.02
    restored = jax.random.wrap_key_data(jax.random.key_data(key), impl=dj.fast_prng)
    np.testing.assert_array_equal(
        jax.random.bits(key, (9,)), jax.random.bits(restored, (9,))
    )


def test_the_fast_generators_words_of_64_bits_are_pairs_of_its_words():
    key = FAST(1)
    with jax.enable_x64(True):
        found = jax.random.bits(key, (50, 3), jnp.uint64)
    data = jax.random.key_data(key).tolist()
    high, low = reference.words(reference.FAST, data, range(300)).reshape(150, 2).T
    expected = high.astype(np.uint64) << np.uint64(32) | low
    np.testing.assert_array_equal(np.ravel(found), expected, strict=True)


def test_the_fast_generators_seeds_do_not_depend_on_x64():
    words = jax.random.bits(FAST(123), (8,), jnp.uint32)
    with jax.enable_x64(True):
        again = jax.random.bits(FAST(123), (8,), jnp.uint32)
        np.testing.assert_array_equal(words, again)
        large = jax.random.key_data(FAST(2**32 + 123))
    assert not jnp.array_equal(jax.random.key_data(FAST(123)), large)


def test_the_fast_generator_has_no_zero_at_the_origin():
    key = jax.random.wrap_key_data(jnp.zeros(4, jnp.uint32), impl=dj.fast_prng)
    assert jax.random.bits(key, (8,)).all()
    for child in (FAST(0), jax.random.fold_in(key, 0), jax.random.split(key)[0]):
        assert jax.random.key_data(child).all()


def test_fast_keys_are_pairs_of_threefry_keys():
    key = FAST(3)
    halves = jax.random.key_data(key).reshape(2, 2)
    for child, descend in (
        (jax.random.fold_in(key, 5), lambda half: jax.random.fold_in(half, 5)),
        (jax.random.split(key, 3)[1], lambda half: jax.random.split(half, 3)[1]),
    ):
        threefry = [jax.random.wrap_key_data(half) for half in halves]
        words = [jax.random.key_data(descend(half)) for half in threefry]
        expected = jnp.concatenate(words)
        np.testing.assert_array_equal(jax.random.key_data(child), expected)


def test_other_generators_give_a_threefry_key_to_masks_per_example():
    for impl in ("rbg", "unsafe_rbg"):
        key = jax.random.key(3, impl=impl)
        expected = jax.random.bits(key, (2,), jnp.uint32)
        np.testing.assert_array_equal(counter_key(key), expected, strict=True)


def test_streams_of_neighbouring_keys_are_no_permutations_of_each_other():
    first, second = (np.asarray(jax.random.bits(FAST(s), (4096,))) for s in (0, 1))
    assert len(np.intersect1d(first, second)) <= 1


def test_keys_of_the_fast_generator_go_through_vmap_and_scan():
    keys = jax.random.split(FAST(5), 4)
    expected = jnp.stack([jax.random.bits(key, (6,)) for key in keys])
    vmapped = jax.vmap(lambda key: jax.random.bits(key, (6,)))(keys)
    step = lambda carry, key: (carry, jax.random.bits(key, (6,)))  # noqa: E731
    _, scanned = jax.lax.scan(step, None, keys)
    np.testing.assert_array_equal(vmapped, expected)
    np.testing.assert_array_equal(scanned, expected)
    folded = jax.vmap(jax.random.fold_in, (None, 0))(keys[0], jnp.arange(3))
    one = jax.random.key_data(jax.random.fold_in(keys[0], 2))
    np.testing.assert_array_equal(jax.random.key_data(folded)[2], one)


def test_fast_keys_serve_flaxs_own_layers():
    x = jnp.ones((50, 50))
    rngs = {"dropout": FAST(0)}
    y = nn.Dropout(0.5, deterministic=False).apply({}, x, rngs=rngs)
    assert 0.4 < (y == 0).mean() < 0.6
    layer = nnx.Dropout(0.5, rngs=nnx.Rngs(dropout=FAST(0)))
    assert not jnp.array_equal(layer(x), layer(x))
