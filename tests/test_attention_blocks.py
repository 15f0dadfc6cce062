"""Attention by blocks is attention in one piece: values, derivatives, memory."""

import functools
import re

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax import export
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

import dropjax as dj
from dropjax._fast_prng import window_words
from tests import reference
from tests.compilations import in_third_call
from tests.programs import compiled, scratch
from tests.test_meshes import TALK, make_mesh

BATCH, QUERIES, KEYS, HEADS, DEPTH = 2, 40, 56, 4, 8
SIZES = (16, 24)
THREEFRY = jax.random.key(2205)
FAST = jax.random.key(2205, impl=dj.fast_prng)
SEEDS = jax.random.split(jax.random.key(14135), 8)
LEAST = float(jnp.finfo(jnp.float32).min)


def normal(index, *shape, dtype=jnp.float32):
    return jax.random.normal(SEEDS[index], shape, dtype)


def inputs(
    queries=QUERIES, keys=KEYS, *, kv_heads=2, width=DEPTH, batch=(BATCH,), dtype=None
):
    """Query, key and value."""
    dtype = dtype or jnp.float32
    shapes = (queries, HEADS, DEPTH), (keys, kv_heads, DEPTH), (keys, kv_heads, width)
    return [normal(i, *batch, *shape, dtype=dtype) for i, shape in enumerate(shapes)]


def visible(*shape):
    return jax.random.bernoulli(SEEDS[4], 0.7, shape)


def everything(arrays, block_size, *, forward=False, **options):
    """The output, all gradients, and a derivative in forward mode if that is asked."""

    def attend(arrays):
        query, key, value, *bias = arrays
        named = {"bias": bias[0]} if bias else {}
        return dj.dot_product_attention(
            query, key, value, **named, **options, block_size=block_size
        )

    y, back = jax.vjp(attend, arrays)
    found = {"y": y, "back": back(normal(5, *y.shape, dtype=y.dtype))[0]}
    if forward:
        along = [normal(7, *x.shape, dtype=x.dtype) for x in arrays]
        found["pushed"] = jax.jvp(attend, (arrays,), (along,))[1]
    return found


def assert_same(arrays, sizes=SIZES, tolerance=5e-6, **options):
    run = lambda sizes: jax.jit(lambda x: everything(x, sizes, **options))(arrays)  # noqa: E731
    blocks, piece = run(sizes), run(1000)
    for one, other in zip(*map(jax.tree.leaves, (blocks, piece)), strict=True):
        assert one.dtype == other.dtype
        assert one.shape == other.shape
        wide = np.float64 if one.dtype == np.float64 else np.float32
        one, other = one.astype(wide), other.astype(wide)
        scale = max(1, float(np.nanmax(np.abs(other), initial=0)))
        np.testing.assert_allclose(one, other, atol=tolerance * scale)
    return blocks


def cases(names, *quick):
    """All names; those that are not quick are for `make test-all`."""
    return [
        pytest.param(name, marks=[pytest.mark.slow] * (name not in quick), id=str(name))
        for name in names
    ]


