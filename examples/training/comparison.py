"""A comparison of methods: their runs, which take turns, and what these have reached.

Between its turns a run exists only as its last checkpoint. The memory needed is
therefore that of one method, and an interrupted comparison goes on bit for bit.
"""

import dataclasses
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from training import ensemble, models, steps
from training.checkpoints import Checkpoints
from training.data import Dataset
from training.errors import UserError
from training.experiment import prepare
from training.interrupts import Interrupt
from training.loop import scans


class History(NamedTuple):
    """What was measured at each evaluation; NaN at those still to come.

    Attributes:
      losses: the loss on the test split, ``(evaluations, seeds)``.
      accuracies: the accuracy on it.
      train_losses: the mean loss over the current epoch's steps so far, with noise.
      seconds: the time of the steps since the evaluation before, of all seeds together;
        on a CPU the time of all its cores. What is compiled is counted once per start.
    """

    losses: np.ndarray
    accuracies: np.ndarray
    train_losses: np.ndarray
    seconds: np.ndarray


class _Saved(NamedTuple):
    states: list[steps.State]
    history: History


@dataclasses.dataclass(frozen=True)
class Row:
    """The results of the runs of a method, up to the last evaluation.

    Attributes:
      method: the method.
      rate: its rate.
      steps: the steps at which it was evaluated.
      losses: the loss on the test split, ``[evaluation][seed]``.
      accuracies: the accuracy on it.
      train_losses: the loss in training, with noise.
      seconds_per_step: the time of one network's step before each evaluation.
    """

    method: str
    rate: float
    steps: tuple[int, ...]
    losses: tuple[tuple[float, ...], ...]
    accuracies: tuple[tuple[float, ...], ...]
    train_losses: tuple[tuple[float, ...], ...]
    seconds_per_step: tuple[float, ...]

    def first(self, evaluations: int) -> "Row":
        """Return the results of the first evaluations only."""
        measured = {
            field.name: getattr(self, field.name)[:evaluations]
            for field in dataclasses.fields(self)
            if field.name not in ("method", "rate")
        }
        return dataclasses.replace(self, **measured)

    def summary(self) -> dict[str, Any]:
        """Return means and standard deviations over the seeds, final and best.

        The best loss and the best accuracy of a seed are those of the evaluation at
        which they are best; ``best_loss_step`` and ``best_accuracy_step`` are medians.
        """
        losses, accuracies = np.array(self.losses), np.array(self.accuracies)
        least, most = losses.argmin(0), accuracies.argmax(0)
        return {
            "final_loss": spread(losses[-1]),
            "final_accuracy": spread(accuracies[-1]),
            "final_train_loss": spread(np.array(self.train_losses)[-1]),
            "best_loss": spread(losses.min(0)),
            "best_loss_step": float(np.median(np.array(self.steps)[least])),
            "best_accuracy": spread(accuracies.max(0)),
            "best_accuracy_step": float(np.median(np.array(self.steps)[most])),
            "seconds_per_step": float(np.median(self.seconds_per_step)),
            "seeds": losses.shape[1],
        }


def spread(values: np.ndarray) -> dict[str, float | None]:
    """Return the mean and the standard deviation, None for a single value."""
    deviation = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return {"mean": float(np.mean(values)), "deviation": deviation}


def clock() -> tuple[str, Callable[[], float]]:
    """Return the name of the unit of a run's time, and the clock."""
    # Other load on the machine affects the time on a CPU less than that on the wall.
    if jax.default_backend() == "cpu":
        return "CPU s", time.process_time
    return "s", time.perf_counter


def runs(
    config: ConfigDict, dataset: Dataset, folder: Path, say: Callable[[str], None]
) -> Iterator["Run"]:
    """Prepare the runs of a comparison.

    Args:
      config: the settings; see `training.settings.comparison_config`.
      dataset: the data.
      folder: the comparison's folder.
      say: called with one line about the checkpoint from which a run continues.

    Yields:
      A run for each method and rate.
    """
    scanned = scans(config, dataset.train.inputs.nbytes)
    train = (dataset.train.inputs, dataset.train.labels)
    if scanned:
        train = jax.device_put(train)
    for method in models.METHODS[config.model]:
        if method in config.methods:
            for rate in _rates(config, method):
                settings = config.copy_and_resolve_references()
                nets = config.seeds if scanned else 1
                settings.update(method=method, rate=rate, nets=nets)
                yield Run(settings, dataset, train, folder, say)


def _rates(config: ConfigDict, method: str) -> tuple[float, ...]:
    rate = config.methods[method]
    return config.rates if rate and config.rates else (rate,)


