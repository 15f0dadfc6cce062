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
from dropjax.functional.weights._samples import averaged_dtype
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
    options = {"batch_size": batch_size, "keep_samples": True}
    predict = monte_carlo(apply, 20, outputs="probabilities", **options)
    each = stacked(apply, 20, X)
    entropy = lambda p: -(p * np.log(p)).sum(-1)  # noqa: E731
    whole, within = entropy(each.mean(0)), entropy(each).mean(0)
    expected = {
        "mean": each.mean(0),
        "variance": each.var(0, ddof=1),
        "stddev": each.std(0, ddof=1),
        "samples": each,
        "entropy": whole,
        "expected_entropy": within,
        "mutual_information": whole - within,
    }
    for found in (predict(KEY, X), jax.jit(predict)(KEY, X)):
        for name, other in expected.items():
            own = getattr(found, name)
            np.testing.assert_allclose(own, other, rtol=1e-5, atol=1e-6, err_msg=name)


@pytest.mark.parametrize("wrap", [jax.jit, lambda predict: predict])
def test_logits_are_those_of_their_softmax(wrap):
    logits = lambda key, x: 9 * dj.dropout(key, x, 0.5)  # noqa: E731
    passes = lambda key, x: nn.softmax(logits(key, x))  # noqa: E731
    expected = wrap(monte_carlo(passes, 20, outputs="probabilities"))(KEY, X)
    options = {"outputs": "logits", "keep_samples": True}
    found = wrap(monte_carlo(logits, 20, **options))(KEY, X)
    for name in ("mean", "variance", "entropy", "expected_entropy"):
        own, other = getattr(found, name), getattr(expected, name)
        np.testing.assert_allclose(own, other, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found.samples, stacked(logits, 20, X), rtol=1e-6)
    half = lambda key, x: logits(key, x).astype(jnp.bfloat16)  # noqa: E731
    found = wrap(monte_carlo(half, 20, **options))(KEY, X)
    assert found.samples.dtype == jnp.bfloat16
    np.testing.assert_allclose(found.mean, expected.mean, atol=0.02)


def test_rows_that_are_no_probabilities_are_seen():
    def passes(key, x):
        return jnp.concatenate([apply(key, x), dj.dropout(key, x, 0.5)])

    predict = monte_carlo(passes, 4, outputs="probabilities")
    with pytest.raises(ValueError, match="for non-negative rows that sum to 1"):
        predict(KEY, X)
    found = jax.jit(predict)(KEY, X)
    for part in (found.entropy, found.expected_entropy, found.mutual_information):
        assert np.isfinite(part[:4]).all()
        assert np.isnan(part[4:]).all()
    assert np.isfinite(found.mean).all()


@pytest.mark.parametrize("classes", [2, 50_000])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_rounded_probabilities_are_taken(classes, dtype):
    x = 3 * jax.random.normal(KEY, (8, classes)).astype(dtype)
    passes = lambda key: nn.softmax(dj.dropout(key, x, 0.1))  # noqa: E731
    found = monte_carlo(passes, 3, outputs="probabilities")(KEY)
    assert np.isfinite(found.entropy).all()


@pytest.mark.parametrize("wrap", [jax.jit, lambda predict: predict])
def test_passes_that_do_not_depend_on_the_key_are_told(wrap):
    def off(key, x):
        return dj.dropout(key, x, 0.5, deterministic=True)

    with pytest.warns(UserWarning, match="apply_fn does not depend on its key"):
        found = wrap(monte_carlo(off, 4))(KEY, X)
    assert not found.variance.any()
    monte_carlo(off, 1)(KEY, X)


def test_samples_are_kept_for_trees_and_only_if_asked_for():
    passes = lambda key: {"y": (dj.dropout(key, X, 0.5), X.sum() > 0)}  # noqa: E731
    assert monte_carlo(passes, 5)(KEY).samples is None
    for size in (1, 2, 5):
        found = monte_carlo(passes, 5, batch_size=size, keep_samples=True)(KEY)
        y, positive = found.samples["y"]
        each = stacked(lambda key: dj.dropout(key, X, 0.5), 5)
        np.testing.assert_allclose(y, each, rtol=1e-6)
        assert positive.dtype == bool
        assert positive.shape == (5,)