DROPPED = {"dropout_rng": THREEFRY, "dropout_rate": 0.3}
RATES = {
    "traced": jnp.float32(0.3),
    "heads": jnp.linspace(0.1, 0.9, HEADS)[:, None, None],
    "examples": jnp.array([0.0, 0.6])[:, None, None, None],
    "queries": jnp.linspace(0, 1, QUERIES)[:, None],
    "weights": jax.random.uniform(SEEDS[6], (BATCH, HEADS, QUERIES, KEYS)),
    "all": jnp.float32(1),
    "none": jnp.float32(0),
    "static-all": 1.0,
    "static-none": 0.0,
}
CASES = {
    "plain": {},
    "dropped": DROPPED,
    "fast": {"dropout_rng": FAST, "dropout_rate": 0.3},
    "shared": {**DROPPED, "broadcast_dropout": True},
    "renormalized": {**DROPPED, "renormalize": True},
    # Some queries lose all their keys.
    "renormalized-few": {
        "dropout_rng": FAST,
        "dropout_rate": 0.97,
        "renormalize": True,
        "mask": visible(BATCH, 1, QUERIES, KEYS),
    },
    "causal": {**DROPPED, "is_causal": True},
    "mask": {"mask": visible(BATCH, 1, QUERIES, KEYS).at[:, :, 3:6].set(False)},
    "mask-causal": {
        **DROPPED,
        "mask": visible(BATCH, 1, 1, KEYS).at[..., :20].set(False),
        "is_causal": True,
    },
    "mask-heads": {**DROPPED, "mask": visible(HEADS, 1, KEYS)},
    "mask-queries": {**DROPPED, "mask": visible(QUERIES, 1)},
    "mask-keys": {"mask": visible(KEYS)},
    "mask-numbers": {"mask": visible(BATCH, HEADS, 1, 1).astype(jnp.float32)},
    "mask-none": {**DROPPED, "mask": jnp.zeros((QUERIES, KEYS), bool)},
    "window": {**DROPPED, "local_window_size": 5},
    "window-0": {"local_window_size": 0},
    "window-before": {"local_window_size": (7, 0), **DROPPED, "is_causal": True},
    "window-after": {"local_window_size": (0, 30), "mask": visible(1, 1, 1, KEYS)},
    "lengths": {**DROPPED, "key_value_seq_lengths": jnp.array([0, 30])},
    "lengths-full": {
        "key_value_seq_lengths": jnp.array([KEYS, 1]),
        "query_seq_lengths": jnp.array([0, 17]),
        "is_causal": True,
    },
    "scale": {**DROPPED, "scale": 1.7},
    "scale-negative": {"scale": -0.4},
    "precision": {**DROPPED, "precision": "highest"},
    **{
        f"rate-{name}": {"dropout_rng": FAST, "dropout_rate": rate}
        for name, rate in RATES.items()
    },
    "rate-renormalized": {
        "dropout_rng": FAST,
        "dropout_rate": RATES["weights"],
        "renormalize": True,
    },
}


QUICK = ["renormalized-few", "mask-causal", "mask-heads", "window-before"]
QUICK += ["window-after", "lengths-full", "rate-all", "rate-renormalized"]


@pytest.mark.parametrize("case", cases(CASES, *QUICK))
def test_blocks_give_what_one_piece_gives(case):
    assert_same(inputs(), **CASES[case])


BIASES = {
    "all": (BATCH, HEADS, QUERIES, KEYS),
    "heads": (HEADS, 1, 1),
    "one head": (1, 1, QUERIES, KEYS),
    "keys": (BATCH, 1, 1, KEYS),
    "queries": (QUERIES, 1),
    "number": (),
}


@pytest.mark.parametrize("case", cases(["fast", "mask-causal"], "mask-causal"))
def test_blocks_have_derivatives_in_forward_mode(case):
    assert_same([*inputs(), normal(3, HEADS, 1, KEYS)], forward=True, **CASES[case])


@pytest.mark.parametrize("shape", cases(BIASES, "all"))
def test_biases_have_gradients_of_their_own_shape(shape):
    found = assert_same([*inputs(), normal(3, *BIASES[shape])], **CASES["causal"])
    assert found["back"][3].shape == BIASES[shape]


HUGE = {
    (-1e9, True, True),
    (-1e9, False, True),
    (LEAST, True, False),
    (LEAST, True, True),
    (LEAST, False, False),
    (-np.inf, False, False),
    (1e4, True, True),
    (1e4, False, False),
}


@pytest.mark.parametrize(
    "huge", cases(sorted(HUGE), (LEAST, True, True), (-np.inf, False, False))
)
def test_huge_biases(huge):
    """As used for masks, of some keys or of all keys of some queries."""
    value, rows, causal = huge
    where = (0, 0, slice(7, 20)) if rows else (..., slice(0, 30))
    bias = normal(3, *((BATCH, 1, QUERIES, 1) if rows else (BATCH, 1, 1, KEYS)))
    bias = bias.at[where].set(value)
    # Where all logits are huge, those of one piece are as imprecise.
    tolerance = 1e-3 if value == 1e4 else 5e-6
    found = assert_same([*inputs(), bias], tolerance=tolerance, is_causal=causal)
    assert all(np.isfinite(each).all() for each in jax.tree.leaves(found))


HIDDEN = {
    "causal": {"is_causal": True},
    "mask": {"mask": jnp.tril(jnp.ones((48, 48), bool))},
    "causal-mask": {"is_causal": True, "mask": jnp.ones((1, 48), bool)},
    "window": {"local_window_size": (47, 0)},
    "lengths": {"is_causal": True, "key_value_seq_lengths": jnp.array([48, 48])},
}


