"""Attention: twins in flax and JAX, renormalized rows, no mask in memory."""

import functools
import inspect
import re
import types

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax import export

import dropjax as dj

BATCH, QUERIES, KEYS, HEADS, DEPTH = 2, 6, 8, 4, 16
KEY = jax.random.key(1706)


def inputs(kv_heads=HEADS, dtype=jnp.float32):
    shapes = [(BATCH, QUERIES, HEADS, DEPTH)] + [(BATCH, KEYS, kv_heads, DEPTH)] * 2
    keys = jax.random.split(KEY, 3)
    pairs = zip(keys, shapes, strict=True)
    return [jax.random.normal(key, shape, dtype) for key, shape in pairs]


def softmax(shape=(BATCH, HEADS, 30, 40)):
    return jax.nn.softmax(jax.random.normal(KEY, shape))


BIAS = jax.random.normal(KEY, (1, HEADS, QUERIES, KEYS))
MASK = jax.random.bernoulli(KEY, 0.7, (BATCH, 1, QUERIES, KEYS)).at[..., 0].set(True)
WAYS = {
    "causal": {"is_causal": True},
    "all": {"bias": BIAS, "mask": MASK, "is_causal": True},
}


@pytest.mark.parametrize("way", WAYS)
def test_off_it_is_jaxs_attention(way):
    x = inputs()
    expected = jax.nn.dot_product_attention(*x, **WAYS[way])
    for off in ({}, {"deterministic": True, "dropout_rate": 0.5}):
        y = dj.dot_product_attention(*x, **WAYS[way], **off)
        np.testing.assert_allclose(y, expected, atol=1e-5)


def test_it_computes_in_the_dtype_asked_for():
    x = inputs()
    y = dj.dot_product_attention(*x, dtype=jnp.bfloat16)
    half = dj.dot_product_attention(*inputs(dtype=jnp.bfloat16))
    assert y.dtype == half.dtype == jnp.bfloat16


def test_numpys_doubles_are_jaxs_floats():
    query, key, value = inputs()
    drop = functools.partial(dj.dot_product_attention, dropout_rng=KEY)
    y = drop(np.asarray(query, np.float64), key, np.asarray(value, np.float64))
    np.testing.assert_array_equal(y, drop(query, key, value))


@pytest.mark.parametrize("kv_heads", [1, 2])
def test_heads_share_keys_and_values_as_in_jax(kv_heads):
    x = inputs(kv_heads)
    y = dj.dot_product_attention(*x)
    np.testing.assert_allclose(y, jax.nn.dot_product_attention(*x), atol=1e-5)


def test_any_number_of_batch_axes():
    x = inputs(2)
    y = dj.dot_product_attention(*x, is_causal=True)
    one = dj.dot_product_attention(*(each[0] for each in x), is_causal=True)
    np.testing.assert_allclose(one, y[0], atol=1e-6)
    more = dj.dot_product_attention(*(each[None] for each in x), is_causal=True)
    np.testing.assert_allclose(more, y[None], atol=1e-6)


def test_half_precision_is_jaxs():
    x = inputs(dtype=jnp.bfloat16)
    y = dj.dot_product_attention(*x)
    with jax.numpy_dtype_promotion("standard"):
        expected = jax.nn.dot_product_attention(*x)
    assert y.dtype == jnp.bfloat16
    np.testing.assert_allclose(
        y.astype(np.float32), expected.astype(np.float32), atol=0.02
    )


def factors(dtype, **options):
    """The dtypes of what is multiplied in a forward and backward pass."""

    def loss(*arrays):
        y = dj.dot_product_attention(
            *arrays, dropout_rng=KEY, dropout_rate=0.1, **options
        )
        return y.astype(jnp.float32).sum()

    program = jax.jit(jax.grad(loss, (0, 1, 2))).lower(*inputs(2, dtype)).as_text()
    products = [line for line in program.splitlines() if "dot_general" in line]
    assert len(products) == 5
    types = [line.split(" : (")[1].split(") -> ")[0] for line in products]
    return {word for line in types for word in re.findall(r"x(\w?f\d+)>", line)}


