"""Laws of methods that are no rows of the table: two trees, a logit, many outputs."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export, lax
from jax.sharding import NamedSharding, PartitionSpec

import dropjax as dj
from tests.methods import array

KEY = jax.random.key(5)
X, U = array((16, 24)), array((16, 24), seed=1)


def mixout(key, x):
    return dj.mixout(key, {"kernel": x}, {"kernel": U}, 0.3)["kernel"]


METHODS = {
    "mixout": mixout,
    "concrete": lambda key, x: dj.concrete_dropout(key, x, jnp.float32(-1)),
    "multi_sample": lambda key, x: dj.multi_sample_dropout(key, x, 0.3, samples=3),
}
every = pytest.mark.parametrize("name", METHODS)


def value_and_gradient(method, key, x):
    return method(key, x), jax.grad(lambda x: method(key, x).sum())(x)


@every
@pytest.mark.parametrize("axis_type", ["Auto", "Explicit"])
def test_any_mesh_draws_the_same_mask_without_talk(name, axis_type):
    method = METHODS[name]
    kind = (getattr(jax.sharding.AxisType, axis_type),)
    mesh = jax.make_mesh((2,), ("data",), kind, devices=jax.devices()[:2])
    jitted = jax.jit(functools.partial(method, KEY))
    with jax.set_mesh(mesh):
        shards = jax.device_put(X, NamedSharding(mesh, PartitionSpec("data")))
        y = jitted(shards)
        text = jitted.lower(shards).compile().as_text()
    np.testing.assert_allclose(y, method(KEY, X), rtol=1e-6, atol=1e-6)
    for talk in ("all-reduce", "all-gather", "all-to-all", "permute"):
        assert talk not in text


@every
def test_export_to_every_platform(name):
    jitted = jax.jit(functools.partial(value_and_gradient, METHODS[name], KEY))
    exported = export.export(jitted, platforms=("cpu", "cuda", "rocm", "tpu"))(X)
    restored = export.deserialize(exported.serialize()).call(X)
    for got, expected in zip(restored, jitted(X), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-6, atol=1e-6)


@every
def test_one_key_one_mask_in_scan_and_remat_and_with_every_generator(name):
    method = METHODS[name]
    for impl in ("threefry2x32", dj.fast_prng, "rbg"):
        keys = jax.random.split(jax.random.key(1, impl=impl), 2)
        loop = jnp.stack([method(key, X) for key in keys])
        remat = jax.checkpoint(method)
        mapped = jax.jit(lambda keys, run=remat: lax.map(lambda k: run(k, X), keys))
        np.testing.assert_allclose(mapped(keys), loop, rtol=1e-5, atol=1e-6)
        assert not jnp.array_equal(loop[0], loop[1])


@every
def test_key_reuse_is_noticed(name):
    def twice(first, second):
        return METHODS[name](first, X) + METHODS[name](second, X)

    with jax.debug_key_reuse(True):
        jax.jit(twice)(*jax.random.split(jax.random.key(0)))
        if name != "mixout":  # which folds a key for each leaf, as dropconnect does
            with pytest.raises(jax.errors.KeyReuseError):
                jax.jit(lambda key: twice(key, key))(jax.random.key(1))


@every
def test_nothing_is_lost_on_empty_arrays(name):
    method, empty = METHODS[name], jnp.ones((0, 24))
    if name == "mixout":
        y = dj.mixout(KEY, {"kernel": empty}, {"kernel": empty}, 0.3)["kernel"]
    else:
        y = method(KEY, empty)
    assert y.size == 0
    assert y.dtype == empty.dtype
