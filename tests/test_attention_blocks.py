"""Attention by blocks is attention in one piece: values, derivatives, memory."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import dropjax as dj

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


QUICK = ["fast", "shared", "renormalized-few", "mask", "mask-causal", "mask-heads"]
QUICK += ["window-before", "window-after", "lengths-full", "scale", "rate-heads"]
QUICK += ["rate-all", "rate-renormalized"]


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


@pytest.mark.parametrize("shape", cases(BIASES, "all", "keys"))
def test_biases_have_gradients_of_their_own_shape(shape):
    found = assert_same([*inputs(), normal(3, *BIASES[shape])], **CASES["causal"])
    assert found["back"][3].shape == BIASES[shape]


HUGE = {
    (-1e9, True, True),
    (-1e9, False, True),
    (LEAST, True, False),
    (LEAST, False, False),
    (-np.inf, False, False),
    (1e4, True, True),
    (1e4, False, False),
}


@pytest.mark.parametrize(
    "huge", cases(sorted(HUGE), (-1e9, True, True), (-np.inf, False, False))
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
    "sizes", cases([1, (3, 1), (1, 56), (40, 1), (40, 24), (16, 56), 55], 55, (3, 1))
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
