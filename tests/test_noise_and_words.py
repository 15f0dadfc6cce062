"""The laws for what is not a row of the table: noise with a deviation, tokens."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax import export
from jax.sharding import AxisType, NamedSharding, PartitionSpec

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


def noise_linen(key, x, amount, deterministic=False):
    return djl.GaussianNoise(amount).apply({}, x, deterministic, key)


def words_linen(key, x, amount, deterministic=False):
    layer = djl.WordDropout(amount, unknown_id=1, protected=PROTECTED)
    return layer.apply({}, x, deterministic, key)


def noise_nnx(key, x, amount, deterministic=False):
    return djn.GaussianNoise(amount)(x, deterministic=deterministic, rngs=key)


def words_nnx(key, x, amount, deterministic=False):
    layer = djn.WordDropout(amount, unknown_id=1, protected=PROTECTED)
    return layer(x, deterministic=deterministic, rngs=key)


FACES = {
    "noise": (noise, noise_linen, noise_nnx),
    "words": (words, words_linen, words_nnx),
}
both = pytest.mark.parametrize(
    ("function", "x"), [(noise, X), (words, TOKENS)], ids=["noise", "words"]
)


@pytest.fixture
def key():
    return jax.random.key(2013)


@pytest.mark.parametrize(("name", "x"), [("noise", X), ("words", TOKENS)])
def test_off_is_x_itself_and_three_faces_draw_the_same(name, x, key):
    for face in FACES[name]:
        assert face(None, x, 0) is x
        assert face(None, x, 0.0) is x
        assert face(None, x, 0.4, deterministic=True) is x
        np.testing.assert_array_equal(face(key, x, 0.4), FACES[name][0](key, x, 0.4))


@both
def test_keys_transforms_and_traced_amounts(function, x, key):
    keys = jax.random.split(key, 3)
    drop = functools.partial(function, x=x, amount=0.4)
    loop = jnp.stack([drop(key) for key in keys])
    assert not jnp.array_equal(loop[0], loop[1])
    np.testing.assert_array_equal(loop, jax.jit(jax.vmap(drop))(keys))
    np.testing.assert_array_equal(loop, jax.lax.map(drop, keys))
    traces = []

    @jax.jit
    def traced(amount):
        traces.append(amount)
        return function(key, x, amount)

    for amount in (0.0, 0.4, 1.0):
        expected = function(key, x, amount)
        np.testing.assert_allclose(traced(jnp.float32(amount)), expected, rtol=1e-6)
    assert len(traces) == 1
    with jax.debug_key_reuse(True), pytest.raises(jax.errors.KeyReuseError):
        jax.jit(lambda key: drop(key) + drop(key))(jax.random.key(0))


@both
def test_export_and_meshes(function, x, key):
    jitted = jax.jit(lambda key, x: function(key, x, 0.4))
    platforms = ("cpu", "cuda", "rocm", "tpu")
    exported = export.export(jitted, platforms=platforms)(key, x)
    np.testing.assert_array_equal(exported.call(key, x), jitted(key, x))
    for kind in (AxisType.Auto, AxisType.Explicit):
        mesh = jax.make_mesh((2,), ("data",), (kind,), devices=jax.devices()[:2])
        for spec in (PartitionSpec("data"), PartitionSpec(None, "data")):
            with jax.set_mesh(mesh):
                shards = jax.device_put(x, NamedSharding(mesh, spec))
                text = jitted.lower(key, shards).compile().as_text()
                np.testing.assert_array_equal(jitted(key, shards), jitted(key, x))
            for talk in ("all-reduce", "all-gather", "all-to-all", "permute"):
                assert talk not in text


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


def test_noise_has_no_residual_and_no_gradient_to_its_deviation(key):
    _, back = jax.vjp(lambda x: noise(key, x, 0.5), X)
    assert sum(leaf.size for leaf in jax.tree.leaves(back)) <= 8
    np.testing.assert_array_equal(back(X)[0], X)
    slope = jax.grad(lambda stddev: noise(key, X, stddev).sum())(jnp.float32(0.5))
    assert slope == 0


def test_noise_is_shared_as_asked(key):
    for function in (dj.gaussian_noise, dj.gaussian_dropout):
        y = function(key, jnp.ones((30, 40)), 0.5, broadcast_dims=0)
        np.testing.assert_array_equal(y, jnp.broadcast_to(y[:1], y.shape))
        assert len(np.unique(y)) > 30
    deviations = jnp.zeros((30, 1)).at[3].set(1.0)
    y = noise(key, X, deviations)
    assert ((y != X).any(1) == (jnp.arange(30) == 3)).all()


def test_gaussian_dropout_is_finite_where_its_variance_is_not(key):
    y = dj.gaussian_dropout(key, X, jnp.float32(1.0))
    assert np.isfinite(y).all()
    noisy = dj.gaussian_noise(key, jnp.ones_like(X), (2.0**23 - 1) ** 0.5)
    np.testing.assert_allclose(y, X * noisy, rtol=1e-5)


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
