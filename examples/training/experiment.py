"""An experiment: its data, its network and the functions that train it."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
from ml_collections import ConfigDict

from training import ensemble, models, optimizers, steps
from training.data import Dataset
from training.errors import UserError


@dataclasses.dataclass(frozen=True)
class Experiment:
    """Pure functions of a seed's key, with the data and the number of steps.

    If ``config.nets`` is greater than 1, all are vmapped over the networks; see
    `training.ensemble`.

    Attributes:
      dataset: the data.
      model: one network.
      key: the seed's key; for several networks, one key each from consecutive seeds.
      steps_per_epoch: steps per epoch.
      steps: steps in total.
      init: ``key -> state``.
      scan: ``length -> advance``, see `training.steps.make_scan`; not jitted.
      feed: ``length -> advance``, see `training.steps.make_feed`.
      count: ``(params, inputs, labels) -> totals``, not jitted.
    """

    dataset: Dataset
    model: models.Model
    key: jax.Array
    steps_per_epoch: int
    steps: int
    init: Callable[[jax.Array], steps.State]
    scan: Callable[[int], steps.Advance]
    feed: Callable[[int], steps.Advance]
    count: Callable[[Any, jax.Array, jax.Array], steps.Totals]


def prepare(
    config: ConfigDict,
    dataset: Dataset,
    spread: Callable[[steps.Step], steps.Step] = lambda step: step,
) -> Experiment:
    """Prepare an experiment.

    Args:
      config: the settings; see `training.settings`.
      dataset: the data.
      spread: a transformation of the train step, applied before compilation.

    Returns:
      The experiment.

    Raises:
      UserError: the train split is smaller than a batch, or an image is too small.
    """
    batch_size, examples = config.batch_size, len(dataset.train)
    if batch_size > examples:
        raise UserError(
            f"config.batch_size is {batch_size}, but there are {examples} examples"
        )
    if config.model == "cnn" and min(dataset.shape[:2]) >> len(config.channels) == 0:
        raise UserError(
            f"config.channels has {len(config.channels)} blocks, which halve an image "
            f"of {dataset.shape[0]}x{dataset.shape[1]} to nothing"
        )
    length = examples // batch_size
    model = models.build(config, dataset.shape, dataset.classes)
    optimizer = optimizers.build(config, length * config.epochs)
    step = spread(steps.make_step(model, optimizer, length, config.consistency))
    single = Experiment(
        dataset=dataset,
        model=model,
        key=jax.random.key(config.seed),
        steps_per_epoch=length,
        steps=length * config.epochs,
        init=lambda key: steps.initial_state(key, model, optimizer),
        scan=lambda calls: steps.make_scan(step, batch_size, length, calls),
        feed=lambda calls: steps.make_feed(step, batch_size, length, calls),
        count=steps.make_count(model),
    )
    return single if config.nets == 1 else _side_by_side(single, config)


def _side_by_side(single: Experiment, config: ConfigDict) -> Experiment:
    return dataclasses.replace(
        single,
        key=ensemble.keys(config.seed, config.nets),
        init=lambda keys: ensemble.init(single.init, keys),
        scan=lambda length: ensemble.side_by_side(single.scan(length)),
        count=jax.vmap(single.count, in_axes=(0, None, None)),
    )
