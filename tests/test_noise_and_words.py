"""What is particular to noise with a deviation, and to tokens and their tables."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import dropjax as dj
import dropjax.linen as djl
import dropjax.nnx as djn
from tests.methods import array

X = array((30, 40))
TOKENS = jnp.arange(1200).reshape(30, 40) % 50
PROTECTED = (0, 7)


def noise(key, x, amount, **flag):
    return dj.gaussian_noise(key, x, amount, **flag)


def words(key, x, amount, **flag):
    return dj.word_dropout(key, x, amount, unknown_id=1, protected=PROTECTED, **flag)


@pytest.fixture
def key():
    return jax.random.key(2013)


def test_words_are_replaced_as_the_mask_says(key):
    mask = dj.word_dropout_mask(key, TOKENS.shape, 0.4)
    kept = mask | (TOKENS == 0) | (TOKENS == 7)
    np.testing.assert_array_equal(
        words(key, TOKENS, 0.4), jnp.where(kept, TOKENS, jnp.ones_like(TOKENS))
    )
    assert abs(mask.mean() - 0.6) < 5 * (0.24 / mask.size) ** 0.5
    everything = dj.word_dropout(None, TOKENS, 1, unknown_id=3)
    assert (everything == 3).all()
    rates = jnp.zeros((30, 1)).at[4].set(1.0)
    y = dj.word_dropout(key, TOKENS, rates, unknown_id=99)
    assert ((y == 99).all(1) == (jnp.arange(30) == 4)).all()


@pytest.mark.parametrize("dtype", ["uint8", "int16", "int32"])
def test_words_keep_their_dtype(dtype, key):
    tokens = TOKENS.astype(dtype)
    y = words(key, tokens, 0.4)
    assert y.dtype == tokens.dtype
    np.testing.assert_array_equal(y, words(key, TOKENS, 0.4).astype(dtype))
    assert words(key, tokens[:0], 0.4).shape == (0, 40)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16", "complex64"])
def test_noise_is_the_normal_of_jax(dtype, key):
    x = X.astype(dtype)
    y = noise(key, x, 0.5)
    assert y.dtype == x.dtype
    drawn = jax.random.normal(key, x.shape)
    wide = x if jnp.iscomplexobj(x) else x.astype(np.float32)
    added = (0.5 * drawn).astype(wide.dtype)
    rtol = 1e-2 if x.itemsize == 2 else 1e-5
    close = functools.partial(np.testing.assert_allclose, rtol=rtol, atol=1e-5)
    close(y.astype(np.complex64), (wide + added).astype(np.complex64))
    multiplied = dj.gaussian_dropout(key, X, 0.2)
    np.testing.assert_allclose(multiplied, X * (1 + 0.5 * drawn), rtol=1e-5, atol=1e-6)


def test_noise_is_shared_as_asked(key):
    for function in (dj.gaussian_noise, dj.gaussian_dropout):
        y = function(key, jnp.ones((30, 40)), 0.5, broadcast_dims=0)
        np.testing.assert_array_equal(y, jnp.broadcast_to(y[:1], y.shape))
        assert len(np.unique(y)) > 30
    deviations = jnp.zeros((30, 1)).at[3].set(1.0)
    y = noise(key, X, deviations)
    assert ((y != X).any(1) == (jnp.arange(30) == 3)).all()


def test_gaussian_dropout_is_finite_where_its_variance_is_not(key):
    y = jax.jit(lambda rate: dj.gaussian_dropout(key, X, rate))(jnp.float32(1.0))
    assert np.isfinite(y).all()
    noisy = dj.gaussian_noise(key, jnp.ones_like(X), (2.0**23 - 1) ** 0.5)
    np.testing.assert_allclose(y, X * noisy, rtol=1e-5)


@pytest.mark.parametrize("multiplicative", [False, True])
@pytest.mark.parametrize("impl", ["threefry2x32", dj.fast_prng])
def test_uniform_noise_is_uniform_and_symmetric(multiplicative, impl):
    key, x = jax.random.key(5, impl=impl), jnp.full((400, 500), 3.0)
    y = dj.uniform_noise(key, x, 0.25, multiplicative=multiplicative)
    noise = np.asarray(y / 3 - 1 if multiplicative else y - 3, np.float64) / 0.25
    assert np.abs(noise).max() < 1 + 1e-5
    share, _ = np.histogram(noise, 20, (-1, 1))
    expected = noise.size / 20
    assert ((share - expected) ** 2 / expected).sum() < 60  # 19 degrees of freedom
    assert abs(noise.mean()) < 5 / np.sqrt(3 * noise.size)


def test_uniform_noise_has_a_mean_of_exactly_zero(key):
    """Its numbers are the odd multiples of 2^-23, as many above 0 as below."""
    noise = np.asarray(dj.uniform_noise(key, jnp.zeros(1000), 1.0), np.float64)
    assert (noise * 2**23 % 2 == 1).all()
    assert 0 < np.abs(noise).min() < np.abs(noise).max() < 1


def test_jitter_is_switch_transformers(key):
    """Inputs of a router times uniform noise in [1 - eps, 1 + eps]."""
    y = dj.uniform_noise(key, X, 0.01, multiplicative=True)
    words = np.asarray(jax.random.bits(key, X.shape, jnp.uint32) >> 9, np.float64)
    jitter = 1 + 0.01 * (2 * (words + 0.5) / 2**23 - 1)
    np.testing.assert_allclose(y, X * jitter, rtol=1e-6)
    gradient = jax.grad(
        lambda x: dj.uniform_noise(key, x, 0.01, multiplicative=True).sum()
    )(X)
    np.testing.assert_allclose(gradient, jitter, rtol=1e-6)


def test_neftune_is_uniform_noise_of_the_papers_amplitude(key):
    x = array((4, 10, 6))
    noisy = dj.uniform_noise(key, x, 5 / (10 * 6) ** 0.5)
    np.testing.assert_allclose(dj.neftune(key, x, 5.0), noisy, rtol=1e-6)
    lengths = jnp.asarray([1, 10, 0, 7])
    y = dj.neftune(key, x, 5.0, seq_lengths=lengths)
    numbers = jnp.maximum(lengths * 6, 1).astype(np.float32)
    noisy = dj.uniform_noise(key, x, 5 / jnp.sqrt(numbers)[:, None, None])
    np.testing.assert_allclose(y, noisy, rtol=1e-6)


def test_neftune_counts_no_more_tokens_than_there_are(key):
    x, lengths = array((2, 10, 6)), jnp.asarray([10, 1000])
    y = dj.neftune(key, x, 5.0, seq_lengths=lengths)
    np.testing.assert_array_equal(y, dj.neftune(key, x, 5.0))


def test_neftune_has_its_axes_where_they_are(key):
    x, lengths = array((10, 4, 6)), jnp.asarray([1, 9, 3, 7])
    y = dj.neftune(key, x, 5.0, seq_lengths=lengths, time_axis=0, batch_axis=1)
    amplitude = 5 / jnp.sqrt(lengths.astype(np.float32) * 6)[None, :, None]
    noisy = dj.uniform_noise(key, x, amplitude)
    np.testing.assert_allclose(y, noisy, rtol=1e-6)
    alone = dj.neftune(key, x[0], 5.0, seq_lengths=jnp.int32(2), batch_axis=None)
    noisy = dj.uniform_noise(key, x[0], 5 / 12**0.5)
    np.testing.assert_allclose(alone, noisy, rtol=1e-6)


def test_layers_pass_sequence_lengths_on(key):
    x, lengths = array((4, 10, 6)), jnp.asarray([1, 10, 5, 7])
    y = dj.neftune(key, x, 5.0, seq_lengths=lengths)
    layer = djl.Neftune(5.0, deterministic=False)
    np.testing.assert_array_equal(y, layer.apply({}, x, rng=key, seq_lengths=lengths))
    np.testing.assert_array_equal(y, djn.Neftune(5.0)(x, seq_lengths=lengths, rngs=key))


def test_additive_noise_passes_gradients_without_drawing(key):
    for drop in (dj.uniform_noise, dj.gaussian_noise):
        _, back = jax.vjp(lambda x: drop(key, x, 0.5), X)  # noqa: B023
        (gradient,) = back(X)
        np.testing.assert_array_equal(gradient, X)


def test_tables_may_have_several_axes_of_words(key):
    y = dj.embedding_dropout(key, jnp.ones((4, 50, 3)), 0.5)
    mask = dj.embedding_dropout_mask(key, y.shape, 0.5)
    assert mask.shape == (4, 50, 1)
    np.testing.assert_array_equal(y, jnp.where(mask, 2, jnp.zeros_like(y)))


def test_layers_take_keys_from_their_streams():
    rngs = {"dropout": jax.random.key(1)}
    layer = djl.GaussianNoise(0.5, deterministic=False)
    first = layer.apply({}, X, rngs=rngs)
    assert not jnp.array_equal(first, X)
    np.testing.assert_array_equal(first, layer.apply({}, X, rngs=rngs, stddev=0.5))
    layer = djn.GaussianNoise(0.5, rngs=nnx.Rngs(0))
    assert not jnp.array_equal(layer(X), layer(X))
    layer.eval()
    assert layer(X) is X
    assert djn.GaussianNoise(0.0)(X) is X
