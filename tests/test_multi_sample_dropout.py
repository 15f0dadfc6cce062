"""Multi-sample dropout: many masks of one array."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import dropjax as dj
import dropjax.linen as djl
import dropjax.nnx as djn
from tests.methods import array

KEY = jax.random.key(2019)
X = array((20, 30))
FACES = {
    "function": dj.multi_sample_dropout,
    "linen": lambda key, x, rate, deterministic=False, **options: (
        djl.MultiSampleDropout(rate, **options).apply({}, x, deterministic, key)
    ),
    "nnx": lambda key, x, rate, deterministic=False, **options: djn.MultiSampleDropout(
        rate, **options
    )(x, deterministic=deterministic, rngs=key),
}


@pytest.mark.parametrize("face", FACES)
def test_it_is_dropout_of_copies_with_the_masks_of_its_mask_function(face):
    y = FACES[face](KEY, X, 0.3, samples=5)
    mask = dj.multi_sample_dropout_mask(KEY, X.shape, 0.3, samples=5)
    assert mask.shape == (5, 20, 30)
    np.testing.assert_array_equal(y, jnp.where(mask, X / np.float32(0.7), 0))
    copies = jnp.broadcast_to(X, (5, 20, 30))
    np.testing.assert_array_equal(y, dj.dropout(KEY, copies, 0.3))
    plain = FACES[face](KEY, X, 0.3, samples=5, scaling="standard")
    np.testing.assert_array_equal(plain, jnp.where(mask, X, 0))


@pytest.mark.parametrize("face", FACES)
def test_off_is_one_sample_without_a_key(face):
    y = FACES[face](None, X, 0.3, deterministic=True)
    np.testing.assert_array_equal(y, X[None])
    off = FACES[face](None, X, 0)
    np.testing.assert_array_equal(off, jnp.broadcast_to(X, (8, 20, 30)))
    mask = dj.multi_sample_dropout_mask(None, X.shape, 0.3, deterministic=True)
    assert mask.shape == (1, 20, 30)
    assert mask.all()


def test_samples_are_independent():
    mask = dj.multi_sample_dropout_mask(KEY, (1000,), 0.5, samples=4)
    signs = np.where(mask, 1, -1)
    related = signs @ signs.T / 1000 - np.eye(4)
    assert np.abs(related).max() < 5 / np.sqrt(1000)


def test_gradients_add_up_over_the_samples_and_keep_no_mask():
    y, back = jax.vjp(lambda x: dj.multi_sample_dropout(KEY, x, 0.5), X)
    assert sum(leaf.size for leaf in jax.tree.leaves(back)) <= 8
    (gradient,) = back(jnp.ones_like(y))
    expected = (np.asarray(y) != 0).sum(0) * 2.0
    np.testing.assert_array_equal(gradient, expected)


def test_the_mean_of_the_heads_losses_has_less_variance_than_one():
    """What the method is for: the noise of the gradient falls with the samples."""
    head = array((30,))

    def gradient(key, samples):
        def loss(head):
            y = dj.multi_sample_dropout(key, X, 0.5, samples=samples)
            return ((y @ head) ** 2).mean()

        return jax.grad(loss)(head)

    keys = jax.random.split(KEY, 200)
    one, eight = (
        jax.jit(jax.vmap(lambda key, n=n: gradient(key, n)))(keys).var(0).mean()
        for n in (1, 8)
    )
    np.testing.assert_allclose(one / eight, 8, rtol=0.3)


@pytest.mark.parametrize("face", FACES)
@pytest.mark.parametrize("xp", [np, jnp])
def test_samples_may_have_rates_of_their_own(face, xp):
    rates = xp.asarray([0.0, 0.25, 0.5, 1.0], np.float32)[:, None, None]
    y = FACES[face](KEY, X, rates, samples=4)
    np.testing.assert_array_equal(y[0], X)
    np.testing.assert_array_equal(y[3], jnp.zeros_like(X))
    after = FACES[face](None, X, rates, samples=4, deterministic=True)
    np.testing.assert_array_equal(after, X[None])
    options = {"samples": 4, "scaling": "standard", "deterministic": True}
    after = FACES[face](None, X, rates, **options)
    np.testing.assert_allclose(after, X[None] * (1 - 0.4375), rtol=1e-6)
    mask = dj.multi_sample_dropout_mask(
        None, X.shape, rates, samples=4, deterministic=True
    )
    assert mask.shape == (1, 20, 30)
