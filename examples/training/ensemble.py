"""Several networks, one per seed, vmapped: their keys, steps and vote."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax import lax

from training.steps import Advance, State

# All networks are at the same step.
_AXES = State(params=0, optimizer=0, step=None, totals=0)  # type: ignore[arg-type]


def keys(seed: int, nets: int) -> jax.Array:
    """Return the keys of the networks, from consecutive seeds.

    Args:
      seed: the seed of the first network.
      nets: the number of networks.

    Returns:
      An array of keys.
    """
    seeds = np.arange(seed, seed + nets).astype(np.uint32)
    return jax.vmap(jax.random.key)(seeds)


def init(init: Callable[[jax.Array], State], keys: jax.Array) -> State:
    """Return the state of all networks before the first step.

    Args:
      init: ``key -> state`` of one network.
      keys: the networks' keys.

    Returns:
      The state; all leaves except the step have a first axis of networks.
    """
    # lax.map, not vmap: drawing parameters from a batch of keys compiles slowly.
    states = lax.map(init, keys)
    return states._replace(step=states.step[0])


def side_by_side(advance: Advance) -> Advance:
    """Vectorize the steps of one network over all networks.

    Args:
      advance: ``(key, state, inputs, labels) -> state``.

    Returns:
      The same function over all keys and states, with shared data.
    """
    return jax.vmap(advance, in_axes=(0, _AXES, None, None), out_axes=_AXES)


def errors(probabilities: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    """Measure the errors of the networks, individually and by vote.

    Args:
      probabilities: class probabilities, ``(nets, *examples, classes)``.
      labels: ``(*examples,)``.

    Returns:
      In percent the ``errors`` of each network, their ``mean`` and standard
      ``deviation``, and the error of their ``vote``: the class with the largest mean
      probability over the networks.
    """
    wrong = probabilities.argmax(-1) != labels
    each = 100 * wrong.reshape(len(wrong), -1).mean(-1)
    vote = probabilities.mean(0).argmax(-1) != labels
    return {
        "errors": [round(float(error), 4) for error in each],
        "mean": round(float(each.mean()), 4),
        "deviation": round(float(each.std(ddof=1)), 4) if len(each) > 1 else None,
        "vote": round(float(100 * vote.mean()), 4),
    }