@pytest.mark.parametrize("hidden", cases(HIDDEN, "causal", "causal-mask"))
@pytest.mark.parametrize("size", cases([5, 16, 24, None], 16, None))
def test_hidden_keys_have_no_weight_even_if_the_others_have_the_least_bias(
    hidden, size
):
    """Whichever blocks are skipped, a query gets the mean of what it attends to."""
    x = inputs(48, 48, kv_heads=HEADS)
    bias = jnp.zeros((48, 1)).at[7:30].set(LEAST)
    y = attend(FAST, *x, bias=bias, block_size=size, dropout_rate=0, **HIDDEN[hidden])
    means = x[2].cumsum(1) / np.arange(1, 49, dtype=np.float32)[None, :, None, None]
    np.testing.assert_allclose(y[:, 7:30], means[:, 7:30], atol=1e-5)


def test_keys_are_searched_to_the_last():
    """Otherwise queries that attend to the last keys only would count as blind."""
    x, bias = inputs(300, 300, kv_heads=HEADS), jnp.full((300, 1), LEAST)
    y = attend(FAST, *x, bias=bias, mask=jnp.arange(300) > 290, dropout_rate=0)
    means = jnp.broadcast_to(x[2][:, 291:].mean(1, keepdims=True), y.shape)
    np.testing.assert_allclose(y, means, atol=1e-5)


# Which blocks are computed.


BANDS = {
    "causal": ((48, 0), {"is_causal": True}),
    "window": ((5, 2), {"local_window_size": (5, 2)}),
    "window-causal": ((5, 0), {"local_window_size": (5, 2), "is_causal": True}),
}
SEEN = {
    "alone": {},
    "mask": {"mask": jnp.arange(48) % 3 < 2},
    "lengths": {"key_value_seq_lengths": jnp.array([48, 48])},
}


@pytest.mark.parametrize("band", cases(BANDS, "causal", "window"))
@pytest.mark.parametrize("seen", cases(SEEN, "mask"))
def test_blocks_that_nobody_sees_are_not_computed(band, seen):
    """Otherwise the NaN of a block of keys would reach queries that do not see it."""
    (before, after), options = BANDS[band]
    x = inputs(48, 48, kv_heads=HEADS)

    def run(poisoned):
        keys, values = (jnp.where(poisoned[:, None, None], jnp.nan, z) for z in x[1:])
        more = {**options, **SEEN[seen], "block_size": 8}
        y, back = jax.vjp(lambda q: attend(FAST, q, keys, values, **more), x[0])
        return y, back(y)[0]

    each = jnp.repeat(jnp.eye(6, dtype=bool), 8, 1)
    first = 8 * np.arange(6)
    reach = (first + 7 >= first[:, None] - before) & (
        first <= first[:, None] + 7 + after
    )
    for found in jax.jit(jax.vmap(run))(each):
        reached = np.isnan(found).any((1, 3, 4)).reshape(6, 6, 8).any(-1).T
        np.testing.assert_array_equal(reached, reach)


SHAPES = {
    "heads": {"kv_heads": HEADS},
    "one head": {"kv_heads": 1},
    "width": {"width": 5},
    "no batch": {"batch": ()},
    "two batch axes": {"batch": (2, 3)},
    "many queries": {"queries": 70, "keys": 19},
    "one query": {"queries": 1},
    "one key": {"keys": 1},
    "no queries": {"queries": 0},
    "no keys": {"keys": 0},
    "no batch at all": {"batch": (0,)},
    "whole blocks": {"queries": 32, "keys": 48},
    "no depth": {},
}


@pytest.mark.parametrize(
    "shape", cases(SHAPES, "many queries", "two batch axes", "no keys", "no queries")
)
@pytest.mark.parametrize("window", cases([None, (3, 6)], (3, 6)))
def test_any_shape(shape, window):
    arrays = inputs(**SHAPES[shape])
    if shape == "no depth":
        arrays[:2] = (each[..., :0] for each in arrays[:2])
    assert_same(arrays, **DROPPED, local_window_size=window)


@pytest.mark.parametrize(
    "sizes", cases([1, (3, 1), (1, 56), (40, 1), (40, 24), (16, 56), 55], 55)
)
def test_any_block(sizes):
    assert_same(inputs(), sizes, **CASES["mask-causal"])


