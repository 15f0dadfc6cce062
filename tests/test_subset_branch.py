"""Branches that are computed for a subset of examples or tokens."""

import functools
import itertools
import math

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
from dropjax.functional.subsets._indices import kept_count, kept_indices
from dropjax.schedules import linear_over_depth
from tests.methods import array

KEY = jax.random.key(2013)
X = array((12, 6))
STREAM, IN_GROUPS = [0, 2, 4, 5, 7, 11], [2, 4, 5, 6, 7, 11]


def masks(number, shape, rate, **options):
    draw = functools.partial(dj.subset_branch_mask, shape=shape, rate=rate, **options)
    return np.asarray(jax.vmap(draw)(jax.random.split(KEY, number)))


# What is drawn.


@pytest.mark.parametrize(
    ("n", "rate", "kept"),
    [(100, 0.9, 10), (10, 0.26, 7), (3, 0.99, 1), (8, 1, 0), (0, 0.5, 0), (4, 0.1, 4)],
)
def test_the_count_is_rounded_and_at_least_one(n, rate, kept):
    assert kept_count(n, rate) == kept


@pytest.mark.parametrize("groups", [1, 2, 5])
def test_exactly_this_many_are_kept_in_each_group(groups):
    drawn = masks(50, (4, 20), 0.4, axis=1, groups=groups)[:, 0]
    kept = drawn.reshape(50, groups, -1).sum(-1)
    assert (kept == round(0.6 * 20 / groups)).all()
    assert len(np.unique(drawn, axis=0)) > 10


@pytest.mark.parametrize("generator", ["threefry2x32", dj.fast_prng])
@pytest.mark.parametrize("groups", [1, 2])
def test_every_subset_is_equally_likely(groups, generator):
    """Chi-square; with groups, the parts are independent."""
    keys = jax.random.split(jax.random.key(5, impl=generator), 6000)
    draw = lambda key: kept_indices(key, 6, 4 if groups == 2 else 3, groups)  # noqa: E731
    drawn = np.asarray(jax.vmap(draw)(keys))
    assert (np.diff(drawn) > 0).all()
    if groups == 2:
        halves = [itertools.combinations(part, 2) for part in (range(3), range(3, 6))]
        subsets = [a + b for a, b in itertools.product(*halves)]
    else:
        subsets = list(itertools.combinations(range(6), 3))
    found = dict(zip(subsets, [0] * len(subsets), strict=True))
    for row in drawn:
        found[tuple(row.tolist())] += 1
    expected = len(keys) / len(subsets)
    statistic = sum((n - expected) ** 2 / expected for n in found.values())
    freedom = len(subsets) - 1
    assert abs(statistic - freedom) < 5 * math.sqrt(2 * freedom)


