"""Recurrent dropout and zoneout around flax's cells, and their twins in Keras."""

import os

os.environ["KERAS_BACKEND"] = "jax"

import flax.linen as nn
import jax
import jax.numpy as jnp
import keras
import numpy as np
import pytest
from flax import nnx
from jax import lax

import dropjax as dj
import dropjax.linen as djl
import dropjax.nnx as djn
from tests.methods import array

FEATURES, HIDDEN, BATCH, STEPS = 5, 4, 3, 7
X = array((BATCH, STEPS, FEATURES))
KEY = jax.random.key(2016)
LINEN = [nn.LSTMCell, nn.OptimizedLSTMCell, nn.GRUCell, nn.MGUCell, nn.SimpleCell]
every_linen_cell = pytest.mark.parametrize("kind", LINEN, ids=lambda c: c.__name__)


def linen_rnn(cell, **options):
    return nn.RNN(djl.RecurrentDropout(cell, 0.5, deterministic=False, **options))


def run(rnn, variables, x=X, key=KEY, **options):
    return rnn.apply(variables, x, rngs={"dropout": key}, **options)


@every_linen_cell
def test_linen_variables_are_those_of_the_cell(kind):
    cell = kind(HIDDEN)
    variables = jax.eval_shape(nn.RNN(cell).init, KEY, X)
    wrapped = jax.eval_shape(linen_rnn(cell).init, KEY, X)
    assert jax.tree.structure(variables) == jax.tree.structure(wrapped)


@every_linen_cell
def test_a_step_of_a_linen_cell(kind):
    plain = kind(HIDDEN)
    cell = djl.RecurrentDropout(plain, 0.5, input_rate=0.4, deterministic=False)
    carry = cell.initialize_carry(KEY, X[:, 0].shape)
    variables = cell.init(KEY, carry, X[:, 0])
    state = jax.tree.map(lambda part: array(part.shape), carry.state)
    (_, keys), y = cell.apply(variables, (state, carry.keys), X[:, 0])
    assert keys is carry.keys
    x_masks, h_masks = masks(keys)
    if kind not in (nn.GRUCell, nn.MGUCell):
        dropped = swap_last(state, jax.tree.leaves(state)[-1] * h_masks)
        _, expected = plain.apply(variables, dropped, X[:, 0] * x_masks)
        np.testing.assert_allclose(y, expected, atol=1e-6)
    for wrapper, options in (
        (djl.RecurrentDropout, {"deterministic": True}),
        (djl.RecurrentDropout, {"rate": 0.0, "deterministic": False}),
        (djl.Zoneout, {"rate": 0.0, "deterministic": False}),
    ):
        off = wrapper(plain, **{"rate": 0.5, **options})
        assert off.initialize_carry(KEY, X[:, 0].shape).keys is None
        (_, _), y = off.apply(variables, carry._replace(keys=None), X[:, 0])
        _, expected = plain.apply(variables, carry.state, X[:, 0])
        np.testing.assert_array_equal(y, expected)


def test_every_call_draws_new_masks():
    rnn = linen_rnn(nn.GRUCell(HIDDEN))
    variables = rnn.init(KEY, X)
    call = jax.jit(lambda key: run(rnn, variables, key=key))
    np.testing.assert_array_equal(call(KEY), call(KEY))
    assert not jnp.allclose(call(KEY), call(jax.random.key(1)))


def masks(keys, input_rate=0.4, rate=0.5):
    def draw(which, width, rate):
        own = [jax.random.fold_in(key, which) for key in keys]
        return jnp.stack([dj.dropout(key, jnp.ones(width), rate) for key in own])

    return draw(0, FEATURES, input_rate), draw(1, HIDDEN, rate)


def swap_last(state, last):
    return (*state[:-1], last) if isinstance(state, tuple) else last


