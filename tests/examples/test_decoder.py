"""The transformer for characters: what it sees, and what it drops."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from training import decoder, models, settings, steps
from training.data import Split

import dropjax as dj

TOKENS = jnp.arange(12).reshape(2, 6) % 5


def make(method: str = "none") -> models.Model:
    config = settings.decoder_config(method)
    config.hidden = (8, 8)
    return models.build(config, (6,), 5)


def test_no_position_sees_later_ones() -> None:
    net = make()
    params = net.init(jax.random.key(0))
    changed = TOKENS.at[:, 3].set(4 - TOKENS[:, 3])
    before, after = (net.apply(params, x, None, True) for x in (TOKENS, changed))
    np.testing.assert_array_equal(before[:, :3], after[:, :3])
    assert (jnp.abs(before[:, 3:] - after[:, 3:]) > 1e-6).any(-1).all()


def test_attention_depends_on_distances() -> None:
    x = jax.random.normal(jax.random.key(0), (1, 1, 2, 8))
    rotated = decoder.rotate(jnp.broadcast_to(x, (1, 9, 2, 8)))
    products = jnp.einsum("bqhd,bkhd->hqk", rotated, rotated)
    np.testing.assert_allclose(products[:, 3, 1], products[:, 8, 6], rtol=1e-5)
    assert not np.allclose(products[:, 3, 1], products[:, 3, 2], rtol=1e-3)


def test_its_attention_drops_by_head_and_example(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls = []
    attention = dj.dot_product_attention

    def noting(*args: jax.Array, **options: object) -> jax.Array:
        calls.append(options)
        return attention(*args, **options)

    net = make("attention")
    params = net.init(jax.random.key(0))
    monkeypatch.setattr(dj, "dot_product_attention", noting)
    net.apply(params, TOKENS, jax.random.key(1), False)
    assert len(calls) == 2
    for options in calls:
        assert options["is_causal"]
        assert options["dropout_rate"] == 0.1
        assert not options["broadcast_dropout"]
        assert not options["deterministic"]


def test_early_dropout_ends() -> None:
    net = make("early_dropout")
    params = net.init(jax.random.key(0))
    calm = net.apply(params, TOKENS, None, True)
    first, last = (
        net.apply(params, TOKENS, jax.random.key(1), False, jnp.int32(step))
        for step in (999, 1000)
    )
    assert not np.allclose(first, calm, rtol=1e-5)
    np.testing.assert_allclose(last, calm, rtol=1e-5, atol=1e-6)


def test_a_long_text_is_evaluated_in_small_batches() -> None:
    sizes = []

    def count(params: None, inputs: jax.Array, labels: jax.Array) -> steps.Totals:
        sizes.append(inputs.shape)
        real = (labels >= 0).sum()
        return steps.Totals(jnp.float32(0), real, real)

    ids = np.zeros((20, 2048), np.int32)
    loss, accuracy = steps.evaluate(count, None, Split(ids, ids))
    assert sizes == [(16, 2048), (16, 2048)]
    assert (loss, accuracy) == (0, 1)