class Run:
    """The networks of a method, one for each seed.

    Attributes:
      name: the method and its rate.
      step: the number of steps taken.
      steps: the number of steps in total.
      parameters: the number of parameters of a network.
    """

    def __init__(
        self,
        config: ConfigDict,
        dataset: Dataset,
        train: tuple[Any, Any],
        folder: Path,
        say: Callable[[str], None],
    ) -> None:
        """Prepare the networks, and find the last checkpoint.

        Args:
          config: the settings of one method, whose ``nets`` are vmapped.
          dataset: the data.
          train: the train split, on the device if steps are scanned.
          folder: the comparison's folder.
          say: called with one line about the checkpoint.
        """
        self._config, self._train, self._test = config, train, dataset.test
        self._experiment = experiment = prepare(config, dataset)
        self.name = f"{config.method} {config.rate:g}"
        self.steps = experiment.steps
        self._interval = _interval(config, experiment.steps_per_epoch)
        self._ends = (*range(self._interval, self.steps, self._interval), self.steps)
        self._scanned = isinstance(train[0], jax.Array)
        self._keys = (
            [experiment.key]
            if self._scanned
            else list(ensemble.keys(config.seed, config.seeds))
        )
        self._init = jax.jit(experiment.init)
        self._count = jax.jit(experiment.count)
        self._advances: dict[int, steps.Advance] = {}
        self._checkpoints = Checkpoints(
            folder, config.keep_checkpoints, self.name.replace(" ", "_")
        )
        self._note(self._restore(lambda line: say(f"{self.name}: {line}")))

    def turn(self, until: int, interrupt: Interrupt) -> None:
        """Train from the last checkpoint to a step, and write the next checkpoint.

        Args:
          until: the step.
          interrupt: checked after each call of a compiled program.
        """
        if self.step >= until or interrupt.received:
            return
        states, history = self._restore(lambda line: None)
        while int(states[0].step) < until and not interrupt.received:
            states, history = self._advance(states, history)
        self._checkpoints.save(int(states[0].step), _Saved(states, history))
        self._note(_Saved(states, history))

    def row(self) -> Row:
        """Return what was measured so far."""
        config = self._config
        ends = tuple(end for end in self._ends if end <= self.step)
        lengths = np.diff((0, *ends)) * config.seeds
        losses, accuracies, train_losses, seconds = (
            measured[: len(ends)] for measured in self._history
        )
        return Row(
            config.method,
            config.rate,
            ends,
            *(_as_tuples(it) for it in (losses, accuracies, train_losses)),
            tuple((seconds / lengths).tolist()),
        )

    def progress(self) -> str:
        """Return the last test loss, for a progress bar."""
        losses = self.row().losses
        return f"test loss {np.mean(losses[-1]):.4f}" if losses else ""

    def seconds(self) -> float:
        """Return the time of all steps taken."""
        return float(np.nansum(self._history.seconds))

    def close(self) -> None:
        """Close the checkpoints."""
        self._checkpoints.close()

    def _restore(self, say: Callable[[str], None]) -> _Saved:
        evaluations, seeds = len(self._ends), self._config.seeds
        empty = np.full((evaluations, seeds), np.nan, np.float32)
        history = History(empty, empty, empty, np.zeros(evaluations, np.float32))
        first = _Saved([self._init(key) for key in self._keys], history)
        return self._checkpoints.restore(first, say)

    def _note(self, saved: _Saved) -> None:
        self.step = int(saved.states[0].step)
        self.parameters = models.count(saved.states[0].params) // self._config.nets
        self._history = jax.tree.map(np.asarray, saved.history)

    def _advance(self, states: list[steps.State], history: History) -> _Saved:
        """Take the steps of one call, which never exceeds an epoch or an evaluation."""
        step, epoch = int(states[0].step), self._experiment.steps_per_epoch
        ends = (epoch - step % epoch, self._interval - step % self._interval)
        length = min(*ends, self._config.steps_per_call or epoch, self.steps - step)
        advance, (_, now) = self._compiled(length), clock()
        began = now()
        states = jax.block_until_ready(
            [
                advance(key, state, *self._train)
                for key, state in zip(self._keys, states, strict=True)
            ]
        )
        history = jax.tree.map(np.array, history)
        index, step = step // self._interval, step + length
        history.seconds[index] += now() - began
        if step % self._interval == 0 or step == self.steps:
            history.losses[index], history.accuracies[index] = self._measure(states)
            means = [steps.means(state.totals)[0] for state in states]
            history.train_losses[index] = np.hstack(means)
        return _Saved(states, history)

    def _compiled(self, length: int) -> steps.Advance:
        if length not in self._advances:
            self._advances[length] = (
                jax.jit(self._experiment.scan(length), donate_argnums=1)
                if self._scanned
                else self._experiment.feed(length)
            )
        return self._advances[length]

    def _measure(self, states: list[steps.State]) -> tuple[np.ndarray, np.ndarray]:
        """The loss and the accuracy of each network on the test split."""
        measured = [steps.evaluate(self._count, it.params, self._test) for it in states]
        losses, accuracies = zip(*measured, strict=True)
        return np.hstack(losses), np.hstack(accuracies)


def _interval(config: ConfigDict, epoch: int) -> int:
    interval = config.eval_steps or epoch
    if interval % epoch and epoch % interval:
        raise UserError(
            f"config.eval_steps must be a divisor or a multiple of the {epoch} steps "
            f"of an epoch, got {interval}"
        )
    return interval


def _as_tuples(values: np.ndarray) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(row) for row in values.tolist())