def to_keras(cell, x_masks, h_masks):
    """Keras's cell with the weights and the masks of ours."""
    rates = {"dropout": 0.4, "recurrent_dropout": 0.5}
    if isinstance(cell, nnx.SimpleCell):
        twin = keras.layers.SimpleRNNCell(HIDDEN, **rates)
        weights = [cell.dense_i.kernel, cell.dense_h.kernel, cell.dense_i.bias]
        weights, gates = [weight[...] for weight in weights], None
    elif isinstance(cell, nnx.GRUCell):
        twin, gates = keras.layers.GRUCell(HIDDEN, **rates), 3
        weights = [reset_last(cell.dense_i.kernel[...])]
        weights += [reset_last(cell.dense_h.kernel[...])]
        bias = reset_last(cell.dense_i.bias[...])
        hidden = getattr(cell.dense_h, "bias", None)
        hidden = jnp.zeros_like(bias) if hidden is None else reset_last(hidden[...])
        weights += [jnp.stack([bias, hidden])]
    else:
        twin, gates = keras.layers.LSTMCell(HIDDEN, **rates), 4
        of_inputs = (cell.ii, cell.if_, cell.ig, cell.io)
        of_state = (cell.hi, cell.hf, cell.hg, cell.ho)
        weights = [jnp.concatenate([one.kernel[...] for one in of_inputs], -1)]
        weights += [jnp.concatenate([one.kernel[...] for one in of_state], -1)]
        weights += [jnp.concatenate([one.bias[...] for one in of_state], -1)]
    twin.build((BATCH, FEATURES))
    twin.set_weights([np.asarray(weight) for weight in weights])
    twin._dropout_mask = [x_masks] * gates if gates else x_masks
    twin._recurrent_dropout_mask = [h_masks] * gates if gates else h_masks
    return twin


def reset_last(weights):
    """Flax's gates are reset, update, new; Keras's update, reset, new."""
    reset, update, new = jnp.split(weights, 3, axis=-1)
    return jnp.concatenate([update, reset, new], -1)


def keras_sequence(twin, state):
    """Keras has an LSTM's memory last."""
    states = list(jax.tree.leaves(state))[::-1]
    for step in range(STEPS):
        y, states = twin.call(X[:, step], states, training=True)
        yield y


@pytest.mark.parametrize("kind", [nnx.LSTMCell, nnx.GRUCell, nnx.SimpleCell])
def test_kerass_cells_under_our_masks_give_our_sequences(kind):
    rngs = nnx.Rngs(0)
    bias = nnx.initializers.normal()
    plain = kind(FEATURES, HIDDEN, bias_init=bias, rngs=rngs)
    cell = djn.RecurrentDropout(plain, 0.5, input_rate=0.4, rngs=rngs)
    carry = cell.initialize_carry(X[:, 0].shape, rngs)
    ours = nnx.RNN(cell)(X, initial_carry=carry)
    with jax.numpy_rank_promotion("allow"):
        twin = to_keras(plain, *masks(carry.keys))
        theirs = list(keras_sequence(twin, carry.state))
    for step, y in enumerate(theirs):
        np.testing.assert_allclose(ours[:, step], y, atol=1e-5)