@pytest.mark.parametrize(
    ("dtype", "own"), [("bfloat16", "bf16"), ("float16", "f16"), ("float32", "f32")]
)
def test_narrow_arrays_are_multiplied_as_such_both_ways(dtype, own):
    assert factors(dtype) == {own}
    # As JAX does it, where a precision is asked for.
    assert factors(dtype, precision="highest") == {own, "f32"}


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_derivatives_in_half_precision_are_near_those_in_single(dtype):
    def both(*arrays):
        y, pushed = jax.jvp(dj.dot_product_attention, arrays, arrays)
        _, back = jax.vjp(dj.dot_product_attention, *arrays)
        return pushed, back(y)

    arrays = inputs(2, jnp.dtype(dtype))
    close = functools.partial(
        np.testing.assert_allclose, atol=4 * float(jnp.finfo(dtype).eps)
    )
    wide = both(*(x.astype(jnp.float32) for x in arrays))
    for one, other in zip(*map(jax.tree.leaves, (both(*arrays), wide)), strict=True):
        scale = np.abs(other).max()
        assert one.dtype == dtype
        close(np.float32(one) / scale, other / scale)


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("kv_heads", [2, HEADS])
def test_it_drops_what_flaxs_drops(shared, kv_heads):
    x = inputs(kv_heads)
    options = {"dropout_rng": KEY, "dropout_rate": 0.4, "broadcast_dropout": shared}
    y = dj.dot_product_attention(*x, **options, **WAYS["all"])
    # Flax promotes ranks and dtypes on its way.
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        theirs = nnx.dot_product_attention(*x, **options, **WAYS["all"])
    np.testing.assert_allclose(y, theirs, atol=1e-5)


def test_flaxs_layers_take_it():
    x = jax.random.normal(KEY, (BATCH, QUERIES, 32))
    options = {"num_heads": HEADS, "dropout_rate": 0.4, "deterministic": False}
    layer = nn.MultiHeadDotProductAttention(
        **options, attention_fn=dj.dot_product_attention
    )
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        variables = layer.init(KEY, x)
        stock = nn.MultiHeadDotProductAttention(**options)
        for shared in (True, False):
            ours, theirs = (
                one.clone(broadcast_dropout=shared).apply(
                    variables, x, rngs={"dropout": KEY}
                )
                for one in (layer, stock)
            )
            np.testing.assert_allclose(ours, theirs, atol=1e-5)
        options |= {"in_features": 32, "decode": False}
        first, second = (
            nnx.MultiHeadAttention(**options, **more, rngs=nnx.Rngs(0))(x)
            for more in ({}, {"attention_fn": dj.dot_product_attention})
        )
    np.testing.assert_allclose(first, second, atol=1e-5)


def linen_layer(**options):
    options = {"num_heads": HEADS, "dropout_rate": 0.4, **options}
    return nn.MultiHeadDotProductAttention(**options, deterministic=False)


def test_linens_layers_sow_the_weights():
    x = jax.random.normal(KEY, (BATCH, QUERIES, 32))
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        layers = linen_layer(), linen_layer(attention_fn=dj.dot_product_attention)
        variables = layers[0].init(KEY, x)
        (first, sown), (second, ours) = (
            layer.apply(
                *(variables, x),
                rngs={"dropout": KEY},
                sow_weights=True,
                mutable=["intermediates"],
            )
            for layer in layers
        )
    np.testing.assert_allclose(first, second, atol=1e-5)
    assert jax.tree.structure(sown) == jax.tree.structure(ours)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), sown, ours)


def test_nnxs_layers_sow_the_weights():
    x = jax.random.normal(KEY, (BATCH, QUERIES, 32))
    options = {"num_heads": HEADS, "in_features": 32, "dropout_rate": 0.4}
    options |= {"decode": False, "deterministic": False}
    sown = []
    for more in ({}, {"attention_fn": dj.dot_product_attention}):
        layer = nnx.MultiHeadAttention(**options, **more, rngs=nnx.Rngs(0))
        with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
            _, state = nnx.capture(layer, nnx.Intermediate)(x, sow_weights=True)
        sown.append(state)
    assert jax.tree.structure(sown[0]) == jax.tree.structure(sown[1])
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), *sown)
    (weights,) = jax.tree.leaves(sown[1])
    np.testing.assert_allclose(weights.sum(-1), 1, atol=1e-6)


