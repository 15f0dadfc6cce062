"""A training step with masked weights and masked updates."""

from typing import TypeAlias, assert_type

import jax
import jax.numpy as jnp
import optax
from jax import Array

import dropjax as dj
from dropjax.optimizers import (
    child_mask,
    fisher_information,
    gradient_dropout,
    mask_updates,
)
from dropjax.schedules import curriculum

Params: TypeAlias = dict[str, Array]

key = jax.random.key(0)
x = jnp.ones((4, 8))
schedule = curriculum(0.5, 100)


def loss(params: Params, key: Array, rate: Array) -> Array:
    masked = dj.dropconnect(key, params, rate)
    assert_type(masked, Params)
    hidden = dj.dropout(key, x @ masked["kernel"] + masked["bias"], 0.5)
    return jnp.mean(hidden**2)


def information(params: Params) -> Params:
    def log_likelihood(params: Params, example: Array) -> Array:
        return -jnp.sum((example @ params["kernel"]) ** 2)

    return fisher_information(log_likelihood, params, x)


params = {"kernel": jnp.ones((8, 5)), "bias": jnp.zeros(5)}
optimizer = optax.chain(
    gradient_dropout(key, curriculum(0.3, 100)),
    optax.sgd(0.1),
    dj.optimizers.gradient_dropout(key, 0.1, scaling="standard"),
    mask_updates(child_mask(information(params), 0.5)),
)
state = optimizer.init(params)
for step in range(2):
    own = jax.random.fold_in(key, step)
    # jax does not say what a gradient is.
    gradients: Params = jax.grad(loss)(  # pyright: ignore[reportUnknownVariableType]
        params, own, schedule(step)
    )
    updates, state = optimizer.update(gradients, state, params)
    params = optax.apply_updates(params, updates)
