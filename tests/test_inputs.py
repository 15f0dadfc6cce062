"""Conditions and modalities: what is drawn, and what becomes of trees."""

import functools
import itertools
import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax import export
from jax.sharding import NamedSharding, PartitionSpec

import dropjax as dj
import dropjax.linen as djl
import dropjax.nnx as djn
from tests.methods import array

KEY = jax.random.key(2022)
GENERATORS = ["threefry2x32", dj.fast_prng, "rbg"]
X = {
    "label": jnp.arange(12),
    "text": (array((12, 5, 4)), jnp.ones((12, 5), bool)),
    "time": array((12,)),
}
NULL = {"label": 1000, "text": (array((4,), seed=1), False), "time": -1.0}


def expected(mask, x=X, null=NULL):
    def select(x, null):
        own = mask.reshape(-1, *(1,) * (x.ndim - 1))
        return jnp.where(own, x, jnp.asarray(null, x.dtype))

    return jax.tree.map(select, x, null)


def assert_equal(one, other):
    assert jax.tree.structure(one) == jax.tree.structure(other)
    for mine, yours in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        assert mine.dtype == yours.dtype
        np.testing.assert_array_equal(mine, yours)


def chi_square(outcomes, probabilities):
    """In standard deviations of the statistic."""
    counts = np.array([outcomes.count(outcome) for outcome in probabilities])
    wanted = len(outcomes) * np.array(list(probabilities.values()))
    assert not counts[wanted == 0].any()
    assert counts.sum() == len(outcomes)
    counts, wanted = counts[wanted > 0], wanted[wanted > 0]
    freedom = len(counts) - 1
    statistic = ((counts - wanted) ** 2 / wanted).sum()
    return abs(statistic - freedom) / math.sqrt(2 * max(freedom, 1))


# Conditions.


@pytest.mark.parametrize("generator", GENERATORS)
def test_all_conditions_of_an_example_share_one_mask_value(generator):
    key = jax.random.key(1, impl=generator)
    drop = functools.partial(dj.condition_dropout, fill=NULL, return_mask=True)
    y, mask = drop(key, X, 0.5)
    assert 0 < mask.sum() < 12
    assert_equal(y, expected(mask))
    np.testing.assert_array_equal(mask, dj.condition_dropout_mask(key, (12,), 0.5))
    assert_equal(jax.jit(drop)(key, X, 0.5), (y, mask))
    assert_equal(dj.condition_dropout(key, X, 0.5, fill=NULL), y)


def test_conditions_off_and_all_gone():
    for off in ({"rate": 0.0}, {"rate": 0.5, "deterministic": True}):
        y, mask = dj.condition_dropout(None, X, fill=NULL, return_mask=True, **off)
        assert y is X
        assert mask.all()
    y, mask = dj.condition_dropout(None, X, 1, fill=NULL, return_mask=True)
    assert_equal(y, expected(mask))
    assert not mask.any()


def test_a_condition_rate_per_example():
    rates = jnp.linspace(0, 1, 12)
    y, mask = dj.condition_dropout(KEY, X, rates, fill=NULL, return_mask=True)
    assert_equal(y, expected(mask))
    each = [
        dj.condition_dropout_mask(KEY, (12,), rate)[n] for n, rate in enumerate(rates)
    ]
    np.testing.assert_array_equal(mask, each)
    assert mask[0]
    assert not mask[-1]


@pytest.mark.parametrize("batch_axis", [1, -2])
def test_the_axis_of_the_examples(batch_axis):
    x, null = array((5, 12, 4)), array((5, 1, 4), seed=1)
    options = {"batch_axis": batch_axis, "fill": null}
    y = dj.condition_dropout(KEY, x, 0.5, **options)
    mask = dj.condition_dropout_mask(KEY, x.shape, 0.5, batch_axis=batch_axis)
    assert mask.shape == (1, 12, 1)
    np.testing.assert_array_equal(y, jnp.where(mask, x, null))
    np.testing.assert_array_equal(
        mask.ravel(), dj.condition_dropout_mask(KEY, (12,), 0.5)
    )


def test_a_fill_may_be_a_prefix_of_the_conditions():
    x = {"text": [array((12, 3)), array((12, 2))], "time": array((12,))}
    y, mask = dj.condition_dropout(
        KEY, x, 0.5, fill={"text": 2, "time": 3.0}, return_mask=True
    )
    assert_equal(y, expected(mask, x, {"text": [2, 2], "time": 3.0}))
    y = dj.condition_dropout(KEY, x, 0.5, fill=5)
    assert_equal(y, expected(mask, x, {"text": [5, 5], "time": 5}))


