"""Optimizers and schedules, by name."""

import optax
from ml_collections import ConfigDict

SCHEDULES = {
    "constant": lambda rate, steps: optax.constant_schedule(rate),
    "cosine": optax.cosine_decay_schedule,
}
OPTIMIZERS = {
    "adamw": lambda rate, decay: optax.adamw(rate, weight_decay=decay),
    "sgd": lambda rate, decay: optax.chain(
        optax.add_decayed_weights(decay), optax.sgd(rate, momentum=0.9)
    ),
}


def build(config: ConfigDict, steps: int) -> optax.GradientTransformation:
    """Make the optimizer of an experiment.

    Args:
      config: the settings; see `training.settings`.
      steps: the length of the whole training.

    Returns:
      The optimizer.
    """
    rate = SCHEDULES[config.schedule](config.learning_rate, steps)
    return OPTIMIZERS[config.optimizer](rate, config.weight_decay)
