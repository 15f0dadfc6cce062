"""Predictions by many passes, against the passes stacked up."""

import functools

import flax.linen as nn
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
from dropjax.functional._samples import averaged_dtype
from dropjax.inference import monte_carlo
from tests.methods import array

KEY = jax.random.key(2013)
X = array((4, 3))


def apply(key, x):
    return nn.softmax(dj.dropout(key, x, 0.5))


def stacked(apply_fn, count, *arguments):
    keys = jax.random.split(KEY, count)
    return np.asarray(jax.vmap(lambda key: apply_fn(key, *arguments))(keys), np.float64)


@pytest.mark.parametrize("batch_size", [1, 3, 5, 7, 100])
def test_statistics_are_those_of_all_passes(batch_size):
    options = {"batch_size": batch_size, "probabilities": True}
    found = jax.jit(monte_carlo(apply, 20, **options))(KEY, X)
    each = stacked(apply, 20, X)
    entropy = lambda p: -(p * np.log(p)).sum(-1)  # noqa: E731
    whole = entropy(each.mean(0))
    expected = (each.mean(0), each.var(0, ddof=1), whole, whole - entropy(each).mean(0))
    for own, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(own, other, rtol=1e-5, atol=1e-6)


def test_trees_keyword_arguments_and_half_precision():
    def passes(key, x, *, shift):
        y = dj.dropout(key, x["x"], 0.5) + shift
        return {"y": (y, y > 0), "z": y.sum(), "complex": lax.complex(y, 2 * y)}

    x = {"x": X}
    found = jax.jit(monte_carlo(passes, 8))(KEY, x, shift=1.0)
    assert found.entropy is None
    assert found.mutual_information is None
    (y, share), each = (
        found.mean["y"],
        stacked(lambda key: passes(key, x, shift=1.0)["z"], 8),
    )
    np.testing.assert_allclose(found.mean["z"], each.mean(), rtol=1e-5)
    np.testing.assert_allclose(found.variance["z"], each.var(ddof=1), rtol=1e-5)
    np.testing.assert_allclose(found.mean["complex"], lax.complex(y, 2 * y), rtol=1e-5)
    np.testing.assert_allclose(
        found.variance["complex"], 5 * found.variance["y"][0], rtol=1e-5, atol=1e-6
    )
    assert ((share >= 0) & (share <= 1)).all()
    half = monte_carlo(lambda key: dj.dropout(key, X.astype("bfloat16"), 0.5), 3)(KEY)
    assert half.mean.dtype == half.variance.dtype == jnp.float32


def test_a_small_variance_beside_a_large_mean():
    passes = lambda key: 1e4 + jax.random.normal(key, (50,))  # noqa: E731
    found = jax.jit(monte_carlo(passes, 1000, batch_size=10))(KEY)
    expected = stacked(passes, 1000).var(0, ddof=1)
    np.testing.assert_allclose(found.variance, expected, rtol=1e-3)


def test_one_pass_has_no_variance_and_certain_passes_no_entropy():
    certain = lambda key: nn.one_hot(jnp.arange(3), 3)  # noqa: E731
    for count in (1, 5):
        found = monte_carlo(certain, count, probabilities=True)(KEY)
        for field in found[1:]:
            np.testing.assert_array_equal(field, np.zeros_like(field))
    one_of_two = lambda key: nn.one_hot(jax.random.randint(key, (), 0, 2), 2)  # noqa: E731
    found = monte_carlo(one_of_two, 400, probabilities=True)(KEY)
    np.testing.assert_allclose(found.entropy, np.log(2), rtol=0.02)
    np.testing.assert_allclose(found.mutual_information, found.entropy)

    def entropy(p):
        return monte_carlo(lambda key: p, 2, probabilities=True)(KEY).entropy

    assert np.isfinite(jax.grad(entropy)(jnp.array([0.0, 1.0]))).all()


def test_means_are_taken_in_single_precision_or_better():
    for single in ("bool", "int32", "float16", "bfloat16", "float32"):
        assert averaged_dtype(jnp.dtype(single)) == np.float32
    assert averaged_dtype(jnp.dtype("float64")) == np.float32
    with jax.enable_x64(True):
        for own in ("float64", "complex64", "complex128"):
            assert averaged_dtype(jnp.dtype(own)) == own