def test_gradients_reach_the_null_condition_and_the_kept_alone():
    text, null = X["text"][0], NULL["text"][0]

    def loss(text, null):
        x = {**X, "text": (text, X["text"][1])}
        fill = {**NULL, "text": (null, False)}
        return dj.condition_dropout(KEY, x, 0.5, fill=fill)["text"][0].sum()

    mask = dj.condition_dropout_mask(KEY, (12,), 0.5)
    slopes = jax.jit(jax.grad(loss, (0, 1)))(text, null)
    np.testing.assert_array_equal(
        slopes[0], jnp.broadcast_to(mask[:, None, None], text.shape)
    )
    np.testing.assert_array_equal(slopes[1], jnp.full(4, 5.0 * float((~mask).sum())))


@pytest.mark.parametrize("generator", GENERATORS[:2])
def test_no_mask_of_conditions_or_modalities_is_kept(generator):
    key = jax.random.key(1, impl=generator)
    fill = {**NULL, "text": (0.0, False)}

    def conditions(text, time):
        x = {**X, "text": (text, X["text"][1]), "time": time}
        y = dj.condition_dropout(key, x, 0.5, fill=fill)
        return y["text"][0], y["time"]

    def modalities(text, time):
        return dj.modality_dropout(key, (text, time), 0.5)[0]

    for drop in (conditions, modalities):
        _, back = jax.vjp(drop, X["text"][0], X["time"])
        assert sum(leaf.size for leaf in jax.tree.leaves(back)) <= 12


def test_a_key_that_masks_several_arrays_is_used_once():
    both = lambda key: (  # noqa: E731
        dj.condition_dropout(key, X, 0.5, fill=NULL, return_mask=True),
        dj.modality_dropout(jax.random.fold_in(key, 1), [X["time"]] * 3, 0.5),
    )
    with jax.debug_key_reuse(True):
        jax.jit(both)(jax.random.key(5))
        for drop in (
            lambda key: dj.condition_dropout(key, X, 0.5, fill=NULL),
            lambda key: dj.modality_dropout(key, [X["time"]] * 3, 0.5),
        ):
            with pytest.raises(jax.errors.KeyReuseError):
                jax.jit(lambda key, drop=drop: (drop(key), drop(key)))(KEY)


@pytest.mark.parametrize("axis_type", ["Auto", "Explicit"])
def test_sharded_trees_have_the_same_masks_without_communication(axis_type):
    def drop(x):
        y = dj.condition_dropout(KEY, x, 0.5, fill=NULL)
        return y, dj.modality_dropout(KEY, x, 0.5)[0]

    kind = (getattr(jax.sharding.AxisType, axis_type),)
    mesh = jax.make_mesh((2,), ("data",), kind, devices=jax.devices()[:2])
    with jax.set_mesh(mesh):
        own = NamedSharding(mesh, PartitionSpec("data"))
        shards = jax.device_put(X, own)
        compiled = jax.jit(drop).lower(shards).compile()
        y, text = compiled(shards), compiled.as_text()
    assert_equal(y, drop(X))
    for leaf in jax.tree.leaves(y):
        assert leaf.sharding.is_equivalent_to(own, leaf.ndim)
    for talk in ("all-reduce", "all-gather", "all-to-all", "permute"):
        assert talk not in text


def test_trees_are_exported_for_any_batch():
    def drop(x):
        found = dj.condition_dropout(KEY, x, 0.5, fill=NULL, return_mask=True)
        return found, dj.modality_dropout(
            KEY, x, {"label": 0.2, "text": 0.5, "time": 0.5}
        )

    (size,) = export.symbolic_shape("b")
    symbolic = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct((size, *x.shape[1:]), x.dtype), X
    )
    program = export.deserialize(export.export(jax.jit(drop))(symbolic).serialize())
    for examples in (1, 2, 12):
        x = jax.tree.map(lambda x, n=examples: x[:n], X)
        assert_equal(program.call(x), drop(x))


def test_a_key_per_row_of_a_vmap():
    keys, text = jax.random.split(KEY, 3), array((3, 12, 4))
    drop = lambda key, x: dj.condition_dropout(  # noqa: E731
        key, {"a": x, "b": x}, 0.5, fill=0, return_mask=True
    )
    mapped = jax.vmap(drop)(keys, text)
    loop = [drop(key, x) for key, x in zip(keys, text, strict=True)]
    assert_equal(mapped, jax.tree.map(lambda *rows: jnp.stack(rows), *loop))


