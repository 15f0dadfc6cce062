"""Optimizers and schedules, by name."""

from collections.abc import Sequence

import numpy as np
import optax
from ml_collections import ConfigDict

_STAGES = ((1.0,), (0.5, 0.1), (0.05, 0.01, 0.005, 0.001))


def stages(
    learning_rate: float, steps: int, proportions: Sequence[int]
) -> optax.Schedule:
    """Create the schedule of Wan et al., 2013, scaled to any length.

    The learning rate is multiplied by 1 for the first number; by 0.5 and 0.1 for the
    second number each; by 0.05, 0.01, 0.005 and 0.001 for the third number each.

    Args:
      learning_rate: the initial learning rate.
      steps: the total number of steps.
      proportions: the three numbers, as epochs or in any other unit.

    Returns:
      The schedule.
    """
    multipliers = [value for stage in _STAGES for value in stage]
    lengths = np.repeat(proportions, [len(stage) for stage in _STAGES])
    ends = np.round(steps * np.cumsum(lengths) / lengths.sum()).astype(int)
    parts = [optax.constant_schedule(learning_rate * value) for value in multipliers]
    return optax.join_schedules(parts, ends[:-1].tolist())


SCHEDULES = {
    "constant": lambda rate, steps, _: optax.constant_schedule(rate),
    "cosine": lambda rate, steps, _: optax.cosine_decay_schedule(rate, steps),
    "stages": stages,
}
OPTIMIZERS = {
    "adamw": lambda rate, decay: optax.adamw(rate, weight_decay=decay),
    "sgd": lambda rate, decay: optax.chain(
        optax.add_decayed_weights(decay), optax.sgd(rate, momentum=0.9)
    ),
}


def build(config: ConfigDict, steps: int) -> optax.GradientTransformation:
    """Create the optimizer of an experiment.

    Args:
      config: the settings; see `training.settings`.
      steps: the total number of steps.

    Returns:
      The optimizer.
    """
    rate = SCHEDULES[config.schedule](config.learning_rate, steps, config.stages)
    return OPTIMIZERS[config.optimizer](rate, config.weight_decay)