@pytest.mark.parametrize("groups", [1, 2])
def test_the_mean_over_keys_is_exact(groups):
    """Over all subsets each index is kept as often as any other."""
    keys = jax.random.split(KEY, 8000)
    drop = lambda key: dj.subset_branch(key, X, jnp.tanh, 0.4, groups=groups)  # noqa: E731
    mean = np.asarray(jax.vmap(drop)(keys)).mean(0)
    kept = groups * kept_count(12 // groups, 0.4) / 12
    deviation = math.sqrt((1 - kept) / kept / len(keys))
    np.testing.assert_allclose(mean / np.tanh(X), 1, atol=5 * deviation)
    # The sum over the axis needs no draw at all if all elements are equal.
    ones = dj.subset_branch(KEY, jnp.ones((12, 1)), lambda x: x, 0.4, groups=groups)
    np.testing.assert_allclose(ones.sum(), 12, rtol=1e-6)


def test_the_stream_is_fixed():
    assert kept_indices(jax.random.key(2), 12, 6).tolist() == STREAM
    assert kept_indices(jax.random.key(2), 12, 6, 2).tolist() == IN_GROUPS


def test_patch_dropout_draws_the_same_subset():
    _, indices = dj.patch_dropout(KEY, X, 0.4)
    mask = dj.subset_branch_mask(KEY, X.shape, 0.4)
    np.testing.assert_array_equal(np.flatnonzero(mask), indices)


# What the branch is given, and what it may return.


@pytest.mark.parametrize(("axis", "shape"), [(0, (7, 5, 6)), (1, (12, 3, 6))])
def test_the_branch_sees_what_is_kept(axis, shape):
    x = array((12, 5, 6))
    seen = []

    def branch(x):
        seen.append(x)
        return x

    y = dj.subset_branch(KEY, x, branch, 0.4, axis=axis)
    mask = np.asarray(dj.subset_branch_mask(KEY, x.shape, 0.4, axis=axis))
    assert seen[0].shape == shape
    np.testing.assert_array_equal(seen[0], np.compress(mask.ravel(), x, axis))
    scaled = x * np.float32(x.shape[axis] / shape[axis])
    np.testing.assert_allclose(y, np.where(mask, scaled, 0), rtol=1e-6)
    last = dj.subset_branch(KEY, x, branch, 0.4, axis=axis - 3)
    np.testing.assert_array_equal(y, last)


def test_args_go_along():
    x, positions = array((4, 10, 3)), jnp.broadcast_to(jnp.arange(10.0), (4, 10))
    keys = jax.random.split(KEY, (4, 10))

    def branch(x, extras, bias):
        assert extras["keys"].shape == bias.shape == x.shape[:2] == (4, 6)
        drawn = jax.vmap(jax.vmap(jax.random.uniform))(extras["keys"])
        return x + (extras["positions"] + bias)[..., None], drawn

    extras = {"positions": positions, "keys": keys}
    arguments = (extras, x[..., 0])
    y, drawn = dj.subset_branch(KEY, x, branch, 0.4, axis=1, args=arguments)
    mask = np.asarray(dj.subset_branch_mask(KEY, x.shape, 0.4, axis=1))
    whole = x + positions[..., None] + x[..., :1]
    np.testing.assert_allclose(y, np.where(mask, whole / 0.6, 0), rtol=1e-5)
    uniform = jax.vmap(jax.vmap(jax.random.uniform))(keys)
    np.testing.assert_allclose(drawn, np.where(mask[..., 0], uniform / 0.6, 0), 1e-5)


def test_trees_come_and_go():
    tree = {"h": X, "tokens": jnp.arange(12)}

    def branch(tree):
        return [tree["h"][:, :2], (tree["tokens"], None), tree["tokens"] > 4]

    whole = dj.subset_branch(None, tree, branch, 0.5, deterministic=True)
    y = dj.subset_branch(KEY, tree, branch, 0.5)
    mask = np.asarray(dj.subset_branch_mask(KEY, (12,), 0.5))
    assert jax.tree.structure(y) == jax.tree.structure(whole)
    np.testing.assert_array_equal(y[0], np.where(mask[:, None], 2 * whole[0], 0))
    # Integers and truth values are not scaled.
    np.testing.assert_array_equal(y[1][0], np.where(mask, tree["tokens"], 0))
    np.testing.assert_array_equal(y[2], mask & (tree["tokens"] > 4))


def test_nothing_is_gathered_if_everything_is_kept():
    same = lambda x: x  # noqa: E731
    assert dj.subset_branch(None, X, same, 0.5, deterministic=True) is X
    assert dj.subset_branch(None, X, same, 0) is X
    assert dj.subset_branch(None, X, same, 0.04) is X
    # The last batch of an evaluation may have any size.
    assert dj.subset_branch(None, X, same, 0.5, groups=5, deterministic=True) is X


def test_what_is_left_out_has_no_gradient_and_what_is_kept_is_scaled():
    slope = jax.grad(lambda x: dj.subset_branch(KEY, x, jnp.sin, 0.5).sum())(X)
    mask = dj.subset_branch_mask(KEY, X.shape, 0.5)
    np.testing.assert_allclose(slope, jnp.where(mask, 2 * jnp.cos(X), 0), rtol=1e-5)


# Rates per layer, and loops over layers.


def test_a_rate_per_layer_in_an_unrolled_loop():
    @jax.jit
    def net(x):
        kept = []
        for layer, rate in enumerate(linear_over_depth(0.5, 3)):
            key = jax.random.fold_in(KEY, layer)
            branch = lambda x: (kept.append(len(x)), jnp.tanh(x))[1]  # noqa: E731
            x = x + dj.subset_branch(key, x, branch, rate)
        assert kept == [10, 8, 6]
        return x

    assert net(X).shape == X.shape


def test_one_rate_for_all_layers_in_a_scan():
    def layer(x, key):
        return x + dj.subset_branch(key, x, jnp.tanh, 0.5), None

    keys = jax.random.split(KEY, 4)
    scanned = jax.jit(lambda x: lax.scan(layer, x, keys)[0])(X)
    x = X
    for key in keys:
        x, _ = layer(x, key)
    np.testing.assert_allclose(scanned, x, rtol=1e-5)


def test_a_scan_keeps_the_indices_alone():
    """The zeros that are scattered into are not stored for every layer."""

    def layer(x, key):
        return x + dj.subset_branch(key, x, lambda x: 2 * x, 0.5), None

    keys = jax.random.split(KEY, 4)
    _, back = jax.vjp(jax.jit(lambda x: lax.scan(layer, x, keys)[0]), X)
    assert sum(leaf.size for leaf in jax.tree.leaves(back)) <= 4 * (6 + 6 + 2) + 8


# Sharded axes.

TALK = ("all-reduce", "all-gather", "all-to-all", "permute", "reduce-scatter")
KINDS = [AxisType.Auto, AxisType.Explicit]


def mlp(x):
    return jax.nn.gelu(x @ KERNELS[0]) @ KERNELS[1]


KERNELS = 0.2 * array((6, 16)), 0.2 * array((16, 6), seed=1)


@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("groups", [4, 8])
def test_in_groups_nothing_is_communicated(groups, axis, kind):
    def block(x, positions):
        branch = lambda x, positions: mlp(x) + positions  # noqa: E731
        options = {"axis": axis, "groups": groups, "args": (positions,)}
        return x + dj.subset_branch(KEY, x, branch, 0.5, **options)

    def value_and_pullback(x, positions):
        y, back = jax.vjp(lambda x: block(x, positions), x)
        return y, back(y)[0]

    mesh = jax.make_mesh((4,), ("data",), (kind,), devices=jax.devices()[:4])
    spec = PartitionSpec(*[None] * axis, "data")
    x, positions = array((16, 16, 6)), array((16, 16, 1), seed=2)
    expected = value_and_pullback(x, positions)
    with jax.set_mesh(mesh):
        cut = jax.device_put((x, positions), NamedSharding(mesh, spec))
        compiled = jax.jit(value_and_pullback).lower(*cut).compile()
        sharded, text = compiled(*cut), compiled.as_text()
    for one, other in zip(sharded, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)
        assert one.sharding.is_equivalent_to(NamedSharding(mesh, spec), 3)
    assert not [word for word in TALK if word in text]


@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize("groups", [1, 2])
def test_with_fewer_groups_the_subset_is_right_but_gathered(groups, kind):
    def block(x):
        return x + dj.subset_branch(KEY, x, mlp, 0.3, groups=groups)

    mesh = jax.make_mesh((4,), ("data",), (kind,), devices=jax.devices()[:4])
    x = array((16, 6))
    with jax.set_mesh(mesh):
        cut = jax.device_put(x, NamedSharding(mesh, PartitionSpec("data")))
        compiled = jax.jit(block).lower(cut).compile()
        sharded = compiled(cut)
    np.testing.assert_allclose(sharded, block(x), rtol=1e-4, atol=1e-4)
    assert [word for word in TALK if word in compiled.as_text()]


# Layers.


class Branch(nn.Module):
    """Has batch statistics, sows its size, and drops."""

    @nn.compact
    def __call__(self, x, bias=None, *, train):
        self.sow("intermediates", "mean", x.mean(-1))
        y = nn.BatchNorm(use_running_average=not train)(x)
        y = nn.Dropout(0.5, deterministic=not train)(y)
        return nn.Dense(6)(y) if bias is None else nn.Dense(6)(y) + bias[:, None]


def test_linen_branches_do_all_their_work_for_the_subset():
    layer, module = djl.SubsetBranch(Branch(), 0.5), Branch()
    variables = layer.init(KEY, X, train=False)
    plain = module.init(KEY, X, train=False)
    assert jax.tree.structure(variables) == jax.tree.structure(plain)
    rngs, given = {"dropout": KEY}, jax.random.key(1)
    mutable = ["batch_stats", "intermediates"]
    call = functools.partial(layer.apply, variables, X, rngs=rngs, mutable=mutable)
    y, after = call(train=True, deterministic=False, rng=given)
    mask = np.asarray(dj.subset_branch_mask(given, X.shape, 0.5))[:, 0]
    np.testing.assert_array_equal((y != 0).any(1), mask)
    # The module alone, on the kept examples, does the same with the same rngs.
    kept = X[mask]
    alone, wanted = module.apply(
        variables, kept, train=True, rngs=rngs, mutable=mutable
    )
    np.testing.assert_allclose(y[mask], 2 * alone, rtol=1e-5)
    assert_trees_close(after, wanted)
    assert after["intermediates"]["mean"][0].shape == (6,)
    y, _ = call(train=False, deterministic=True)
    whole = module.apply(variables, X, train=False)
    np.testing.assert_array_equal(y, whole)


def assert_trees_close(one, other):
    assert jax.tree.structure(one) == jax.tree.structure(other)
    for mine, yours in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        np.testing.assert_allclose(mine, yours, rtol=1e-5)


class NnxBranch(nnx.Module):
    def __init__(self, rngs):
        self.norm = nnx.BatchNorm(6, rngs=rngs)
        self.drop = nnx.Dropout(0.5, rngs=rngs)
        self.dense = nnx.Linear(6, 6, rngs=rngs)

    def __call__(self, x, bias=None):
        self.sow(nnx.Intermediate, "mean", x.mean(-1))
        y = self.dense(self.drop(self.norm(x)))
        return y if bias is None else y + bias[:, None]


@pytest.mark.filterwarnings("ignore:Using 'Module.sow")
def test_nnx_branches_do_all_their_work_for_the_subset():
    layer = djn.SubsetBranch(NnxBranch(nnx.Rngs(0)), 0.5, rngs=nnx.Rngs(1))
    twin, given = NnxBranch(nnx.Rngs(0)), jax.random.key(1)
    y = nnx.jit(lambda layer: layer(X, X[:, 0], rngs=given))(layer)
    mask = np.asarray(dj.subset_branch_mask(given, X.shape, 0.5))[:, 0]
    alone = twin(X[mask], X[mask, 0])
    np.testing.assert_allclose(y[mask], 2 * alone, rtol=1e-4, atol=1e-6)
    assert not y[~mask].any()
    assert_trees_close(
        nnx.state(layer.module, nnx.BatchStat), nnx.state(twin, nnx.BatchStat)
    )
    assert layer.module.mean[0].shape == (6,)
    # Its own dropout has drawn once, as alone.
    assert layer.module.drop.rngs.count[...] == twin.drop.rngs.count[...] == 1


@pytest.mark.parametrize("rate", [0.5, 0.25])
def test_layers_gather_what_is_passed_by_position(rate):
    class Add(nn.Module):
        def __call__(self, x, bias, *, factor):
            return factor * (x + bias[:, None])

    add = Add()
    function = lambda x, bias, *, factor: factor * (x + bias[:, None])  # noqa: E731
    expected = dj.subset_branch(
        KEY, X, functools.partial(function, factor=3.0), rate, args=(X[:, 0],)
    )
    linen = djl.SubsetBranch(add, 0.9, deterministic=False)
    y = linen.apply({}, X, X[:, 0], rng=KEY, rate=rate, factor=3.0)
    np.testing.assert_array_equal(y, expected)
    host = djn.SubsetBranch(function, 0.9)
    y = host(X, X[:, 0], rngs=KEY, rate=rate, factor=3.0)
    np.testing.assert_array_equal(y, expected)


def test_layers_in_a_scan_have_one_static_rate():
    class Block(nn.Module):
        @nn.compact
        def __call__(self, x, _):
            layer = djl.SubsetBranch(nn.Dense(6), 0.5, deterministic=False)
            return x + layer(x), None

    options = {"variable_axes": {"params": 0}, "length": 3}
    split = {"params": True, "dropout": True}
    net = nn.scan(Block, split_rngs=split, **options)()
    variables = net.init({"params": KEY, "dropout": KEY}, X, None)
    y, _ = jax.jit(net.apply)(variables, X, None, rngs={"dropout": KEY})
    assert y.shape == X.shape


def test_rates_of_a_model_leave_out_what_decides_a_shape():
    net = nn.Sequential(
        [
            djl.SubsetBranch(nn.Dense(6), 0.5, deterministic=False),
            djl.Dropout(0.5, deterministic=False),
        ]
    )
    assert djl.rates(net, X) == {"layers_1": {"rate": 0.5}}
    layer = djn.SubsetBranch(jnp.tanh, 0.5, rngs=nnx.Rngs(0))
    djn.set_rates(layer, 0.0)
    np.testing.assert_array_equal(layer(X), jnp.tanh(X))