class Labels(nn.Module):
    """A label is looked up, and replaced by a learned embedding."""

    drop: djl.ConditionDropout

    @nn.compact
    def __call__(self, label, deterministic):
        null = self.param("null", nn.initializers.normal(1.0), (4,))
        x = {"label": nn.Embed(10, 4)(label), "scale": [jnp.ones(label.shape)]}
        fill = {"label": null, "scale": [0]}
        return self.drop(x, deterministic, fill=fill)


def test_a_null_condition_that_linen_learns():
    labels = jnp.arange(10)
    model = Labels(djl.ConditionDropout(0.5, fill=0, return_mask=True))
    params = model.init(KEY, labels, True)["params"]

    def embedded(params):
        return model.apply({"params": params}, labels, False, rngs={"dropout": KEY})

    y, mask = embedded(params)
    table = params["Embed_0"]["embedding"]
    wanted = jnp.where(mask[:, None], table, params["null"])
    np.testing.assert_array_equal(y["label"], wanted)
    np.testing.assert_array_equal(y["scale"][0], mask)
    slopes = jax.grad(lambda params: embedded(params)[0]["label"].sum())(params)
    np.testing.assert_array_equal(slopes["null"], jnp.full(4, float((~mask).sum())))


def test_containers_of_linen_are_matched_by_their_paths():
    x = {"a": [array((12, 3)), array((12, 2))], "b": array((12,))}
    fill, rate = {"a": [1.0, 2.0], "b": 3.0}, {"a": [0.2, 0.9], "b": 0.5}
    layer = djl.ConditionDropout(0.5, fill)
    y = layer.apply({}, x, deterministic=False, rng=KEY)
    assert_equal(y, dj.condition_dropout(KEY, x, 0.5, fill=fill))
    layer = djl.ModalityDropout(rate, fill=fill)
    found = layer.apply({}, x, deterministic=False, rng=KEY)
    assert_equal(found, dj.modality_dropout(KEY, x, rate, fill=fill))
    rates = djl.rates(layer, x, deterministic=False)
    assert jax.tree.leaves(rates) == pytest.approx(jax.tree.leaves(rate))
    off = jax.tree.map(jnp.zeros_like, rates)
    y, present = layer.apply({"rates": off}, x, deterministic=False, rng=KEY)
    assert_equal(y, x)
    assert jax.tree.all(jax.tree.map(jnp.all, present))


def test_a_null_condition_that_nnx_learns():
    null = {"text": nnx.Param(array((4,), seed=1)), "time": 0}
    layer = djn.ConditionDropout(0.5, null, return_mask=True, rngs=nnx.Rngs(0))
    x = {"text": array((12, 5, 4)), "time": X["time"]}
    assert len(jax.tree.leaves(nnx.state(layer, nnx.Param))) == 1

    @nnx.jit
    def value_and_slope(layer):
        loss = lambda layer: layer(x, rngs=KEY)[0]["text"].sum()  # noqa: E731
        return layer(x, rngs=KEY), nnx.grad(loss)(layer)

    (y, mask), slope = value_and_slope(layer)
    values = {"text": null["text"][...], "time": 0}
    assert_equal(y, expected(mask, x, values))
    found = jax.tree.leaves(slope)[0]
    np.testing.assert_array_equal(found, jnp.full(4, 5.0 * float((~mask).sum())))
    y, _ = layer(x, rngs=KEY, fill=9)
    assert_equal(y, expected(mask, x, {"text": 9, "time": 9}))
    modalities = djn.ModalityDropout(0.9, fill=nnx.Param(jnp.full(4, 3.0)))
    y, present = modalities([x["text"]] * 2, rngs=KEY)
    assert_equal(y[1], expected(present[1], x["text"], 3.0))


# Modalities.


def distribution(rates, keep_one=True):
    """The probability of each set of modalities."""
    found = {}
    for outcome in itertools.product((False, True), repeat=len(rates)):
        own = [1 - r if kept else r for kept, r in zip(outcome, rates, strict=True)]
        found[outcome] = math.prod(own)
    if keep_one:
        del found[(False,) * len(rates)]
    total = sum(found.values())
    return {outcome: p / total for outcome, p in found.items()}


def drawn(key, rates, examples=20_000, **options):
    x = [jnp.zeros((examples, 1))] * len(rates)
    _, present = dj.modality_dropout(key, x, list(rates), **options)
    return list(map(tuple, np.stack(present, 1).tolist()))