@pytest.mark.parametrize(
    "name", ["qk_attn_weights_einsum_cls", "attn_weights_value_einsum_cls"]
)
def test_linens_einsums_are_not_dropped_in_silence(name):
    layer = linen_layer(
        attention_fn=dj.dot_product_attention, **{name: lambda: jnp.einsum}
    )
    rule = f"{name.removesuffix('_cls')} must be None, .* leave {name} off the layer"
    with pytest.raises(ValueError, match=rule):
        layer.init(KEY, jnp.ones((BATCH, QUERIES, 32)))


@pytest.mark.parametrize("host", [nn, nnx], ids=["linen", "nnx"])
def test_it_names_all_that_flaxs_layers_hand_over(host):
    """Linen's layer leaves out what a signature does not name, and says nothing."""
    own = inspect.signature(dj.dot_product_attention).parameters
    theirs = inspect.signature(host.dot_product_attention).parameters
    # The softmax is in float32 in any case; the others no layer hands over.
    kept = {"force_fp32_for_softmax", "einsum_dot_general", "promote_dtype"}
    assert set(theirs) - kept <= set(own)


@pytest.mark.parametrize("shared", [True, False])
def test_coins_of_heads_and_examples(shared):
    x = jnp.full((BATCH, HEADS, 30, 40), 1 / 40)
    y = dj.attention_dropout(KEY, x, 0.5, broadcast_dropout=shared)
    assert jnp.array_equal(y[0, 0], y[1, 2]) == shared
    mask = dj.attention_dropout_mask(KEY, x.shape, 0.5, broadcast_dropout=shared)
    np.testing.assert_array_equal(y, jnp.where(mask, x * 2, 0))


@pytest.mark.parametrize("shared", [True, False])
def test_renormalized_rows_are_those_of_a_masked_softmax(shared):
    logits = jax.random.normal(KEY, (BATCH, HEADS, 30, 40))
    mask = dj.attention_dropout_mask(KEY, logits.shape, 0.6, broadcast_dropout=shared)

    def dropped(logits):
        return dj.attention_dropout(
            KEY,
            jax.nn.softmax(logits),
            0.6,
            broadcast_dropout=shared,
            renormalize=True,
        )

    def masked(logits):
        return jax.nn.softmax(jnp.where(mask, logits, -jnp.inf))

    np.testing.assert_allclose(dropped(logits), masked(logits), atol=1e-6)
    weigh = lambda f: jax.grad(lambda x: (f(x) ** 2).sum())(logits)  # noqa: E731
    np.testing.assert_allclose(weigh(dropped), weigh(masked), atol=1e-6)


def test_dropkey_differs_only_for_queries_that_lost_all_their_keys():
    x = jax.random.normal(KEY, (1, 1, 200, 3))
    mask = dj.attention_dropout_mask(KEY, x.shape, 0.5)
    dropkey = jax.nn.softmax(x - 1e12 * (1 - mask.astype(float)))
    y = dj.attention_dropout(KEY, jax.nn.softmax(x), 0.5, renormalize=True)
    some = mask.any(-1, keepdims=True)
    np.testing.assert_allclose(y, jnp.where(some, dropkey, 0), atol=1e-6)
    lost = np.asarray(dropkey)[~np.asarray(some[..., 0])]
    assert len(lost)
    np.testing.assert_allclose(lost, 1 / 3, rtol=1e-6)