def test_linen_and_nnx_cells_are_one():
    """A GRU, whose old state stays whole; and a residual cell likewise."""
    rngs = nnx.Rngs(0)
    ours = nnx.GRUCell(FEATURES, HIDDEN, rngs=rngs)
    kernels = zip(
        jnp.split(ours.dense_i.kernel[...], 3, -1),
        jnp.split(ours.dense_h.kernel[...], 3, -1),
        ("r", "z", "n"),
        strict=True,
    )
    params = {}
    for of_inputs, of_state, gate in kernels:
        params[f"i{gate}"] = {"kernel": of_inputs, "bias": jnp.zeros(HIDDEN)}
        params[f"h{gate}"] = {"kernel": of_state}
    params["hn"]["bias"] = jnp.zeros(HIDDEN)
    cell = djl.RecurrentDropout(nn.GRUCell(HIDDEN), 0.5, 0.4, deterministic=False)
    carry = cell.initialize_carry(KEY, X[:, 0].shape)
    carry = carry._replace(state=array((BATCH, HIDDEN)))
    wrapped = djn.RecurrentDropout(ours, 0.5, input_rate=0.4, rngs=rngs)
    _, y = cell.apply({"params": params}, carry, X[:, 0])
    np.testing.assert_allclose(y, wrapped(carry, X[:, 0])[1], atol=1e-6)

    residual = nnx.SimpleCell(FEATURES, HIDDEN, residual=True, rngs=rngs)
    params = {
        "i": {"kernel": residual.dense_i.kernel[...], "bias": jnp.zeros(HIDDEN)},
        "h": {"kernel": residual.dense_h.kernel[...]},
    }
    simple = nn.SimpleCell(HIDDEN, residual=True)
    cell = djl.RecurrentDropout(simple, 0.5, 0.4, deterministic=False)
    _, y = cell.apply({"params": params}, carry, X[:, 0])
    wrapped = djn.RecurrentDropout(residual, 0.5, input_rate=0.4, rngs=rngs)
    np.testing.assert_allclose(y, wrapped(carry, X[:, 0])[1], atol=1e-6)
    x_masks, h_masks = masks(carry.keys)
    inner = residual.dense_i(X[:, 0] * x_masks)
    inner += residual.dense_h(carry.state * h_masks)
    np.testing.assert_allclose(y, jnp.tanh(inner + carry.state), atol=1e-6)


@pytest.mark.parametrize("wrapper", [djn.RecurrentDropout, djn.Zoneout])
def test_nnx_calls_draw_anew_and_eval_is_still(wrapper):
    rngs = nnx.Rngs(0)
    plain = nnx.GRUCell(FEATURES, HIDDEN, rngs=rngs)
    rnn = nnx.RNN(wrapper(plain, 0.5, rngs=rngs))
    call = nnx.jit(lambda rnn, x: rnn(x))
    assert not jnp.allclose(call(rnn, X), call(rnn, X))
    rnn.eval()
    still = call(rnn, X)
    np.testing.assert_array_equal(still, call(rnn, X))
    if wrapper is djn.RecurrentDropout:
        np.testing.assert_allclose(still, call(nnx.RNN(plain), X), atol=1e-6)


def test_a_sequence_in_pieces_is_the_sequence():
    rngs = nnx.Rngs(0)
    cell = nnx.LSTMCell(FEATURES, HIDDEN, rngs=rngs)
    for wrapper in (djn.RecurrentDropout, djn.Zoneout):
        wrapped = wrapper(cell, 0.5, rngs=rngs)
        rnn = nnx.RNN(wrapped, return_carry=True)
        carry = wrapped.initialize_carry(X[:, 0].shape, rngs)
        _, whole = rnn(X, initial_carry=carry)
        carry, first = rnn(X[:, :4], initial_carry=carry)
        _, second = rnn(X[:, 4:], initial_carry=carry)
        np.testing.assert_allclose(
            whole, jnp.concatenate([first, second], 1), atol=1e-6
        )


@pytest.mark.parametrize("wrapper", [djl.RecurrentDropout, djl.Zoneout])
def test_sequences_of_other_lengths_and_directions(wrapper):
    wrapped = nn.RNN(wrapper(nn.SimpleCell(HIDDEN), 0.5, deterministic=False))
    both = nn.Bidirectional(wrapped, wrapped.clone())
    call = lambda key: both.init_with_output(  # noqa: E731
        key, X, seq_lengths=jnp.array([7, 3, 1]), return_carry=True
    )
    ((forward, _), y), _ = jax.jit(call)(KEY)
    np.testing.assert_array_equal(forward.state[1], y[1, 2, :HIDDEN])