def test_memory_does_not_grow_with_the_number_of_passes():
    x = jnp.ones((64, 1024))

    def scratch(count, batch_size):
        passes = monte_carlo(
            lambda key: dj.dropout(key, x, 0.5), count, batch_size=batch_size
        )
        compiled = jax.jit(passes).lower(KEY).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    assert scratch(400, 1) - scratch(4, 1) < x.nbytes
    assert scratch(4, 1) < 8 * x.nbytes


@pytest.mark.parametrize("axis_type", ["Auto", "Explicit"])
def test_a_sharded_batch(axis_type):
    mesh = jax.make_mesh((2,), ("data",), (getattr(AxisType, axis_type),))
    predict = jax.jit(monte_carlo(apply, 4))
    expected = predict(KEY, X)
    with jax.set_mesh(mesh):
        shards = jax.device_put(X, NamedSharding(mesh, PartitionSpec("data")))
        found = predict(KEY, shards)
    np.testing.assert_allclose(found.mean, expected.mean, rtol=1e-6)
    assert found.mean.sharding.is_equivalent_to(shards.sharding, 2)


class Linen(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.relu(djl.DropConnectDense(8, 0.5, deterministic=False)(x))
        return nn.Dense(3)(djl.Dropout(0.5, deterministic=False)(x))


def test_linen():
    model = Linen()
    variables = model.init(KEY, X)
    passes = lambda key, x: model.apply(variables, x, rngs={"dropout": key})  # noqa: E731
    found = jax.jit(monte_carlo(passes, 6, batch_size=3))(KEY, X)
    np.testing.assert_allclose(found.mean, stacked(passes, 6, X).mean(0), rtol=1e-5)
    assert found.variance.all()


class NNX(nnx.Module):
    def __init__(self, rngs):
        self.first = djn.DropConnectLinear(3, 8, 0.5, rngs=rngs)
        self.dropout = djn.Dropout(0.5, rngs=rngs)
        self.last = nnx.Linear(8, 3, rngs=rngs)

    def __call__(self, x):
        return self.last(self.dropout(nnx.relu(self.first(x))))


def test_nnx():
    model = NNX(nnx.Rngs(params=0, dropout=1))

    def passes(key, x):
        clone = nnx.clone(model)
        nnx.reseed(clone, dropout=key)
        return clone(x)

    found = jax.jit(monte_carlo(passes, 6, batch_size=3))(KEY, X)
    np.testing.assert_allclose(found.mean, stacked(passes, 6, X).mean(0), rtol=1e-5)
    assert found.variance.all()
    eager = monte_carlo(passes, 6)(KEY, X)
    np.testing.assert_allclose(eager.mean, found.mean, rtol=1e-5)


def test_transforms():
    predict = monte_carlo(apply, 3)
    keys = jax.random.split(KEY, 2)
    loop = jnp.stack([predict(key, X).mean for key in keys])
    mapped = jax.vmap(predict, (0, None))(keys, X).mean
    np.testing.assert_allclose(mapped, loop, rtol=1e-6)
    slope = jax.grad(lambda s: predict(KEY, s * X).variance.sum())(1.0)
    assert np.isfinite(slope)
    with jax.debug_key_reuse(True):
        for size in (1, 2):
            predict = monte_carlo(apply, 3, batch_size=size)
            jax.jit(functools.partial(predict, x=X))(jax.random.key(0))


@pytest.mark.parametrize("value", [-1e30, np.finfo(np.float32).min, -np.inf])
@pytest.mark.parametrize("batch_size", [1, 2, 3])
def test_what_all_passes_agree_on_has_no_variance(value, batch_size):
    """As masked logits do, whose squares have no number."""

    def apply_fn(key, x):
        return jnp.concatenate([dj.dropout(key, x, 0.5), jnp.full(1, value, x.dtype)])

    found = monte_carlo(apply_fn, 8, batch_size=batch_size)(KEY, jnp.ones(2))
    assert found.mean[-1] == np.float32(value)
    assert found.variance[-1] == 0
    assert (found.variance[:2] > 0).all()