def test_renormalized_rows_keep_the_laws():
    x = softmax()
    drop = functools.partial(dj.attention_dropout, KEY, renormalize=True)
    assert drop(x, 0.0) is x
    assert drop(x, 0.5, deterministic=True) is x
    assert not drop(x, 1.0).any()
    call = jax.jit(jax.value_and_grad(lambda x, rate: drop(x, rate).sum(), (0, 1)))
    for rate in (0.0, 0.5, 1.0):
        value, (slope, of_rate) = call(x, jnp.float32(rate))
        assert np.isfinite(value)
        assert np.isfinite(slope).all()
        assert of_rate == 0
    assert np.isnan(jax.jit(drop)(x, jnp.float32(jnp.nan))).all()
    poisoned = x.at[0, 0, 0].set(jnp.nan)
    y, mask = drop(poisoned, 0.5), dj.attention_dropout_mask(KEY, x.shape, 0.5)
    np.testing.assert_array_equal(np.isnan(y[0, 0, 0]), mask[0, 0, 0])
    np.testing.assert_array_equal(y[1], drop(x, 0.5)[1])
    for dtype in (jnp.bfloat16, jnp.complex64):
        y = drop(x.astype(dtype), 0.5)
        assert y.dtype == dtype
        np.testing.assert_allclose(y.real.astype(np.float32), drop(x, 0.5), atol=0.01)
    _, back = jax.vjp(lambda x: drop(x, 0.5), x)
    assert sum(leaf.size for leaf in jax.tree.leaves(back)) <= x.size + 8
    jax.jvp(lambda x: drop(x, 0.5), (x,), (x,))
    keys = jax.random.split(KEY, 2)
    one = lambda key: dj.attention_dropout(key, x, 0.5, renormalize=True)  # noqa: E731
    np.testing.assert_array_equal(
        jax.vmap(one)(keys), jnp.stack([one(key) for key in keys])
    )


def test_a_query_that_lost_all_its_keys_gets_zeros():
    x = softmax((1, 1, 200, 2))
    y = dj.attention_dropout(KEY, x, 0.5, renormalize=True)
    sums = y.sum(-1)
    np.testing.assert_allclose(jnp.where(sums == 0, 1, sums), 1, rtol=1e-6)
    assert (sums == 0).any()


@pytest.mark.parametrize("renormalize", [True, False])
@pytest.mark.parametrize("generator", ["threefry2x32", dj.fast_prng])
def test_the_backward_pass_keeps_the_weights_once(renormalize, generator):
    """One array of the weights' size; flax's keeps more."""
    shape = (1, 64, 2, 4)
    x = [jax.random.normal(key, shape) for key in jax.random.split(KEY, 3)]
    key = jax.random.key(0, impl=generator)

    def kept(attention, **options):
        def run(query, keys, value):
            return attention(
                query, keys, value, dropout_rng=key, dropout_rate=0.1, **options
            )

        _, back = jax.vjp(run, *x)
        return [leaf for leaf in jax.tree.leaves(back) if leaf.size >= 64 * 64]

    ours = kept(dj.dot_product_attention, renormalize=renormalize)
    assert len(ours) == 1
    assert ours[0].size == 2 * 64 * 64
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        assert len(kept(nnx.dot_product_attention, broadcast_dropout=False)) >= 2


def test_attention_has_all_transforms():
    x = inputs()
    drop = functools.partial(
        dj.dot_product_attention, dropout_rng=KEY, dropout_rate=0.3
    )
    y = drop(*x)
    _, tangent = jax.jvp(drop, x, x)
    batch = [jnp.stack([one, 2 * one]) for one in x]
    np.testing.assert_allclose(jax.vmap(drop)(*batch)[0], y, atol=1e-6)
    np.testing.assert_allclose(jax.jit(drop)(*x), y, atol=1e-6)
    slope = jax.grad(lambda query: drop(query, *x[1:]).sum())(x[0])
    assert np.isfinite(slope).all()
    assert np.isfinite(tangent).all()
    assert drop(*x, dtype=jnp.bfloat16).dtype == jnp.bfloat16
    rate = jax.grad(
        lambda r: dj.dot_product_attention(*x, dropout_rng=KEY, dropout_rate=r).sum()
    )(jnp.float32(0.5))
    assert rate == 0
    assert not dj.dot_product_attention(*x, dropout_rate=1.0).any()
    many = [one[None] for one in x]
    np.testing.assert_allclose(
        dj.dot_product_attention(*many)[0], dj.dot_product_attention(*x), atol=1e-6
    )