@pytest.mark.parametrize("dtype", cases(["bfloat16", "float16"], "bfloat16"))
@pytest.mark.parametrize(
    "case", cases(["plain", "causal", "renormalized", "precision"], "causal")
)
def test_half_precision(dtype, case):
    tolerance = 3 * float(jnp.finfo(dtype).eps)
    arrays = [*inputs(dtype=jnp.dtype(dtype)), normal(3, HEADS, 1, KEYS)]
    found = assert_same(arrays, tolerance=tolerance, **CASES[case])
    assert {x.dtype for x in (found["y"], *found["back"][:3])} == {jnp.dtype(dtype)}
    # As near to single precision as one piece is.
    wide = [x.astype(jnp.float32) for x in arrays]
    wide = everything(wide, 1000, **CASES[case])["y"]
    np.testing.assert_allclose(found["y"].astype(jnp.float32), wide, atol=tolerance)


@pytest.mark.parametrize(
    "case", cases(["mask-causal", "renormalized-few", "rate-traced"], "rate-traced")
)
def test_double_precision(case):
    with jax.enable_x64(True):
        arrays = [x.astype(jnp.float64) for x in inputs()]
        found = assert_same(arrays, tolerance=1e-13, **CASES[case])
        assert {x.dtype for x in jax.tree.leaves(found)} == {jnp.dtype("float64")}


@pytest.mark.parametrize("renormalize", [False, True])
def test_a_rate_of_nan_is_visible(renormalize):
    @jax.jit
    def run(rate):
        options = {"dropout_rng": FAST, "renormalize": renormalize}
        return everything(inputs(), SIZES, dropout_rate=rate, **options)

    found = run(jnp.float32(jnp.nan))
    assert all(np.isnan(x).all() for x in (found["y"], found["back"][2]))


# Which weights are dropped.


@pytest.mark.parametrize(
    ("key", "shared"),
    [
        pytest.param(THREEFRY, False, id="threefry"),
        pytest.param(FAST, True, id="fast-shared"),
        pytest.param(FAST, False, id="fast", marks=pytest.mark.slow),
        pytest.param(THREEFRY, True, id="threefry-shared", marks=pytest.mark.slow),
    ],
)
def test_the_mask_is_that_of_attention_dropout(key, shared):
    """The outputs for an identity matrix as values are the weights themselves."""
    query, keys, _ = inputs(kv_heads=HEADS)
    eye = jnp.eye(KEYS)[None, :, None]
    value = jnp.broadcast_to(eye, (BATCH, KEYS, HEADS, KEYS))
    shape = (BATCH, HEADS, QUERIES, KEYS)
    mask = dj.attention_dropout_mask(key, shape, 0.3, broadcast_dropout=shared)
    options = {"dropout_rng": key, "dropout_rate": 0.3, "broadcast_dropout": shared}
    for sizes in (None, SIZES, (40, 7)):
        weights = dj.dot_product_attention(
            query, keys, value, **options, block_size=sizes
        )
        kept = weights.swapaxes(1, 2) != 0
        np.testing.assert_array_equal(kept, jnp.broadcast_to(mask, shape))


@pytest.mark.parametrize("shared", cases([False, True], False))
def test_long_sequences_drop_what_flaxs_drops(shared):
    """Long enough for blocks that the function chooses."""
    x = inputs(300, 300, kv_heads=HEADS)
    options = {**DROPPED, "broadcast_dropout": shared}
    y = dj.dot_product_attention(*x, **options)
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        theirs = nnx.dot_product_attention(*x, **options)
    np.testing.assert_allclose(y, theirs, atol=1e-5)


@pytest.mark.parametrize("key", [THREEFRY, FAST], ids=["threefry", "fast"])
@pytest.mark.parametrize(
    ("shape", "start"),
    [
        ((3, 2**32), (0, 2**32 - 5)),
        ((2**20, 2**13), (2**19 - 2, 2**13 - 9)),
        ((2, 5, 2**17, 2**17), (1, 3, 2**15 - 3, 11)),
        ((4, 100_003, 70_001), (2, 61_355, 69_990)),
        ((2**31, 3), (2**31 - 9, 0)),
    ],
    ids=str,
)
def test_windows_past_two_to_the_32_words(key, shape, start):
    """Indices in two words, of windows that cross to the next high word."""
    sizes = tuple(min(6, n - first) for n, first in zip(shape, start, strict=True))
    window = jax.jit(lambda data, start: window_words(data, shape, start, sizes))
    found = window(jax.random.key_data(key), [jnp.uint32(n) for n in start])
    place = np.ix_(*(np.arange(n, n + m) for n, m in zip(start, sizes, strict=True)))
    index = np.ravel_multi_index(place, shape).astype(np.uint64)
    assert index.max() >= 2**32
    data = np.asarray(jax.random.key_data(key))
    expected = reference.words(str(jax.random.key_impl(key)), data, index)
    np.testing.assert_array_equal(found, expected)


