"""What is particular to layers, tokens, activations and weighted channels."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import dropjax as dj
import dropjax.linen as djl
import dropjax.nnx as djn
from tests.methods import array

KEY = jax.random.key(2020)


def faces(function, linen, nnx_layer, *args):
    return [
        function(*args),
        linen.apply({}, *args[1:2], False, rng=args[0]),
        nnx_layer(*args[1:2], rngs=args[0]),
    ]


@pytest.mark.parametrize("ordered", [True, False])
def test_patches_are_kept_in_exact_numbers(ordered):
    x = array((3, 12, 2))
    options = {"prefix_tokens": 2, "ordered": ordered}
    y, indices = dj.patch_dropout(KEY, x, 0.3, **options)
    assert y.shape == (3, 2 + 7, 2)
    np.testing.assert_array_equal(y, jnp.take_along_axis(x, indices[..., None], 1))
    np.testing.assert_array_equal(y[:, :2], x[:, :2])
    assert all(len(set(row)) == 9 for row in np.asarray(indices))
    assert (np.diff(indices, axis=1) > 0).all() == ordered
    assert not jnp.array_equal(indices[0], indices[1])
    layers = djl.PatchDropout(0.3, **options), djn.PatchDropout(0.3, **options)
    for other in (
        layers[0].apply({}, x, False, rng=KEY),
        layers[1](x, rngs=KEY),
        jax.jit(lambda key: dj.patch_dropout(key, x, 0.3, **options))(KEY),
    ):
        np.testing.assert_array_equal(y, other[0])
        np.testing.assert_array_equal(indices, other[1])


def test_every_patch_is_as_likely():
    keys = jax.random.split(KEY, 2000)
    draw = lambda key: dj.patch_dropout(key, jnp.ones((10, 1)), 0.7)[1]  # noqa: E731
    counts = np.bincount(
        np.asarray(jax.jit(jax.vmap(draw))(keys)).ravel(), minlength=10
    )
    assert abs(counts - 600).max() < 5 * np.sqrt(2000 * 0.3 * 0.7)


def test_no_patch_is_dropped_and_all_are():
    x = array((2, 5, 3))
    for off in ({"rate": 0.0}, {"rate": 0.5, "deterministic": True}):
        y, indices = dj.patch_dropout(None, x, **off)
        assert y is x
        assert indices.tolist() == [[0, 1, 2, 3, 4]] * 2
    y, indices = dj.patch_dropout(None, x, 1, prefix_tokens=1)
    assert (y.shape, indices.tolist()) == ((2, 1, 3), [[0], [0]])
    # The share is rounded to the nearest: int(100 * (1 - 0.9)) is 9; one is left.
    for tokens, rate, kept in ((100, 0.9, 10), (1, 0.9, 1), (0, 0.5, 0)):
        assert dj.patch_dropout(KEY, jnp.ones((tokens, 1)), rate)[0].shape == (kept, 1)


def test_gradients_go_to_the_patches_kept():
    x = array((2, 6, 3))
    _, indices = dj.patch_dropout(KEY, x, 0.5)
    slope = jax.grad(lambda x: dj.patch_dropout(KEY, x, 0.5)[0].sum())(x)
    kept = jnp.zeros((2, 6)).at[jnp.arange(2)[:, None], indices].set(1)
    np.testing.assert_array_equal(slope, jnp.broadcast_to(kept[..., None], x.shape))


@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("shape", [(12, 2), (3, 12, 2), (2, 3, 12, 2)])
def test_the_order_of_masked_tokens_is_restored(shape, ordered):
    x = array(shape)
    options = {"prefix_tokens": 2, "ordered": ordered}
    y, mask, indices, restore = dj.random_masking(KEY, x, 0.7, **options)
    again = dj.patch_dropout(KEY, x, 0.7, **options)
    np.testing.assert_array_equal(y, again[0])
    np.testing.assert_array_equal(indices, again[1])
    for row, kept in zip(
        np.reshape(mask, (-1, 12)), np.reshape(indices, (-1, 5)), strict=True
    ):
        assert np.flatnonzero(row).tolist() == sorted(kept.tolist())
    # Whatever follows the kept tokens is where they were not, in its order.
    others = jnp.broadcast_to(-jnp.arange(1.0, 8)[:, None], (*shape[:-2], 7, 2))
    whole = jnp.concatenate([y, others], -2)
    z = jnp.take_along_axis(whole, restore[..., None], -2)
    np.testing.assert_array_equal(z[mask], x[mask])
    np.testing.assert_array_equal(z[~mask].reshape(others.shape), others)
    drawn = dj.random_masking_mask(KEY, shape, 0.7, prefix_tokens=2)
    np.testing.assert_array_equal(drawn[..., 0], mask)
    assert (np.sort(restore, -1) == np.arange(12)).all()
    assert restore.dtype == indices.dtype == np.int32


def test_nothing_and_everything_is_masked():
    x = array((2, 5, 3))
    for off in ({"rate": 0.0}, {"rate": 0.5, "deterministic": True}):
        y, mask, indices, restore = dj.random_masking(None, x, **off)
        assert y is x
        assert mask.all()
        assert indices.tolist() == restore.tolist() == [[0, 1, 2, 3, 4]] * 2
    y, mask, indices, restore = dj.random_masking(None, x, 1)
    assert (y.shape, indices.shape) == ((2, 0, 3), (2, 0))
    assert not mask.any()
    assert restore.tolist() == [[0, 1, 2, 3, 4]] * 2


def test_every_example_has_a_permutation_of_its_own():
    _, mask, _, restore = dj.random_masking(KEY, jnp.ones((64, 16, 1)), 0.75)
    assert (mask.sum(1) == 4).all()
    assert len({tuple(row) for row in np.asarray(mask).tolist()}) > 55
    assert len({tuple(row) for row in np.asarray(restore).tolist()}) > 55


@pytest.mark.parametrize("axis_type", ["Auto", "Explicit"])
def test_masks_of_a_sharded_batch_need_no_communication(axis_type):
    kind = (getattr(jax.sharding.AxisType, axis_type),)
    mesh = jax.make_mesh((2,), ("data",), kind, devices=jax.devices()[:2])
    x, drop = array((8, 10, 4)), lambda x: dj.random_masking(KEY, x, 0.5)
    with jax.set_mesh(mesh):
        spec = jax.sharding.PartitionSpec("data")
        shards = jax.device_put(x, jax.sharding.NamedSharding(mesh, spec))
        compiled = jax.jit(drop).lower(shards).compile()
        found, text = compiled(shards), compiled.as_text()
    for one, other in zip(found, drop(x), strict=True):
        np.testing.assert_array_equal(one, other)
    for talk in ("all-reduce", "all-gather", "all-to-all", "permute"):
        assert talk not in text


def test_a_layer_is_run_or_skipped_as_the_coin_says():
    x = array((4, 3))
    keys = jax.random.split(KEY, 200)
    drop = jax.jit(jax.vmap(lambda key: dj.layer_drop(key, x, jnp.exp, 0.25)))
    coins = jnp.stack([dj.keep_mask(key, (), 0.25) for key in keys])
    expected = jnp.where(coins[:, None, None], jnp.exp(x)[None], x[None])
    np.testing.assert_allclose(drop(keys), expected, rtol=1e-6)
    assert dj.layer_drop(None, x, jnp.exp, 1.0) is x
    other = -x
    assert dj.layer_drop(None, x, lambda x: other, 0.0) is other


def test_the_work_of_a_skipped_layer_is_not_done():
    calls = []

    def layer(x):
        jax.debug.callback(lambda: calls.append("ran"))
        return jnp.tanh(x)

    run = jax.jit(
        jax.value_and_grad(lambda x, rate: dj.layer_drop(KEY, x, layer, rate).sum())
    )
    _, slope = run(jnp.ones(3), jnp.float32(1.0))
    jax.effects_barrier()
    assert (slope.tolist(), calls) == ([1.0] * 3, [])
    run(jnp.ones(3), jnp.float32(0.0))
    jax.effects_barrier()
    assert calls


class Block(nnx.Module):
    def __init__(self, rngs):
        self.dense = nnx.Linear(3, 3, rngs=rngs)
        self.norm = nnx.BatchNorm(3, rngs=rngs)

    def __call__(self, x):
        return x + self.norm(self.dense(x))


class LinenBlock(nn.Module):
    @nn.compact
    def __call__(self, x, deterministic):
        x = nn.Dense(3)(x)
        return nn.BatchNorm(use_running_average=deterministic)(x)


def test_layers_that_are_dropped_keep_their_state():
    x = array((4, 3))
    layer = djn.LayerDrop(Block(nnx.Rngs(0)), 0.5, rngs=nnx.Rngs(1))
    call = nnx.jit(lambda layer, x, rate: layer(x, rate=rate))
    skipped = call(layer, x, jnp.float32(1.0))
    np.testing.assert_array_equal(skipped, x)
    assert not layer.module.norm.mean[...].any()
    assert not jnp.allclose(call(layer, x, jnp.float32(0.0)), x)
    assert layer.module.norm.mean[...].any()

    block = LinenBlock()
    variables = block.init(KEY, x, True)
    dropped = djl.LayerDrop(block, 0.5)
    made = jax.eval_shape(lambda key: dropped.init(key, x, deterministic=True), KEY)
    assert jax.tree.structure(made) == jax.tree.structure(variables)
    for rate in (0.0, 1.0):
        y, updates = dropped.apply(
            variables,
            x,
            deterministic=False,
            rng=KEY,
            rate=jnp.float32(rate),
            mutable=["batch_stats"],
        )
        assert jnp.array_equal(y, x) == (rate == 1.0)
        means = jax.tree.leaves(updates)[0]
        assert means.any() == (rate == 0.0)


def test_layers_that_are_functions_are_dropped_too():
    x = array((4, 3))
    for function in (jnp.tanh, lambda x: x + 1):
        layer = djn.LayerDrop(function, 0.5)
        for seed in range(4):
            key = jax.random.key(seed)
            expected = dj.layer_drop(key, x, function, 0.5)
            np.testing.assert_array_equal(layer(x, rngs=key), expected)
    call = nnx.jit(lambda layer, x, rate: layer(x, rngs=KEY, rate=rate))
    np.testing.assert_array_equal(call(layer, x, jnp.float32(0.0)), x + 1)
    np.testing.assert_array_equal(call(layer, x, jnp.float32(1.0)), x)


@pytest.mark.parametrize("wrapper", [djl.LayerDrop, djl.DropConnect])
def test_in_linen_a_function_is_made_a_module_first(wrapper):
    x = array((4, 3))
    with pytest.raises(TypeError, match="module must be a Linen module, got"):
        wrapper(jnp.tanh, 0.5).apply({}, x, deterministic=True)
    y = djl.LayerDrop(nn.Sequential([jnp.tanh]), 0.0).apply({}, x, deterministic=False)
    np.testing.assert_array_equal(y, jnp.tanh(x))


def test_activations_are_dropped():
    x = array((60, 40))
    y, *others = faces(
        lambda key, x: dj.drop_activation(key, x, 0.3),
        djl.DropActivation(0.3),
        djn.DropActivation(0.3),
        KEY,
        x,
    )
    mask = dj.drop_activation_mask(KEY, x.shape, 0.3)
    np.testing.assert_array_equal(y, jnp.where(mask & (x < 0), 0, x))
    for other in others:
        np.testing.assert_array_equal(y, other)
    np.testing.assert_array_equal(dj.drop_activation(None, x, 0.0), jax.nn.relu(x))
    assert dj.drop_activation(None, x, 1.0) is x
    mean = dj.drop_activation(None, x, 0.3, deterministic=True)
    np.testing.assert_allclose(mean, jax.nn.leaky_relu(x, 0.3), rtol=1e-5)
    slope = jax.grad(lambda x: dj.drop_activation(KEY, x, 0.3).sum())(x)
    np.testing.assert_array_equal(slope, (~mask | (x > 0)).astype(x.dtype))


def test_shake_drops_factors():
    x = jnp.ones((4000, 2))
    options = {"forward_range": (-1.0, 0.0), "backward_range": (2.0, 3.0)}
    drop = lambda x: dj.shake_drop(KEY, x, 0.4, **options)  # noqa: E731
    y, back = jax.vjp(drop, x)
    slope, tangent = back(x)[0], jax.jvp(drop, (x,), (x,))[1]
    np.testing.assert_array_equal(slope, tangent)
    kept = y == 1
    np.testing.assert_array_equal(kept, slope == 1)
    assert abs(kept[:, 0].mean() - 0.6) < 5 * np.sqrt(0.24 / 4000)
    shaken, pulled = np.asarray(y[~kept]), np.asarray(slope[~kept])
    assert ((shaken >= -1) & (shaken < 0)).all()
    assert ((pulled >= 2) & (pulled < 3)).all()
    assert abs(shaken.mean() + 0.5) < 0.05
    assert abs(np.corrcoef(shaken, pulled)[0, 1]) < 0.1
    np.testing.assert_array_equal(y[:, 0], y[:, 1])
    calm = dj.shake_drop(None, x, 0.4, deterministic=True, **options)
    np.testing.assert_allclose(calm, 0.6 - 0.4 * 0.5, rtol=1e-6)


@pytest.mark.parametrize("dims", [(), (0, 1, 2), (1,)])
def test_shake_drop_shares_its_draws(dims):
    y = dj.shake_drop(KEY, jnp.ones((6, 5, 4)), 1.0, broadcast_dims=dims)
    coins = [1 if axis in dims else size for axis, size in enumerate(y.shape)]
    assert len(set(np.asarray(y).ravel().tolist())) == np.prod(coins)


def test_maxima_across_channels():
    x = jnp.abs(array((5, 6, 7)))
    y = dj.max_dropout(None, x, 1.0, broadcast_dims=-1)
    expected = jnp.where(x == x.max(-1, keepdims=True), 0, x)
    np.testing.assert_array_equal(y, expected)
    assert dj.max_dropout(KEY, jnp.ones((0, 3, 2)), 0.5).shape == (0, 3, 2)


def test_weighted_channels():
    x = jnp.abs(array((50, 4, 10)))
    y, *others = faces(
        lambda key, x: dj.weighted_channel_dropout(key, x, 0.34),
        djl.WeightedChannelDropout(0.34),
        djn.WeightedChannelDropout(0.34),
        KEY,
        x,
    )
    for other in others:
        np.testing.assert_array_equal(y, other)
    kept = y[:, 0] != 0
    assert (kept.sum(-1) == 7).all()
    weights = x.mean(1)
    gain = weights.sum(-1) / jnp.where(kept, weights, 0).sum(-1)
    expected = jnp.where(kept[:, None], x * gain[:, None, None], 0)
    np.testing.assert_allclose(y, expected, rtol=1e-5)
    slope = jax.grad(lambda x: dj.weighted_channel_dropout(KEY, x, 0.34).sum())(x)
    wanted = jnp.where(kept[:, None], gain[:, None, None], 0)
    np.testing.assert_allclose(slope, jnp.broadcast_to(wanted, x.shape), rtol=1e-5)
    _, back = jax.vjp(lambda x: dj.weighted_channel_dropout(KEY, x, 0.34), x)
    assert sum(leaf.size for leaf in jax.tree.leaves(back)) <= 50 * 10 * 2
    for off in ({"rate": 0.0}, {"rate": 0.5, "deterministic": True}):
        assert dj.weighted_channel_dropout(None, x, **off) is x
    assert not dj.weighted_channel_dropout(None, x, 0.5, selected_rate=1.0).any()
    with pytest.raises(ValueError, match=r"mask's shape \(50, 1, 1\)"):
        dj.weighted_channel_dropout(KEY, x, jnp.full((50, 1, 10), 0.5))


def test_weighted_channels_traced_poisoned_and_empty():
    x = jnp.abs(array((50, 4, 10)))
    call = jax.jit(lambda x, rate: dj.weighted_channel_dropout(KEY, x, rate))
    np.testing.assert_allclose(call(x, jnp.float32(0.0)), x, rtol=1e-6)
    assert not call(x, jnp.float32(1.0)).any()
    assert np.isnan(call(x, jnp.float32(jnp.nan))).all()
    per_example = jnp.linspace(0, 1, 50)[:, None, None]
    kept = (call(x, per_example)[:, 0] != 0).sum(-1)
    np.testing.assert_array_equal(kept, jnp.round((1 - per_example[:, 0, 0]) * 10))
    half = dj.weighted_channel_dropout(KEY, x, 0.0, selected_rate=0.5)
    assert abs((half[:, 0] != 0).mean() - 0.5) < 5 * 0.5 / 500**0.5
    y = dj.weighted_channel_dropout(KEY, x.at[0, 0, 0].set(jnp.nan), 0.5)
    assert np.isfinite(y[1:]).all()
    assert not call(jnp.zeros((2, 3, 4)), 0.5).any()
    assert call(x.astype(jnp.bfloat16), 0.5).dtype == jnp.bfloat16


def test_heavier_channels_are_likelier_by_their_weights():
    x = jnp.broadcast_to(jnp.array([1.0, 2.0, 5.0]), (4000, 1, 3))
    y = dj.weighted_channel_dropout(KEY, x, 2 / 3)
    shares = (y[:, 0] != 0).mean(0)
    np.testing.assert_allclose(shares, [1 / 8, 2 / 8, 5 / 8], atol=0.04)


def test_layers_ask_for_a_key_where_their_functions_do():
    x = abs(array((2, 3, 3, 8)))
    for rate, selected in ((0.0, 0.5), (0.5, 0.0)):
        linen = djl.WeightedChannelDropout(rate, selected)
        y = linen.apply({}, x, False, rngs={"dropout": KEY})
        layer = djn.WeightedChannelDropout(rate, selected_rate=selected)
        assert y.shape == layer(x, rngs=KEY).shape == x.shape
    expected = dj.shake_drop(KEY, x, 1.0)
    shaken = djl.ShakeDrop(1.0).apply({}, x, False, KEY)
    np.testing.assert_array_equal(shaken, expected)
    assert djl.ShakeDrop(1.0).apply({}, x, False, rngs={"dropout": KEY}).any()
    np.testing.assert_array_equal(djn.ShakeDrop(1.0)(x, rngs=KEY), expected)
    assert djn.ShakeDrop(1.0, rngs=nnx.Rngs(0))(x).any()


def test_a_layer_that_changes_the_shape_is_refused_wherever_the_coin_falls():
    for options in ({"rate": 0.0}, {"rate": 0.5, "deterministic": True}, {"rate": 0.5}):
        with pytest.raises(ValueError, match=r"layer\(x\)"):
            dj.layer_drop(KEY, jnp.ones((2, 3)), lambda x: x[:1], **options)


@pytest.mark.parametrize("deterministic", [False, True])
@pytest.mark.parametrize("rate", [0.5, jnp.float32(1.0)])
def test_no_slope_comes_from_an_activation_that_is_dropped(rate, deterministic):
    """The root has none at 0, and no number below."""
    root = functools.partial(dj.drop_activation, activation=jnp.sqrt)
    drop = functools.partial(root, KEY, rate=rate, deterministic=deterministic)
    slopes = jax.jit(jax.grad(lambda x: drop(x).sum()))(jnp.zeros(100))
    if rate == 1:
        np.testing.assert_array_equal(slopes, jnp.ones(100))
        np.testing.assert_array_equal(drop(-jnp.ones(100)), -jnp.ones(100))
    elif not deterministic:
        kept = dj.drop_activation_mask(KEY, (100,), rate)
        np.testing.assert_array_equal(slopes, jnp.where(kept, jnp.inf, 1))


@pytest.mark.parametrize("rate", [0.0, 1.0])
def test_at_its_ends_the_mean_of_zoneout_is_one_of_two_states(rate):
    new, old = jnp.array([jnp.inf, 1.0]), jnp.array([2.0, jnp.inf])
    new, old = (new, old) if rate else (old, new)
    for each in (rate, jnp.float32(rate)):
        y = dj.zoneout(None, new, old, each, deterministic=True)
        np.testing.assert_array_equal(y, old if rate else new)


def test_a_bias_that_is_not_there_needs_no_key():
    layer = djl.DropConnectDense(3, 0.0, use_bias=False, bias_rate=0.5)
    x = jnp.ones((2, 5))
    layer.apply(layer.init(KEY, x, deterministic=True), x, deterministic=False)
    options = {"use_bias": False, "bias_rate": 0.5, "deterministic": False}
    of_nnx = djn.DropConnectLinear(5, 3, 0.0, rngs=nnx.Rngs(0), **options)
    of_nnx(x)
    assert of_nnx.rngs.count[...] == 0


def test_no_features_have_no_bias_to_drop():
    bias = {"bias": jnp.ones(0), "bias_rate": 0.5, "mask_per": "example"}
    y = dj.dropconnect_dense(KEY, jnp.ones((4, 5)), jnp.ones((5, 0)), 0.5, **bias)
    assert y.shape == (4, 0)


@pytest.mark.parametrize("mode", ["row", "batch"])
@pytest.mark.parametrize("scaling", ["inverted", "standard", "none"])
@pytest.mark.parametrize("impl", ["threefry2x32", "rbg", dj.fast_prng])
def test_the_leaves_of_an_example_are_dropped_together(impl, scaling, mode):
    x, key = array((40, 3, 2)), jax.random.key(5, impl=impl)
    tree = {"a": x, "b": (x[:, 0].astype(jnp.bfloat16), None), "c": x[..., 0, 0]}
    options = {"mode": mode, "scaling": scaling}
    for rate in (0.5, jnp.float32(0.5), 1.0):
        # An array alone, or in a tree: the coins are the same.
        expected = jax.tree.map(lambda x: dj.drop_path(key, x, rate, **options), tree)  # noqa: B023
        y, *others = faces(
            lambda key, x: dj.drop_path(key, x, rate, **options),  # noqa: B023
            djl.DropPath(rate, **options),
            djn.DropPath(rate, **options),
            key,
            tree,
        )
        for other in (y, *others):
            assert jax.tree.structure(other) == jax.tree.structure(tree)
            jax.tree.map(np.testing.assert_array_equal, other, expected)
    off = dj.drop_path(None, tree, 0.5, deterministic=True, **options)
    mean = 0.5 if scaling == "standard" else 1
    np.testing.assert_array_equal(off["a"], x * np.float32(mean))


def test_trees_of_branches_keep_their_coins_alone_for_the_backward_pass():
    tree, rates = (array((40, 3, 50)), array((40, 7, 50))), jnp.linspace(0, 1, 40)
    y, back = jax.vjp(lambda tree: dj.drop_path(KEY, tree, rates), tree)
    assert sum(leaf.size for leaf in jax.tree.leaves(back)) <= 40 * 6
    kept = dj.drop_path_mask(KEY, (40,), rates)
    gain = jnp.where(kept, 1 / (1 - rates), 0)[:, None, None]
    slopes = back((jnp.ones_like(tree[0]), jnp.ones_like(tree[1])))[0]
    for slope, leaf, x in zip(slopes, y, tree, strict=True):
        np.testing.assert_allclose(leaf, gain * x, rtol=1e-6)
        np.testing.assert_allclose(slope, jnp.broadcast_to(gain, x.shape), rtol=1e-6)
    turned = dj.drop_path(KEY, [x.T for x in tree], rates, batch_axis=-1)
    for leaf, other in zip(turned, y, strict=True):
        np.testing.assert_array_equal(leaf.T, other)