@pytest.mark.parametrize("generator", ["threefry2x32", dj.fast_prng])
def test_renormalized_on_every_platform_with_one_use_of_a_key(generator):
    x = inputs()

    def draw(key):
        options = {"dropout_rate": 0.5, "renormalize": True, "is_causal": True}
        return dj.dot_product_attention(*x, dropout_rng=key, **options)

    def run(data):
        return draw(jax.random.wrap_key_data(data, impl=generator))

    data = jax.random.key_data(jax.random.key(3, impl=generator))
    platforms = ("cpu", "cuda", "rocm", "tpu")
    exported = export.export(jax.jit(run), platforms=platforms)(data)
    np.testing.assert_array_equal(exported.call(data), jax.jit(run)(data))
    with jax.debug_key_reuse(True), pytest.raises(jax.errors.KeyReuseError):
        jax.jit(lambda key: draw(key) + draw(key))(jax.random.key(3, impl=generator))


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"bias": [0.0]}, TypeError, "bias must be an array, got"),
        ({"bias": jnp.ones(8, int)}, TypeError, "bias must be a floating-point"),
        ({"bias": jnp.ones(8, complex)}, TypeError, "bias must be of a real dtype"),
        (
            {"bias": jnp.ones(7)},
            ValueError,
            "bias of shape .* must broadcast to the shape of",
        ),
        (
            {"mask": jnp.ones((3, 8))},
            ValueError,
            "mask of shape .* must broadcast to the shape of",
        ),
        ({"mask": [True] * 8}, TypeError, "mask must be an array, True where a query"),
        ({"mask": "causal"}, TypeError, "mask must be an array, True where a query"),
        ({"mask": np.full(8, "x")}, TypeError, "mask must be an array, True where a q"),
        ({"mask": KEY}, TypeError, "mask must be an array, True where a query"),
    ],
)
def test_a_bias_and_a_mask_are_looked_at(options, error, message):
    with pytest.raises(error, match=message):
        dj.dot_product_attention(*inputs(), **options)


def test_a_mask_may_hold_numbers_or_be_one():
    x = inputs()
    seen = dj.dot_product_attention(*x, mask=MASK)
    for mask in (MASK.astype(jnp.float32), np.asarray(MASK, np.int64)):
        np.testing.assert_array_equal(dj.dot_product_attention(*x, mask=mask), seen)
    plain = dj.dot_product_attention(*x)
    np.testing.assert_array_equal(dj.dot_product_attention(*x, mask=True), plain)


def test_an_empty_batch_is_empty():
    x = [one[:0] for one in inputs()]
    y = dj.dot_product_attention(*x, dropout_rng=KEY, dropout_rate=0.5)
    assert y.shape == x[0].shape


def test_without_heads_there_is_nothing():
    x = jnp.ones((BATCH, QUERIES, 0, DEPTH))
    y = dj.dot_product_attention(x, x, x, dropout_rng=KEY, dropout_rate=0.5)
    assert y.shape == x.shape


# JAX's implementations.


@pytest.fixture
def calls(monkeypatch):
    """How JAX's function is called, which computes without cuDNN here."""
    found = []
    own = jax.nn.dot_product_attention

    def stand_in(*x, implementation, **options):
        found.append({"implementation": implementation, "x": x, **options})
        return own(*x, implementation="xla", **options)

    monkeypatch.setattr(jax.nn, "dot_product_attention", stand_in)
    return found


HANDED_OVER = {
    "plain": {},
    "all": WAYS["all"],
    "scale": {"scale": 0.3},
    "lengths": {
        "query_seq_lengths": jnp.array([2, 6]),
        "key_value_seq_lengths": jnp.array([8, 3]),
        "is_causal": True,
    },
    "window": {"local_window_size": (3, 1)},
    "bias of heads": {"bias": BIAS[:, :, :1, :1]},
    "bias of keys": {"bias": BIAS[0, 0, 0]},
    "mask of keys": {"mask": MASK[:, :, :1]},
    "mask of all": {"mask": MASK[0, 0]},
}


@pytest.mark.parametrize("kv_heads", [2, HEADS])
@pytest.mark.parametrize("way", HANDED_OVER)
def test_evaluation_is_handed_over_to_cudnn(calls, way, kv_heads):
    x, options = inputs(kv_heads), HANDED_OVER[way]
    for off in ({}, {"dropout_rng": KEY, "dropout_rate": 0.5, "deterministic": True}):
        attend = functools.partial(dj.dot_product_attention, *x, **options, **off)
        y = attend(implementation="cudnn")
        np.testing.assert_allclose(y, attend(implementation="xla"), atol=1e-5)
    assert [call["implementation"] for call in calls] == ["cudnn"] * 2
    for name in {"bias", "mask"} & options.keys():
        assert calls[0][name].shape[2:] == (QUERIES, KEYS)