def test_more_than_two_to_the_32_weights_have_a_shape():
    x = [jax.ShapeDtypeStruct((1, 2**17, 1, 64), jnp.float32)] * 3

    def loss(*x):
        return dj.dot_product_attention(*x, **DROPPED, is_causal=True).sum()

    found = jax.eval_shape(jax.value_and_grad(loss, (0, 1, 2)), *x)
    assert [each.shape for each in found[1]] == [x[0].shape] * 3


# JAX's function of the same name.


JAXS = {
    "scale": {"scale": 0.3},
    "window": {"local_window_size": (3, 9)},
    "window-causal": {"local_window_size": 4, "is_causal": True},
    "lengths": {
        "query_seq_lengths": jnp.array([0, 31]),
        "key_value_seq_lengths": jnp.array([17, KEYS]),
    },
    "mask-causal": CASES["mask-none"] | {"is_causal": True},
    "all": {
        "query_seq_lengths": jnp.array([QUERIES, 9]),
        "key_value_seq_lengths": jnp.array([20, 40]),
        "mask": visible(BATCH, HEADS, QUERIES, KEYS),
        "bias": normal(3, HEADS, QUERIES, KEYS),
        "local_window_size": (12, 2),
        "is_causal": True,
        "scale": 2.0,
    },
}


@pytest.mark.parametrize("sizes", cases([None, SIZES], SIZES))
@pytest.mark.parametrize("case", cases(JAXS, "scale", "window", "lengths", "all"))
def test_off_it_is_jaxs_attention(case, sizes):
    options = {k: v for k, v in JAXS[case].items() if not k.startswith("dropout")}
    y = dj.dot_product_attention(*inputs(), **options, block_size=sizes)
    with jax.numpy_rank_promotion("allow"):
        options |= {k: options[k][None] for k in ("bias",) if k in options}
        expected = jax.nn.dot_product_attention(*inputs(), **options)
    np.testing.assert_allclose(y, expected, atol=1e-5)


# Transforms.


def attend(key, *x, block_size=SIZES, **options):
    options = {"dropout_rate": 0.3, "block_size": block_size, **options}
    return dj.dot_product_attention(*x, dropout_rng=key, **options)


def test_vmap_is_a_loop():
    x = inputs()
    keys = jax.random.split(FAST, 3)
    found = jax.vmap(lambda key: attend(key, *x))(keys)
    np.testing.assert_allclose(
        found, jnp.stack([attend(key, *x) for key in keys]), atol=1e-6
    )
    mask = visible(BATCH, 1, 1, KEYS).at[..., :20].set(False)

    def loss(query, keys, value, mask):
        return (
            attend(THREEFRY, query, keys, value, mask=mask, is_causal=True) ** 2
        ).sum()

    slopes = jax.jit(jax.grad(loss, (0, 1, 2)))
    each = [slopes(*(one[i] for one in (*x, mask))) for i in range(BATCH)]
    expected = jax.tree.map(lambda *parts: jnp.stack(parts), *each)
    chex.assert_trees_all_close(jax.vmap(slopes)(*x, mask), expected, atol=1e-5)


def test_derivatives_of_some_arguments():
    x = inputs()

    def slopes(value, rate, sizes):
        def loss(value, rate):
            y = attend(FAST, *x[:2], value, dropout_rate=rate, block_size=sizes)
            return (y * y).sum()

        return jax.grad(loss)(value, rate), jax.grad(loss, 1)(value, rate)

    rate = jnp.float32(0.3)
    found, of_rate = slopes(x[2], rate, SIZES)
    np.testing.assert_allclose(found, slopes(x[2], rate, 1000)[0], atol=1e-5)
    assert of_rate == 0


@pytest.mark.parametrize("remat", cases([False, True], True))
def test_scanned_layers(remat):
    x = normal(0, 1, QUERIES, HEADS, DEPTH)
    keys = jax.random.split(THREEFRY, 2)

    def layer(x, key, sizes):
        return x + attend(key, x, x, x, block_size=sizes, is_causal=True), None

    def loss(x, sizes):
        step = functools.partial(layer, sizes=sizes)
        step = jax.checkpoint(step) if remat else step
        return (jax.lax.scan(step, x, keys)[0] ** 2).sum()

    found, expected = (
        jax.jit(jax.grad(functools.partial(loss, sizes=sizes)))(x)
        for sizes in (SIZES, 99)
    )
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("case", cases(["causal", "renormalized"], "causal"))
def test_second_derivatives(case):
    x = inputs(9, 11)

    def loss(arrays, sizes):
        y = dj.dot_product_attention(*arrays, **CASES[case], block_size=sizes)
        return (y**3).sum()

    def second(arrays, sizes):
        slope = jax.grad(lambda x: loss(x, sizes))
        return jax.jvp(slope, (arrays,), ([x[::-1] for x in arrays],))[1]

    found, expected = (
        jax.jit(functools.partial(second, sizes=sizes))(x) for sizes in ((4, 5), 99)
    )
    chex.assert_trees_all_close(found, expected, atol=2e-4, rtol=1e-4)