@pytest.mark.parametrize("generator", GENERATORS)
@pytest.mark.parametrize(
    "rates",
    [(0.5, 0.5), (0.1, 0.6, 0.9), (0.99, 0.95, 0.9), (0.0, 0.5), (1.0, 0.5, 0.5)],
    ids=str,
)
def test_modalities_are_independent_given_that_one_is_kept(rates, generator):
    key = jax.random.key(3, impl=generator)
    found = drawn(key, rates)
    assert chi_square(found, distribution(rates)) < 5
    # The marginals of the docstring.
    q = math.prod(rates)
    for shares, rate in zip(np.transpose(found), rates, strict=True):
        share = (1 - rate) / (1 - q)
        deviation = math.sqrt(share * (1 - share) / len(shares))
        assert abs(shares.mean() - share) <= 5 * deviation
    traced = jax.jit(
        lambda key, rates: dj.modality_dropout_mask(
            key, [(20_000,)] * len(rates), list(rates)
        )
    )
    masks = traced(key, jnp.asarray(rates, jnp.float32))
    assert list(map(tuple, np.stack(masks, 1).tolist())) == found


def test_small_keep_probabilities_are_exact():
    """Where one is kept in 500,000 independent masks, all differences are lost."""
    rates = (1 - 2e-6, 1 - 1e-6, 1 - 1e-6)
    found = drawn(KEY, rates)
    assert chi_square(found, distribution(rates)) < 5


def test_modalities_may_all_drop():
    rates = (0.3, 0.6)
    found = drawn(KEY, rates, keep_one=False)
    assert chi_square(found, distribution(rates, keep_one=False)) < 5
    assert (False, False) in found


def test_one_more_modality_is_kept_at_most():
    """Beside those that independent masks of the same key keep."""
    shapes = [(5000,)] * 3
    one, none = (
        np.stack(dj.modality_dropout_mask(KEY, shapes, 0.7, keep_one=keep_one), 1)
        for keep_one in (True, False)
    )
    assert (one >= none).all()
    added = (one & ~none).sum(1)
    assert set(added) == {0, 1}
    np.testing.assert_array_equal(one.any(1), True)


def test_the_limit_of_rates_of_one():
    """One modality is kept, and each is as likely."""
    drop = jax.jit(lambda rate: dj.modality_dropout_mask(KEY, [(20_000,)] * 4, rate))
    masks = np.stack(drop(jnp.float32(1)), 1)
    assert (masks.sum(1) == 1).all()
    outcomes = list(map(tuple, masks.tolist()))
    alone = {tuple(row): 0.25 for row in np.eye(4, dtype=bool).tolist()}
    assert chi_square(outcomes, alone) < 5


def test_a_modality_rate_per_example():
    rates = jnp.linspace(0, 1, 12)
    x = {"a": array((12, 3)), "b": array((12, 2)), "c": array((12,))}
    given = {"a": rates, "b": 1.0, "c": rates}
    y, present = dj.modality_dropout(KEY, x, given, fill={"a": 1.0, "b": 2.0, "c": 3.0})
    masks = dj.modality_dropout_mask(KEY, jax.tree.map(jnp.shape, x), given)
    for name, null in (("a", 1.0), ("b", 2.0), ("c", 3.0)):
        np.testing.assert_array_equal(masks[name].ravel(), present[name])
        np.testing.assert_array_equal(y[name], jnp.where(masks[name], x[name], null))
    kept = np.stack(list(present.values()))
    assert kept.any(0).all()
    assert kept[0, 0]
    assert not kept[1, :-1].any()
    assert kept[:, -1].sum() == 1


def test_modalities_of_integers_and_booleans():
    x = (X["label"], X["text"][1])
    y, present = dj.modality_dropout(KEY, x, 0.5, fill=(-1, True))
    np.testing.assert_array_equal(y[0], jnp.where(present[0], x[0], -1))
    assert y[1].all()


def test_modalities_off_and_all_gone():
    x = [X["time"], X["label"]]
    for off in ({"rate": [0, 0.0]}, {"rate": 0.5, "deterministic": True}):
        y, present = dj.modality_dropout(None, x, **off)
        assert y is x
        assert present[0].all()
        assert present[1].all()
    y, present = dj.modality_dropout(None, x, 1, keep_one=False, fill=4)
    assert all((leaf == 4).all() for leaf in y)
    assert not present[0].any()


def test_rates_of_zero_and_one_leave_out_the_same_modalities_without_a_key():
    x, rates = {"audio": X["time"], "video": X["label"]}, {"audio": 1.0, "video": 0.0}
    linen = djl.ModalityDropout(rates).apply({}, x, False, rngs={"dropout": KEY})
    nnxs = djn.ModalityDropout(rates, rngs=nnx.Rngs(0))(x)
    for y, present in (dj.modality_dropout(None, x, rates), linen, nnxs):
        assert not present["audio"].any()
        assert present["video"].all()
        assert not y["audio"].any()
        np.testing.assert_array_equal(y["video"], x["video"])
