"""What fills the holes of images: numbers, one per channel, or noise."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import dropjax as dj
import dropjax.linen as djl
import dropjax.nnx as djn
from tests.methods import array

KEY = jax.random.key(1708)
SHAPE = (6, 16, 12, 3)
ERASERS = {
    "cutout": (dj.cutout, dj.cutout_mask, djl.Cutout, djn.Cutout, {"size": 7}),
    "random_erasing": (
        dj.random_erasing,
        dj.random_erasing_mask,
        djl.RandomErasing,
        djn.RandomErasing,
        {},
    ),
}
every_eraser = pytest.mark.parametrize("eraser", ERASERS)


def filled(eraser, x, fill, **more):
    """The mask, and x with its holes filled, by all faces alike."""
    function, mask, linen, nnx_layer, options = ERASERS[eraser]
    kept = np.broadcast_to(mask(KEY, x.shape, 1.0, **options, **more), x.shape)
    options = {**options, **more, "fill": fill}
    y = function(KEY, x, 1.0, **options)
    of_linen = linen(1.0, **options).apply({}, x, deterministic=False, rng=KEY)
    of_nnx = nnx_layer(1.0, **options)(x, rngs=KEY)
    traced = jax.jit(functools.partial(function, **options))(KEY, x, jnp.float32(1))
    for other in (of_linen, of_nnx, traced):
        np.testing.assert_array_equal(y, other)
    assert y.dtype == x.dtype
    return kept, y


@every_eraser
@pytest.mark.parametrize(
    ("dtype", "kind", "channel_axis"),
    [
        ("float32", tuple, -1),
        ("uint8", list, 1),
        ("uint8", np.asarray, -1),
        ("bfloat16", jnp.asarray, 1),
    ],
)
def test_each_channel_has_a_value_of_its_own(eraser, dtype, kind, channel_axis):
    x = jnp.moveaxis(array(SHAPE, dtype), -1, channel_axis)
    values = np.array([3, 1, 2], jnp.dtype(dtype))
    fill = kind(values) if "array" in kind.__name__ else kind([3, 1, 2])
    kept, y = filled(eraser, x, fill, channel_axis=channel_axis)
    own = values.reshape([3 if n == channel_axis % 4 else 1 for n in range(4)])
    np.testing.assert_array_equal(y, jnp.where(kept, x, own))


@every_eraser
@pytest.mark.parametrize(
    "dtype", ["float32", "bfloat16", "complex64", "uint8", "int16"]
)
def test_noise_differs_in_every_element_and_leaves_the_boxes(eraser, dtype):
    x = array(SHAPE, dtype)
    kept, y = filled(eraser, x, "random")
    np.testing.assert_array_equal(jnp.where(kept, x, y), y)
    assert np.asarray(y != x)[~kept].mean() > 0.9
    assert len(np.unique(np.asarray(y)[~kept])) > 100
    again = ERASERS[eraser][0](
        jax.random.fold_in(KEY, 1), x, 1.0, fill="random", **ERASERS[eraser][4]
    )
    assert not jnp.array_equal(y, again)


def noise(dtype, generator=None):
    """A map that is erased as a whole."""
    key = jax.random.key(5, impl=generator)
    x = jnp.zeros((4, 64, 64, 3), dtype)
    return np.asarray(
        dj.random_erasing(key, x, 1.0, area=(1.0, 1.0), ratio=(1, 1), fill="random")
    )


@pytest.mark.parametrize("generator", ["threefry2x32", dj.fast_prng, "rbg"])
def test_noise_is_standard_normal_in_floats(generator):
    y = noise("float32", generator)
    assert abs(y.mean()) < 5 / np.sqrt(y.size)
    assert abs(y.var() - 1) < 5 * np.sqrt(2 / y.size)
    assert abs((y**4).mean() - 3) < 5 * np.sqrt(96 / y.size)
    parts = noise("complex64", generator)
    assert abs((np.abs(parts) ** 2).mean() - 1) < 5 / np.sqrt(y.size)
    assert abs((parts.real * parts.imag).mean()) < 5 * 0.5 / np.sqrt(y.size)


@pytest.mark.parametrize("generator", ["threefry2x32", dj.fast_prng, "rbg"])
@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "int32"])
def test_noise_is_uniform_over_the_numbers_of_an_integer_dtype(dtype, generator):
    limits, y = jnp.iinfo(dtype), noise(dtype, generator)
    cells = np.floor((y.astype(float) - limits.min) / 2.0 ** (limits.bits - 6))
    counts = np.bincount(cells.astype(int).ravel(), minlength=64)
    expected = y.size / 64
    statistic = ((counts - expected) ** 2 / expected).sum()
    assert abs(statistic - 63) < 5 * np.sqrt(2 * 63)
    if limits.bits == 8:
        assert set(np.unique(y)) == set(range(limits.min, limits.max + 1))


def test_noise_of_64_bits():
    with jax.enable_x64(True):
        y = noise("int64")
    assert y.dtype == np.int64
    assert abs((y < 0).mean() - 0.5) < 2.5 / np.sqrt(y.size)
    assert abs(((y & 1) == 1).mean() - 0.5) < 2.5 / np.sqrt(y.size)
    assert abs(((y >> 32 & 1) == 1).mean() - 0.5) < 2.5 / np.sqrt(y.size)


def test_noise_is_one_use_of_a_key():
    erase = functools.partial(dj.random_erasing, fill="random")
    x = array(SHAPE)
    with jax.debug_key_reuse(True):
        jax.jit(lambda key: erase(key, x, 0.5))(jax.random.key(0))
        with pytest.raises(jax.errors.KeyReuseError):
            jax.jit(lambda key: erase(key, x, 0.5) + erase(key, x, 0.5))(KEY)


def test_the_backward_pass_keeps_no_noise():
    x = array(SHAPE)
    y, back = jax.vjp(lambda x: dj.cutout(KEY, x, 1.0, size=7, fill="random"), x)
    assert sum(leaf.size for leaf in jax.tree.leaves(back)) <= 8
    mask = dj.cutout_mask(KEY, SHAPE, 1.0, size=7)
    (slope,) = back(jnp.ones_like(y))
    np.testing.assert_array_equal(slope, jnp.broadcast_to(mask, SHAPE))


def test_a_nan_rate_keeps_all_integers():
    x = array(SHAPE, "uint8")
    erase = jax.jit(functools.partial(dj.random_erasing, KEY, x))
    y = erase(jnp.float32(jnp.nan))
    np.testing.assert_array_equal(y, x)


@pytest.mark.parametrize("dtype", ["uint8", "int32", "int8"])
def test_patches_of_integers(dtype):
    x = array((3, 12, 2), dtype)
    y, indices = dj.patch_dropout(KEY, x, 0.5, prefix_tokens=1)
    assert y.dtype == x.dtype
    np.testing.assert_array_equal(y, jnp.take_along_axis(x, indices[..., None], 1))