@pytest.mark.slow
def test_hessians():
    query, *others = inputs(9, 11)

    def loss(query, sizes):
        return (attend(FAST, query, *others, block_size=sizes) ** 3).sum()

    hessian = jax.jit(jax.jacfwd(jax.grad(loss)), static_argnums=1)
    np.testing.assert_allclose(hessian(query, 5), hessian(query, 99), atol=2e-4)


def test_exported_for_every_platform():
    x = inputs(300, 300)

    def run(data, *x):
        slope = jax.grad(lambda *x: attend(wrap(data), *x, block_size=128).sum())
        return slope(*x)

    wrap = functools.partial(jax.random.wrap_key_data, impl="threefry2x32")
    data, platforms = jax.random.key_data(THREEFRY), ("cpu", "cuda", "rocm", "tpu")
    program = export.export(jax.jit(run), platforms=platforms)(data, *x)
    np.testing.assert_array_equal(program.call(data, *x), jax.jit(run)(data, *x))


def test_a_key_is_used_once():
    x = inputs()
    with jax.debug_key_reuse(True):
        jax.jit(jax.grad(lambda q: attend(THREEFRY, q, *x[1:]).sum()))(x[0])
        with pytest.raises(jax.errors.KeyReuseError):
            jax.jit(lambda key: attend(key, *x) + attend(key, *x))(THREEFRY)


@pytest.mark.parametrize("backward", [False, True])
def test_eager_calls_compile_once(backward):
    x = inputs()
    loss = lambda q, key: attend(key, q, *x[1:]).sum()  # noqa: E731
    call = jax.grad(loss) if backward else loss
    assert in_third_call(lambda key: call(x[0], key)) == 0


@pytest.mark.parametrize("axes", ["b, 300, 4, 8", "2, t, 4, 8"])
def test_symbolic_sizes(axes):
    x = normal(0, 2, 300, HEADS, DEPTH)
    run = jax.jit(lambda x: attend(FAST, x, x, x, block_size=None))
    shape = jax.ShapeDtypeStruct(export.symbolic_shape(axes), x.dtype)
    np.testing.assert_allclose(export.export(run)(shape).call(x), run(x), atol=1e-5)


# Several devices.


def sharded(mesh, arrays, *spec):
    return [jax.device_put(x, NamedSharding(mesh, P(*spec))) for x in arrays]


def both_ways(key, *x, **options):
    y, back = jax.vjp(lambda *x: attend(key, *x, **options), *x)
    return y, *back(y)


def collectives(program):
    """Those outside of loops, and those inside of them."""
    text = program.as_text()
    start = text.index("\nENTRY")
    end = text.index("\n}", start)
    collective = rf" ([a-z-]*(?:{'|'.join(TALK)})[a-z-]*)\("
    parts = text[start:end], text[:start] + text[end:]
    return tuple(sorted(re.findall(collective, part)) for part in parts)


def assert_talks_no_more(run, arrays, options):
    """There is no collective in a loop, nor one that is due to dropout."""
    program = jax.jit(functools.partial(run, **options)).lower(*arrays).compile()
    outside, inside = collectives(program)
    assert not inside
    if outside:
        assert options.keys() & {"mask", "key_value_seq_lengths"}
        off = functools.partial(run, **options, deterministic=True)
        assert outside == collectives(compiled(off, *arrays))[0]
    return program