def test_examples_of_a_batch_have_their_own_masks():
    x = jnp.broadcast_to(X[:1], X.shape)
    rnn = linen_rnn(nn.GRUCell(HIDDEN))
    y = jax.jit(rnn.init_with_output)({"params": KEY, "dropout": KEY}, x)[0]
    assert not jnp.allclose(y[0], y[1])


def test_zoneout_takes_the_old_state_where_the_coin_says():
    cell = djl.Zoneout(nn.LSTMCell(HIDDEN), 0.3, memory_rate=0.6, deterministic=False)
    carry = cell.initialize_carry(KEY, X[:, 0].shape)
    carry = carry._replace(state=(array((3, 4)), array((3, 4), seed=1)))
    variables = cell.init(KEY, carry, X[:, 0])
    (new, keys), y = cell.apply(variables, carry, X[:, 0])
    plain, _ = nn.LSTMCell(HIDDEN).apply(variables, carry.state, X[:, 0])
    following, own = (
        jnp.stack(k) for k in zip(*map(jax.random.split, carry.keys), strict=True)
    )
    assert jnp.array_equal(jax.random.key_data(keys), jax.random.key_data(following))
    for which, (rate, x, old) in enumerate(
        zip((0.6, 0.3), plain, carry.state, strict=True)
    ):
        expected = jnp.stack(
            [
                dj.zoneout(jax.random.fold_in(own[i], which), x[i], old[i], rate)
                for i in range(BATCH)
            ]
        )
        np.testing.assert_array_equal(new[which], expected)
    np.testing.assert_array_equal(y, new[1])
    mean = djl.Zoneout(nn.LSTMCell(HIDDEN), 0.3, memory_rate=0.6, deterministic=True)
    (state, _), _ = mean.apply(variables, carry, X[:, 0])
    np.testing.assert_allclose(
        state[0], 0.4 * plain[0] + 0.6 * carry.state[0], rtol=1e-5
    )
    np.testing.assert_allclose(
        state[1], 0.7 * plain[1] + 0.3 * carry.state[1], rtol=1e-5
    )


def test_zoneouts_coins_are_new_at_every_step():
    rnn = nn.RNN(djl.Zoneout(nn.SimpleCell(30), 0.5, deterministic=False))
    x = array((1, 40, FEATURES))
    y = np.asarray(jax.jit(rnn.init_with_output)(KEY, x)[0])[0]
    stayed = y[1:] == y[:-1]
    assert abs(stayed.mean() - 0.5) < 5 * 0.5 / stayed.size**0.5
    assert 0.3 < (stayed[1:] == stayed[:-1]).mean() < 0.7


@pytest.mark.parametrize("wrapper", [djl.RecurrentDropout, djl.Zoneout])
def test_the_backward_pass_keeps_no_masks(wrapper):
    rnn = nn.RNN(wrapper(nn.GRUCell(HIDDEN), 0.5, deterministic=False))
    variables = rnn.init(KEY, X)
    _, back = jax.vjp(lambda v: run(rnn, v), variables)
    kept = [leaf for leaf in jax.tree.leaves(back) if leaf.dtype == bool]
    assert sum(leaf.size for leaf in kept) < STEPS * BATCH * HIDDEN
    gradient = back(jnp.ones((BATCH, STEPS, HIDDEN)))[0]
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))


def test_the_rate_of_a_cell_may_be_traced():
    cell = nn.LSTMCell(HIDDEN)
    variables = nn.RNN(cell).init(KEY, X)

    @jax.jit
    def loss(rate):
        rnn = nn.RNN(djl.RecurrentDropout(cell, rate, rate, deterministic=False))
        return run(rnn, variables).sum()

    values, slopes = jax.jit(lax.map, static_argnums=0)(
        jax.value_and_grad(loss), jnp.array([0.0, 0.5, 1.0])
    )
    assert np.isfinite(values).all()
    assert not slopes.any()
    np.testing.assert_allclose(values[0], nn.RNN(cell).apply(variables, X).sum(), 1e-5)
