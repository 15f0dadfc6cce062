"""The training loop: calls of many steps, with reports and checkpoints."""

import functools
import time
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from training import inference, steps
from training.checkpoints import Checkpoints
from training.data import Split
from training.experiment import Experiment
from training.interrupts import Interrupt
from training.reporting import Board
from training.workdir import Metrics

_MIB = 2**20
_FEED_STEPS = 20


class Trainer:
    """Runs the steps and evaluations of an experiment on its device."""

    def __init__(self, config: ConfigDict, experiment: Experiment) -> None:
        """Put the data on the device if it fits.

        Args:
          config: the settings; see `training.settings`.
          experiment: the experiment.
        """
        self._config = config
        self.experiment = experiment
        self.epochs = config.epochs
        self.examples_per_step = config.batch_size * config.nets
        train = experiment.dataset.train
        self.scanned = scans(config, train.inputs.nbytes)
        self._data: tuple[Any, Any] = (train.inputs, train.labels)
        if self.scanned:
            self._data = jax.device_put(self._data)
        longest = experiment.steps_per_epoch if self.scanned else _FEED_STEPS
        self._call = min(config.steps_per_call or longest, experiment.steps_per_epoch)
        self._count = jax.jit(experiment.count)

    def initial_state(self) -> steps.State:
        """Return the state before the first step."""
        return jax.jit(self.experiment.init)(self.experiment.key)

    def advance(self, state: steps.State) -> steps.State:
        """Take the steps of one call, which never exceeds the end of an epoch.

        Args:
          state: the state, which is donated.

        Returns:
          The new state, computed.
        """
        left = -int(state.step) % self.experiment.steps_per_epoch
        length = min(self._call, left or self.experiment.steps_per_epoch)
        return jax.block_until_ready(
            self._advance(length)(self.experiment.key, state, *self._data)
        )

    @functools.lru_cache(maxsize=4)  # noqa: B019 (a trainer lives as long as its run)
    def _advance(self, length: int) -> steps.Advance:
        if self.scanned:
            return jax.jit(self.experiment.scan(length), donate_argnums=1)
        return self.experiment.feed(length)

    def evaluate(self, state: steps.State) -> dict[str, dict[str, float]]:
        """Measure a state, without noise, on both splits.

        Args:
          state: the state.

        Returns:
          ``loss`` and ``accuracy`` for ``train`` and ``test``, averaged over networks.
        """
        dataset = self.experiment.dataset
        return {
            "train": self._measure(state, dataset.train),
            "test": self._measure(state, dataset.test),
        }

    def test(self, state: steps.State) -> dict[str, float]:
        """Measure a state, without noise, on the test split.

        Args:
          state: the state.

        Returns:
          ``loss`` and ``accuracy``.
        """
        return self._measure(state, self.experiment.dataset.test)

    def compare_inference(self, state: steps.State) -> dict[str, dict[str, Any]]:
        """Measure several networks and their vote, with each form of inference.

        Args:
          state: the state of the networks.

        Returns:
          The result of `training.inference.measure` on the test split.
        """
        forms = inference.forms(self._config, self.experiment.model)
        return inference.measure(forms, state.params, self.experiment.dataset.test)

    def _measure(self, state: steps.State, split: Split) -> dict[str, float]:
        loss, accuracy = steps.evaluate(self._count, state.params, split)
        return {"loss": float(np.mean(loss)), "accuracy": float(np.mean(accuracy))}


def scans(config: ConfigDict, size: int) -> bool:
    """Return whether to keep the train split on the device and scan over the steps.

    Args:
      config: the settings; see `training.settings`.
      size: the bytes of the train split.
    """
    if config.nets > 1:
        return True
    if config.scan != "auto":
        return config.scan == "always"
    # On a CPU, XLA runs convolutions several times slower inside a loop than outside
    # (jax-ml/jax#12868).
    slow = config.model in ("cnn", "residual") and jax.default_backend() == "cpu"
    return not slow and size <= config.device_data_mib * _MIB


class Loop:
    """Trains from a state to the end or the first interruption."""

    def __init__(
        self,
        trainer: Trainer,
        metrics: Metrics,
        checkpoints: Checkpoints,
        checkpoint_every: int,
    ) -> None:
        """Connect the parts of a run.

        Args:
          trainer: takes the steps.
          metrics: records the metrics of each epoch.
          checkpoints: stores the states.
          checkpoint_every: the number of epochs between checkpoints.
        """
        self._trainer = trainer
        self._metrics = metrics
        self._checkpoints = checkpoints
        self._every = checkpoint_every
        self._epoch_began = time.perf_counter()

    def run(
        self, state: steps.State, interrupt: Interrupt, board: Board
    ) -> steps.State:
        """Train and write a checkpoint of the last state.

        Args:
          state: where to start.
          interrupt: checked after each call.
          board: shows the progress.

        Returns:
          The last state.
        """
        while not self._is_done(state) and not interrupt.received:
            before, began = int(state.step), time.perf_counter()
            state = self._trainer.advance(state)
            steps_per_second = (int(state.step) - before) / (
                time.perf_counter() - began
            )
            self._report(state, steps_per_second, board)
        self._checkpoints.save(int(state.step), state)
        return state

    def _is_done(self, state: steps.State) -> bool:
        return int(state.step) >= self._trainer.experiment.steps

    def _report(
        self, state: steps.State, steps_per_second: float, board: Board
    ) -> None:
        loss, accuracy = (float(np.mean(it)) for it in steps.means(state.totals))
        speed = steps_per_second * self._trainer.examples_per_step
        board.progress(int(state.step), loss, accuracy, speed)
        epoch, rest = divmod(int(state.step), self._trainer.experiment.steps_per_epoch)
        if rest == 0:
            self._end_epoch(state, epoch, loss, accuracy)
            board.epoch(self._metrics.lines[-1])

    def _end_epoch(
        self, state: steps.State, epoch: int, loss: float, accuracy: float
    ) -> None:
        test = self._trainer.test(state)
        now = time.perf_counter()
        self._metrics.append(
            step=int(state.step),
            epoch=epoch,
            train_loss=loss,
            train_accuracy=accuracy,
            test_loss=test["loss"],
            test_accuracy=test["accuracy"],
            seconds=round(now - self._epoch_began, 3),
        )
        self._epoch_began = now
        if epoch % self._every == 0:
            self._checkpoints.save(int(state.step), state)