SPECS = {
    "batch": ("a", None, "b"),
    "two axes": (("a", "b"),),
    "heads": (None, None, "a"),
}
LEFT = jnp.arange(128)[None, None, None] >= 9 * jnp.arange(8)[:, None, None, None]
OPTIONS = {
    "plain": {},
    "causal": {"is_causal": True},
    "mask": {"mask": visible(1, 1, 1, 128)},
    "window": {"local_window_size": (30, 10), "is_causal": True},
    "causal-mask": {"mask": LEFT, "is_causal": True},
    "causal-mask-of-queries": {"mask": LEFT | LEFT.mT, "is_causal": True},
    "causal-lengths": {
        "key_value_seq_lengths": jnp.arange(0, 128, 16),
        "query_seq_lengths": jnp.arange(128, 0, -16),
        "is_causal": True,
    },
    "window-mask": {"local_window_size": (30, 10), "mask": LEFT},
}
SHARDED_OPTIONS = {"mask", "key_value_seq_lengths", "query_seq_lengths"}


def check_sharded(kind, spec, case, sizes):
    arrays = inputs(128, 128, kv_heads=HEADS, batch=(8,))
    run = functools.partial(both_ways, FAST, block_size=sizes)
    mesh = make_mesh((4, 2), kind)
    with jax.set_mesh(mesh):
        shards = sharded(mesh, arrays, *SPECS[spec])
        options = {
            name: sharded(mesh, [x], SPECS[spec][0])[0]
            if name in SHARDED_OPTIONS and x.shape[0] > 1
            else x
            for name, x in OPTIONS[case].items()
        }
        program = assert_talks_no_more(run, shards, options)
        found = program(*shards)
    assert found[0].sharding.is_equivalent_to(shards[0].sharding, 4)
    expected = jax.jit(functools.partial(run, **OPTIONS[case]))(*arrays)
    chex.assert_trees_all_close(found, expected, atol=1e-5)


KINDS = [AxisType.Auto, AxisType.Explicit]


@pytest.mark.parametrize("kind", cases(KINDS, AxisType.Auto))
@pytest.mark.parametrize("spec", cases(SPECS, "batch"))
@pytest.mark.parametrize("case", cases(OPTIONS, "causal-lengths"))
def test_sharded_over_batch_and_heads(kind, spec, case):
    check_sharded(kind, spec, case, (48, 64))


@pytest.mark.parametrize("spec", cases(SPECS, "batch"))
@pytest.mark.parametrize("case", cases(OPTIONS, "causal-lengths"))
def test_one_piece_on_a_mesh_with_explicit_axes(spec, case):
    check_sharded(AxisType.Explicit, spec, case, None)


QUERY_OPTIONS = {
    "causal": {"is_causal": True},
    "mask": {"mask": visible(1, 1, 512, 512)},
    "causal-mask": {"mask": jnp.arange(512) > 9, "is_causal": True},
    "causal-lengths": {"key_value_seq_lengths": jnp.array([500]), "is_causal": True},
    "window-mask": {"mask": visible(512, 512), "local_window_size": (90, 10)},
}


@pytest.mark.parametrize("kind", cases(KINDS, AxisType.Explicit))
@pytest.mark.parametrize("case", cases(QUERY_OPTIONS, "causal-mask"))
def test_sharded_over_queries(kind, case):
    """Without gradients: those of keys and values are sums over the queries."""
    arrays = inputs(512, 512, kv_heads=HEADS, batch=(1,))
    sizes = (512, 64) if kind == AxisType.Auto else None
    run = functools.partial(attend, FAST, block_size=sizes)
    mesh = make_mesh((8,), kind)
    with jax.set_mesh(mesh):
        shards = sharded(mesh, arrays[:1], None, "a") + sharded(mesh, arrays[1:])
        program = assert_talks_no_more(run, shards, QUERY_OPTIONS[case])
        found = program(*shards)
    assert found.sharding.is_equivalent_to(shards[0].sharding, 4)
    expected = jax.jit(functools.partial(run, **QUERY_OPTIONS[case]))(*arrays)
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.slow
def test_in_shard_map():
    """Each device has its examples and heads, and a key of its own."""
    arrays = inputs(kv_heads=HEADS, batch=(4,))
    keys = jax.random.split(THREEFRY, (4, 2))
    mesh = make_mesh((4, 2))
    slopes = lambda key, *x: both_ways(key[0, 0], *x, is_causal=True)  # noqa: E731
    spec = P("a", None, "b")
    run = jax.shard_map(
        slopes, mesh=mesh, in_specs=(P("a", "b"), *[spec] * 3), out_specs=(spec,) * 4
    )
    found = jax.jit(run)(keys, *arrays)
    own = [x[1:2, :, 2:] for x in arrays]
    expected = jax.jit(slopes)(keys[1:2, 1:2], *own)
    chex.assert_trees_all_close(
        [x[1:2, :, 2:] for x in found], list(expected), atol=1e-5
    )


# Memory.


