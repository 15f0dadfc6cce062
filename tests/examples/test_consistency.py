"""R-Drop and multi-sample dropout in the training step: the losses as defined."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jaxtyping import PyTree
from training import models, settings, steps

INPUTS = jax.random.randint(jax.random.key(7), (6, 8, 8, 1), 0, 255).astype(jnp.uint8)
LABELS = jnp.arange(6)
KEY = jax.random.key(0)


def after_one_step(
    method: str, consistency: float
) -> tuple[models.Model, PyTree, PyTree]:
    """Return the net, and its parameters before and after a step of size 1."""
    config = settings.default_config()
    config.update(method=method, rate=0.4, hidden=(8,))
    model = models.build(config, (8, 8, 1), 10)
    optimizer = optax.sgd(1.0)
    state = steps.initial_state(KEY, model, optimizer)
    step = jax.jit(steps.make_step(model, optimizer, 1, consistency))
    return model, state.params, step(KEY, state, INPUTS, LABELS).params


def entropy(logits: jax.Array) -> jax.Array:
    log_p = jax.nn.log_softmax(logits)
    return -log_p[..., jnp.arange(6), LABELS].mean()


def assert_descends(before: PyTree, after: PyTree, loss) -> None:
    expected = jax.tree.map(jnp.subtract, before, jax.grad(loss)(before))
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5),
        after,
        expected,
    )


@pytest.mark.parametrize("consistency", [0.0, 3.0])
def test_r_drop_is_half_the_papers_loss_of_two_passes(consistency: float) -> None:
    model, before, after = after_one_step("dropout", consistency)
    noise = jax.random.fold_in(jax.random.fold_in(KEY, steps._NOISE), 0)

    def loss(params: PyTree) -> jax.Array:
        apply = lambda key: model.apply(params, INPUTS / 255, key, False)  # noqa: E731
        if not consistency:
            return entropy(apply(noise))
        first, second = map(apply, jax.random.split(noise))
        p, q = jax.nn.softmax(first), jax.nn.softmax(second)
        apart = 0.5 * ((p - q) * (jnp.log(p) - jnp.log(q))).sum(-1).mean()
        return 0.5 * (entropy(first) + entropy(second) + consistency * apart)

    assert_descends(before, after, loss)


def test_multi_sample_averages_the_losses_and_not_the_logits() -> None:
    model, before, after = after_one_step("multi_sample", 0.0)
    noise = jax.random.fold_in(jax.random.fold_in(KEY, steps._NOISE), 0)

    def loss(params: PyTree) -> jax.Array:
        logits = model.apply(params, INPUTS / 255, noise, False)
        assert logits.shape == (8, 6, 10)
        return entropy(logits)

    assert_descends(before, after, loss)
