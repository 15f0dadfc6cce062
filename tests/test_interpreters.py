"""Interpreters of JAX that know few primitives: Taylor mode, and sparsify."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental.jet import jet
from jax.experimental.sparse import BCOO, sparsify

import dropjax as dj
from tests.methods import array

KEY, RATE = jax.random.key(0), 0.4
MAPS, VECTORS = array((6, 4, 5)), array((6, 5))
WEIGHTS, WINDOW = array((5, 3)), array((3, 4, 3))


def masked(mask, x):
    return dj.apply_mask(x, mask(KEY, x.shape, RATE), keep=1 - RATE)


def multiplied(method, x):
    return x * method(KEY, jnp.ones_like(x), RATE)


def connected(x):
    return x @ dj.dropconnect(KEY, {"kernel": WEIGHTS}, RATE)["kernel"]


# What the guide says to write in Taylor mode, and what it stands for.
WAYS_OUT = {
    "dropout": (functools.partial(masked, dj.dropout_mask), dj.dropout),
    "spatial": (functools.partial(masked, dj.spatial_dropout_mask), dj.spatial_dropout),
    "drop path": (functools.partial(masked, dj.drop_path_mask), dj.drop_path),
    "gaussian dropout": (
        functools.partial(multiplied, dj.gaussian_dropout),
        dj.gaussian_dropout,
    ),
    "gaussian noise": (
        lambda x: x + dj.gaussian_noise(KEY, jnp.zeros_like(x), RATE),
        dj.gaussian_noise,
    ),
    "uniform noise": (
        lambda x: x + dj.uniform_noise(KEY, jnp.zeros_like(x), RATE),
        dj.uniform_noise,
    ),
    "dropconnect": (
        connected,
        lambda key, x, rate: dj.dropconnect_dense(key, x, WEIGHTS, rate),
    ),
}


@pytest.mark.parametrize("wrap", [lambda f: f, jax.jit], ids=["eager", "jit"])
@pytest.mark.parametrize(("way_out", "method"), WAYS_OUT.values(), ids=WAYS_OUT)
def test_taylor_mode_has_a_way_out(way_out, method, wrap):
    x, velocity, acceleration = MAPS, jnp.ones_like(MAPS), array(MAPS.shape, seed=1)

    def at(time):
        moved = x + time * velocity + time**2 / 2 * acceleration
        return jnp.sin(method(KEY, jnp.sin(moved), RATE))

    @wrap
    def net(x):
        return jnp.sin(way_out(jnp.sin(x)))

    y, terms = jet(net, (x,), ((velocity, acceleration),))
    first = jax.jacfwd(at)
    expected = [at(0.0), first(0.0), jax.jacfwd(first)(0.0)]
    for term, derivative in zip([y, *terms], expected, strict=True):
        np.testing.assert_allclose(term, derivative, rtol=1e-4, atol=1e-5)


@pytest.mark.xfail(reason="jet fails for functions with derivatives of their own")
def test_taylor_mode():
    jet(lambda x: dj.dropout(KEY, x, RATE), (MAPS,), ((jnp.ones_like(MAPS),),))


@pytest.mark.parametrize(
    "method",
    [
        dj.dropout,
        dj.drop_path,
        dj.gaussian_dropout,
        dj.alpha_dropout,
        lambda key, x, rate: dj.dropconnect_dense(key, x, WEIGHTS, rate),
        lambda key, x, rate: dj.dropconnect_conv(key, x[..., None, :4], WINDOW, rate),
    ],
    ids=["dropout", "path", "gaussian", "alpha", "dense", "conv"],
)
def test_sparsify_follows_what_is_dense(method):
    def both(sparse, x):
        return sparse @ WEIGHTS, method(KEY, x, RATE)

    sparse = BCOO.fromdense(jnp.where(VECTORS > 1, VECTORS, 0))
    product, y = sparsify(both)(sparse, VECTORS)
    np.testing.assert_allclose(product, sparse.todense() @ WEIGHTS, rtol=1e-5)
    np.testing.assert_allclose(y, method(KEY, VECTORS, RATE), rtol=1e-5, atol=1e-6)


def test_a_sparse_array_meets_masked_weights():
    sparse = BCOO.fromdense(jnp.where(VECTORS > 1, VECTORS, 0))
    expected = dj.dropconnect_dense(KEY, sparse.todense(), WEIGHTS, RATE)
    np.testing.assert_allclose(sparsify(connected)(sparse), expected, rtol=1e-5)