def test_trees_keyword_arguments_and_half_precision():
    def passes(key, x, *, shift):
        y = dj.dropout(key, x["x"], 0.5) + shift
        return {"y": (y, y > 0), "z": y.sum(), "complex": lax.complex(y, 2 * y)}

    x = {"x": X}
    found = jax.jit(monte_carlo(passes, 8))(KEY, x, shift=1.0)
    assert not hasattr(found, "entropy")
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
    def certain(key):
        return nn.one_hot(jnp.arange(3) + 0 * jax.random.randint(key, (), 0, 2), 3)

    for count in (1, 5):
        found = monte_carlo(certain, count, outputs="probabilities")(KEY)
        for part in (found.variance, found.stddev, found.entropy):
            np.testing.assert_array_equal(part, np.zeros_like(part))
        assert not found.expected_entropy.any()
        assert not found.mutual_information.any()
    one_of_two = lambda key: nn.one_hot(jax.random.randint(key, (), 0, 2), 2)  # noqa: E731
    found = jax.jit(monte_carlo(one_of_two, 400, outputs="probabilities"))(KEY)
    np.testing.assert_allclose(found.entropy, np.log(2), rtol=0.02)
    np.testing.assert_allclose(found.mutual_information, found.entropy)

    def entropy(p):
        passes = lambda key: p + 0 * jax.random.uniform(key)  # noqa: E731
        return monte_carlo(passes, 2, outputs="probabilities")(KEY).entropy

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
    def __call__(self, x, deterministic, use_running_average=True):
        x = djl.DropConnectDense(8, 0.5)(x, deterministic)
        x = nn.relu(nn.BatchNorm(use_running_average)(x))
        return nn.Dense(3)(djl.Dropout(0.5)(x, deterministic))


def test_linen():
    model, keys = Linen(), {"params": KEY, "dropout": KEY}
    variables = model.init(keys, X, True)
    rngs = {"dropout": KEY}
    _, new = model.apply(variables, X, False, False, rngs=rngs, mutable="batch_stats")
    variables |= new

    def passes(key, x):
        return model.apply(variables, x, deterministic=False, rngs={"dropout": key})

    found = jax.jit(monte_carlo(passes, 6, batch_size=3))(KEY, X)
    np.testing.assert_allclose(found.mean, stacked(passes, 6, X).mean(0), rtol=1e-5)
    assert found.variance.all()


class NNX(nnx.Module):
    def __init__(self, rngs):
        self.first = djn.DropConnectLinear(3, 8, 0.5, rngs=rngs)
        self.norm = nnx.BatchNorm(8, rngs=rngs)
        self.dropout = djn.Dropout(0.5, rngs=rngs)
        self.last = nnx.Linear(8, 3, rngs=rngs)

    def __call__(self, x):
        x = nnx.relu(self.norm(self.first(x)))
        return self.last(self.dropout(x))


@pytest.mark.parametrize("training", [True, False])
def test_nnx_with_batch_normalization(training):
    """Whatever the model was left in, passes drop and have the running statistics."""
    model = NNX(nnx.Rngs(params=0, dropout=1))
    model(X)  # Statistics that are not those that the layer starts from.
    (model.train if training else model.eval)()
    dropping = nnx.view(model, deterministic=False, use_running_average=True)

    def passes(key, x):
        clone = nnx.clone(dropping)
        nnx.reseed(clone, dropout=key)
        return clone(x)

    found = jax.jit(monte_carlo(passes, 6, batch_size=3))(KEY, X)
    np.testing.assert_allclose(found.mean, stacked(passes, 6, X).mean(0), rtol=1e-5)
    assert found.variance.all()
    # An example's passes do not depend on the others: those of training do.
    one = jax.jit(monte_carlo(passes, 200))(KEY, X[:1]).mean[0]
    batch = jax.jit(monte_carlo(passes, 200))(jax.random.key(1), X)
    error = batch.stddev[0] / np.sqrt(100)
    assert (abs(one - batch.mean[0]) < 5 * error).all()
    eager = monte_carlo(passes, 6)(KEY, X)
    np.testing.assert_allclose(eager.mean, found.mean, rtol=1e-5)


def test_transforms():
    predict = jax.jit(monte_carlo(apply, 3))
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
