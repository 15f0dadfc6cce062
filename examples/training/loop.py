"""The loop over a run: calls of many steps, and what follows each of them."""

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
    """An experiment on its device: whole calls of steps, and evaluations."""

    def __init__(self, config: ConfigDict, experiment: Experiment) -> None:
        """Put the data on the device where it fits.

        Args:
          config: the settings; see `training.settings`.
          experiment: the experiment.
        """
        self._config = config
        self.experiment = experiment
        self.epochs = config.epochs
        self.examples_per_step = config.batch_size * config.nets
        train = experiment.dataset.train
        self.scanned = _scans(config, train.inputs.nbytes)
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
        """Take the steps of one call, which never goes past the end of an epoch.

        Args:
          state: the state; its memory is taken over.

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
          ``loss`` and ``accuracy``, means over the nets, under ``train`` and ``test``.
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
        """Measure several nets and their vote, with each form of inference.

        Args:
          state: the state of the nets.

        Returns:
          What `training.inference.measure` says of the test split.
        """
        forms = inference.forms(self._config, self.experiment.model)
        return inference.measure(forms, state.params, self.experiment.dataset.test)

    def _measure(self, state: steps.State, split: Split) -> dict[str, float]:
        loss, accuracy = steps.evaluate(self._count, state.params, split)
        return {"loss": float(np.mean(loss)), "accuracy": float(np.mean(accuracy))}


def _scans(config: ConfigDict, size: int) -> bool:
    if config.nets > 1:
        return True
    if config.scan != "auto":
        return config.scan == "always"
    # On CPU, XLA runs a convolution in a loop several times slower than outside
    # of it (jax-ml/jax#12868).
    slow = config.model in ("cnn", "residual") and jax.default_backend() == "cpu"
    return not slow and size <= config.device_data_mib * _MIB


class Loop:
    """Training from a state to the end, or to the first interruption."""

    def __init__(
        self,
        trainer: Trainer,
        metrics: Metrics,
        checkpoints: Checkpoints,
        checkpoint_every: int,
    ) -> None:
        """Tie the parts of a run together.

        Args:
          trainer: takes the steps.
          metrics: where the epochs' metrics go.
          checkpoints: where the states go.
          checkpoint_every: how many epochs lie between two checkpoints.
        """
        self._trainer = trainer
        self._metrics = metrics
        self._checkpoints = checkpoints
        self._every = checkpoint_every
        self._epoch_began = time.perf_counter()

    def run(
        self, state: steps.State, interrupt: Interrupt, board: Board
    ) -> steps.State:
        """Train, and leave a checkpoint of the last state.

        Args:
          state: where to start.
          interrupt: asked after each call whether to stop.
          board: told about the progress.

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
