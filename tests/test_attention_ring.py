"""Attention over a sharded sequence: the values, gradients and mask of one device."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

import dropjax as dj
from tests.test_attention_blocks import cases

BATCH, LENGTH, HEADS, KV_HEADS, DEPTH = 2, 48, 4, 2, 8
SEQUENCE = P(None, "s")
KEY = jax.random.key(7)
DROP = {"dropout_rng": KEY, "dropout_rate": 0.4}
close = functools.partial(np.testing.assert_allclose, atol=5e-6)


def inputs(keys=LENGTH):
    shapes = [(BATCH, LENGTH, HEADS, DEPTH), *[(BATCH, keys, KV_HEADS, DEPTH)] * 2]
    seeds = jax.random.split(KEY, 3)
    pairs = zip(seeds, shapes, strict=True)
    return [jax.random.normal(seed, shape) for seed, shape in pairs]


def over_queries(x):
    """The sharding of a bias or mask: by its queries, with all keys."""
    return P(*[None] * (x.ndim - 2), "s" if x.shape[-2] > 1 else None, None)


def make_mesh(shards, kind=AxisType.Auto):
    return jax.make_mesh((shards,), ("s",), (kind,), devices=jax.devices()[:shards])


def ring(shards, *, bias=None, mask=None, **options):
    """The attention of a mesh of so many devices, as a function of global arrays."""
    mesh = make_mesh(shards)
    given = {"bias": bias, "mask": mask}
    given = {name: x for name, x in given.items() if x is not None}

    def attend(query, key, value, given):
        return dj.dot_product_attention(
            query, key, value, axis_name="s", **given, **options
        )

    specs = {name: over_queries(x) for name, x in given.items()}
    mapped = jax.shard_map(
        attend, mesh=mesh, in_specs=(*[SEQUENCE] * 3, specs), out_specs=SEQUENCE
    )
    return lambda query, key, value, given=given: mapped(query, key, value, given)


def value_and_pullback(attend, x, *more):
    y, back = jax.vjp(attend, *x, *more)
    return y, back(jnp.cos(jnp.arange(y.size)).reshape(y.shape).astype(y.dtype))


def assert_same(attend, other, x, *more, **options):
    found, wanted = (
        jax.jit(functools.partial(value_and_pullback, each))(x, *more)
        for each in (attend, other)
    )
    assert jax.tree.structure(found) == jax.tree.structure(wanted)
    check = functools.partial(close, **options)
    jax.tree.map(check, found, wanted)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(found))


MASK = jax.random.bernoulli(KEY, 0.5, (BATCH, 1, LENGTH, LENGTH)).at[0, :, 5].set(False)
WAYS = {
    "plain": {},
    "causal": {"is_causal": True},
    "window": {"local_window_size": (9, 3)},
    "behind": {"local_window_size": (13, 0), "is_causal": True},
    "mask": {"mask": MASK},
    "causal mask": {"mask": MASK, "is_causal": True},
    "mask of keys": {"mask": MASK[:, :, :1]},
    "shared": {"broadcast_dropout": True},
    "renormalized": {"renormalize": True},
    "almost nothing": {"renormalize": True, "dropout_rate": 0.98},
    "lengths": {
        "key_value_seq_lengths": jnp.array([29, 3]),
        "query_seq_lengths": jnp.array([37, 48]),
    },
    "rates": {"dropout_rate": jnp.linspace(0, 0.9, LENGTH)},
    "rates of queries": {"dropout_rate": jnp.linspace(0, 0.9, LENGTH)[:, None]},
    "scale": {"scale": 0.1, "block_size": 5},
}
QUICK = ["behind", "causal mask", "almost nothing", "lengths", "rates of queries"]
QUICK += ["scale"]


@pytest.mark.parametrize("way", cases(WAYS, *QUICK))
def test_it_is_the_attention_of_one_device(way):
    options = {**DROP, **WAYS[way]}
    one = functools.partial(dj.dot_product_attention, **options)
    assert_same(ring(4, **options), one, inputs())


@pytest.mark.parametrize("shards", cases([1, 2, 3, 8], 1, 3))
def test_any_number_of_shards_and_both_generators(shards):
    impl = dj.fast_prng if shards % 2 else "threefry2x32"
    options = {"dropout_rng": jax.random.key(3, impl=impl), "dropout_rate": 0.3}
    options |= {"is_causal": True, "broadcast_dropout": shards == 3}
    one = functools.partial(dj.dot_product_attention, **options)
    assert_same(ring(shards, **options), one, inputs())


def test_without_dropout_and_with_other_numbers_of_keys():
    assert_same(ring(4), dj.dot_product_attention, inputs(keys=32))
    options = {"local_window_size": 2}
    one = functools.partial(dj.dot_product_attention, **options)
    assert_same(ring(4, **options), one, inputs(keys=32))


def test_the_gradient_of_a_bias():
    bias = jax.random.normal(KEY, (1, HEADS, LENGTH, LENGTH))
    options = {**DROP, "is_causal": True}
    sharded = ring(4, bias=bias, **options)

    def one(query, key, value, given):
        return dj.dot_product_attention(query, key, value, **given, **options)

    assert_same(sharded, one, inputs(), {"bias": bias})


def test_half_precision_sums_in_float32():
    one = functools.partial(dj.dot_product_attention, **DROP)
    x = [each.astype(jnp.bfloat16) for each in inputs()]
    wide = [each.astype(jnp.float32) for each in x]
    wide = jax.jit(functools.partial(value_and_pullback, one))(wide)
    found = jax.jit(functools.partial(value_and_pullback, ring(4, **DROP)))(x)
    for narrow, each in zip(*map(jax.tree.leaves, (found, wide)), strict=True):
        assert narrow.dtype == jnp.bfloat16
        np.testing.assert_allclose(np.float32(narrow), each, atol=0.02 * each.max())


@pytest.mark.slow
def test_forward_mode_and_second_derivatives():
    x, options = inputs(), {**DROP, "is_causal": True}
    one = functools.partial(dj.dot_product_attention, **options)

    def both(attend):
        def slope(query):
            return jax.grad(lambda q: (attend(q, *x[1:]) ** 2).sum())(query)

        return jax.jvp(attend, x, x), jax.jvp(slope, x[:1], x[1:2] * 0 + x[:1])

    jax.tree.map(
        functools.partial(close, atol=5e-5),
        *(jax.jit(both, static_argnums=0)(each) for each in (ring(2, **options), one)),
    )


def test_vmap_scan_and_a_traced_rate():
    x = inputs()

    def both(attention):
        def one(scale, rate):
            attend = attention(dropout_rng=KEY, dropout_rate=rate)
            return attend(*(each * scale for each in x))

        scales, rates = jnp.array([1.0, 2.0]), jnp.array([0.3, 0.6])
        mapped = jax.vmap(one)(scales, rates)
        _, scanned = jax.lax.scan(
            lambda _, each: (None, one(*each)), None, (scales, rates)
        )
        return mapped, scanned

    plain = functools.partial(functools.partial, dj.dot_product_attention)
    found = jax.jit(lambda: both(functools.partial(ring, 2)))()
    wanted = jax.jit(lambda: both(plain))()
    jax.tree.map(functools.partial(close, atol=5e-5), found, wanted)


def program(shards, length, gradient=True, **options):
    attend = ring(shards, **DROP, **options)
    loss = lambda *x: attend(*x).sum()  # noqa: E731
    x = jax.ShapeDtypeStruct((1, length, 2, DEPTH), jnp.float32)
    run = jax.grad(loss, (0, 1, 2)) if gradient else attend
    return jax.jit(run).lower(x, x, x).compile()


@pytest.mark.parametrize("gradient", [False, True])
def test_only_collective_permutes(gradient):
    attend = ring(4, **DROP, is_causal=True)
    run = functools.partial(value_and_pullback, attend) if gradient else None
    run = jax.jit(run or (lambda x: attend(*x)))
    place = NamedSharding(make_mesh(4), SEQUENCE)
    text = run.lower([jax.device_put(x, place) for x in inputs()]).compile().as_text()
    names = ("all-reduce", "all-gather", "all-to-all", "reduce-scatter")
    assert not [name for name in names if re.search(rf"\b{name}", text)]
    assert "collective-permute" in text


@pytest.mark.slow
def test_memory_is_linear_in_the_shard():
    """Eight times the sequence on eight times the devices: the same memory on each."""
    alone, together = (
        program(shards, 512 * shards, block_size=64).memory_analysis()
        for shards in (2, 8)
    )
    assert together.temp_size_in_bytes < 1.5 * alone.temp_size_in_bytes


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"axis_name": "t"}, "axis_name must be an axis of the mesh of a surrounding"),
        ({"axis_name": 3}, "axis_name must be an axis of the mesh of a surrounding"),
    ],
)
def test_an_axis_that_is_not_there(options, message):
    with pytest.raises(ValueError, match=message):
        dj.dot_product_attention(*inputs(), **options)


def test_a_generator_whose_masks_have_no_parts():
    key = jax.random.key(0, impl="rbg")
    with pytest.raises(
        ValueError, match="axis_name must be None here, got 's': the gen"
    ):
        ring(2, dropout_rng=key, dropout_rate=0.5)(*inputs())


def test_bias_and_mask_have_all_keys():
    with pytest.raises(ValueError, match=r"mask of shape .+ must broadcast"):
        jax.eval_shape(ring(2, mask=MASK[..., : LENGTH // 2]), *inputs())