@pytest.mark.parametrize(("length", "most"), [(2048, 64), (8192, 256)])
@pytest.mark.parametrize(
    "case", cases(["plain", "padding", "causal"], "padding", "causal")
)
def test_memory_is_linear_in_the_length(length, most, case):
    """MiB that value and gradient need, of which these arrays have 4 or 16 each."""
    x = [jax.ShapeDtypeStruct((1, length, 8, 64), jnp.float32)] * 3
    mask = jax.ShapeDtypeStruct((1, 1, 1, length), bool)

    def loss(x, mask):
        named = {"mask": mask} if case == "padding" else {"is_causal": case == "causal"}
        return attend(FAST, *x, block_size=None, **named).sum()

    program = compiled(jax.value_and_grad(loss), x, mask)
    assert scratch(program) <= most * 2**20


def test_seven_products_of_a_pair_of_blocks():
    """Two to go there, and five to go back."""
    x = inputs(kv_heads=HEADS)

    def products(program):
        return program.as_text().count("stablehlo.dot_general")

    def run(*x):
        return attend(FAST, *x).sum()

    assert products(jax.jit(run).lower(*x)) == 2
    assert products(jax.jit(jax.grad(run, (0, 1, 2))).lower(*x)) == 7


@pytest.mark.parametrize("renormalize", [False, True])
def test_two_numbers_are_kept_for_each_query(renormalize):
    x = inputs()
    run = functools.partial(attend, FAST, renormalize=renormalize)
    y, back = jax.vjp(run, *x)
    kept = sum(leaf.size for leaf in jax.tree.leaves(back))
    numbers = sum(leaf.size for leaf in (*x, y)) + 2 * BATCH * HEADS * QUERIES
    assert kept <= numbers + 16


# Flax's layers.


@pytest.mark.parametrize("shared", cases([True, False], False))
def test_linens_layers_take_it(shared):
    x = normal(0, 2, 300, 32)
    options = {"num_heads": HEADS, "dropout_rate": 0.4, "deterministic": False}
    ours = nn.MultiHeadDotProductAttention(
        **options, attention_fn=dj.dot_product_attention
    )
    stock = nn.MultiHeadDotProductAttention(**options)
    mask = nn.make_causal_mask(x[..., 0])
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        variables = stock.init(THREEFRY, x)
        y, expected = (
            layer.clone(broadcast_dropout=shared).apply(
                variables, x, mask=mask, rngs={"dropout": THREEFRY}
            )
            for layer in (ours, stock)
        )
    np.testing.assert_allclose(y, expected, atol=1e-5)


def test_nnxs_layers_take_it():
    x = normal(0, 2, 300, 32)
    options = {"num_heads": HEADS, "in_features": 32, "dropout_rate": 0.4}
    options |= {"decode": False, "deterministic": False}
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        y, expected = (
            nnx.MultiHeadAttention(**options, **more, rngs=nnx.Rngs(0))(
                x, mask=nnx.make_causal_mask(x[..., 0])
            )
            for more in ({"attention_fn": dj.dot_product_attention}, {})
        )
    np.testing.assert_allclose(y, expected, atol=1e-5)


def decode_linen(x, attention):
    layer = nn.MultiHeadDotProductAttention(
        HEADS, decode=True, deterministic=True, attention_fn=attention
    )
    variables = layer.init(THREEFRY, x)
    params, cache, outputs = variables["params"], variables["cache"], []
    for token in range(x.shape[1]):
        y, new = layer.apply(
            {"params": params, "cache": cache}, x[:, token, None], mutable=["cache"]
        )
        cache = new["cache"]
        outputs.append(y)
    return jnp.concatenate(outputs, 1)


def decode_nnx(x, attention):
    layer = nnx.MultiHeadAttention(
        HEADS, 32, decode=True, attention_fn=attention, rngs=nnx.Rngs(0)
    )
    layer.init_cache(x.shape)
    steps = [layer(x[:, token, None]) for token in range(x.shape[1])]
    return jnp.concatenate(steps, 1)


@pytest.mark.parametrize(
    ("decode", "stock"),
    [
        (decode_linen, nn.dot_product_attention),
        (decode_nnx, nnx.dot_product_attention),
    ],
    ids=["linen", "nnx"],
)
def test_it_decodes_token_by_token(decode, stock):
    x = normal(0, 2, 3, 32)
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        found, expected = decode(x, dj.dot_product_attention), decode(x, stock)
    np.testing.assert_allclose(found, expected, atol=1e-5)