@pytest.mark.parametrize("batch", [(), (BATCH, 3)], ids=str)
def test_any_batch_is_handed_over_as_one_axis(calls, batch):
    shapes = (QUERIES, HEADS, DEPTH), (KEYS, 2, DEPTH), (KEYS, 2, DEPTH)
    x = [jax.random.normal(KEY, (*batch, *shape)) for shape in shapes]
    bias = jax.random.normal(KEY, (*batch[:1], *[1] * len(batch[1:]), HEADS, 1, KEYS))
    mask = MASK[:1, :1] if batch else MASK[0]
    lengths = jnp.full(batch, 3).at[..., -1:].set(5) if batch else jnp.array(3)
    options = {"bias": bias, "mask": mask, "key_value_seq_lengths": lengths}
    y = dj.dot_product_attention(*x, **options, implementation="cudnn")
    np.testing.assert_allclose(y, dj.dot_product_attention(*x, **options), atol=1e-5)
    assert {one.ndim for one in calls[0]["x"]} == {4}


@pytest.mark.parametrize(
    ("given", "handed_over"),
    [
        ({"local_window_size": (3, 0)}, (True, (3, 0))),
        ({"local_window_size": (3, 2), "is_causal": True}, (True, (3, 0))),
        ({"local_window_size": 2}, (False, (2, 2))),
        ({"is_causal": True}, (True, None)),
    ],
)
def test_windows_are_handed_over_as_cudnn_has_them(calls, given, handed_over):
    y = dj.dot_product_attention(*inputs(), **given, implementation="cudnn")
    np.testing.assert_allclose(
        y, dj.dot_product_attention(*inputs(), **given), atol=1e-5
    )
    (call,) = calls
    assert (call["is_causal"], call["local_window_size"]) == handed_over


def test_a_bias_is_handed_over_in_the_dtype_of_the_queries(calls):
    x = inputs(dtype=jnp.bfloat16)
    with jax.numpy_dtype_promotion("standard"):
        y = dj.dot_product_attention(*x, bias=BIAS, implementation="cudnn")
    assert y.dtype == calls[0]["bias"].dtype == jnp.bfloat16


def test_what_is_drawn_or_sown_is_not_handed_over(calls):
    x, drop = inputs(), {"dropout_rng": KEY, "dropout_rate": 0.4}
    for options in (drop, {"dropout_rng": KEY, "dropout_rate": jnp.float32(0)}):
        attend = functools.partial(dj.dot_product_attention, *x, **options)
        np.testing.assert_array_equal(attend(implementation="cudnn"), attend())
    assert not dj.dot_product_attention(
        *x, dropout_rate=1.0, implementation="cudnn"
    ).any()
    layer = types.SimpleNamespace(sow=lambda *sown: None)
    dj.dot_product_attention(*x, implementation="cudnn", module=layer)
    assert not calls


@pytest.mark.parametrize("deterministic", [True, False])
def test_flaxs_layers_hand_over(calls, deterministic):
    attention = functools.partial(dj.dot_product_attention, implementation="cudnn")
    x = jax.random.normal(KEY, (BATCH, QUERIES, 32))
    options = {"num_heads": HEADS, "dropout_rate": 0.4, "deterministic": deterministic}
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        stock = nn.MultiHeadDotProductAttention(**options)
        variables, rngs = stock.init(KEY, x), {"dropout": KEY}
        ours = stock.clone(attention_fn=attention).apply(variables, x, rngs=rngs)
        theirs = stock.apply(variables, x, rngs=rngs)
        np.testing.assert_allclose(ours, theirs, atol=1e-5)
        options |= {"in_features": 32, "decode": False}
        first, second = (
            nnx.MultiHeadAttention(**options, **more, rngs=nnx.Rngs(0))(x)
            for more in ({}, {"attention_fn": attention})
        )
    np.testing.assert_allclose(first, second, atol=1e-5)
    assert len(calls) == 2 * deterministic
