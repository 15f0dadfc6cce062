r"""Train one network on all devices of one or several machines, with sharded batches.

One machine with several GPUs:

    python examples/train_parallel.py --config=configs/mnist_dropconnect.py

N machines: run the same command on each, with I from 0 to N - 1 and HOST the name of
the first machine. Under Slurm or Open MPI, and on Cloud TPUs, --coordinator=auto
suffices.

    python examples/train_parallel.py --config=configs/mnist_dropconnect.py \
        --coordinator=HOST:1234 --processes=N --process=I

Settings and results are those of train.py: masks do not depend on the devices, so the
parameters are those of a single device, up to the order in which gradients are summed.
Only the first process evaluates and writes; the others do not need the workdir.
--resume continues from the checkpoint of the last epoch, on whatever devices are
available then.
"""

import contextlib
import functools
import sys
from collections.abc import Sequence
from pathlib import Path

# Imported first: it reports missing packages.
from training.errors import UserError, run_program

# isort: split
import jax
from ml_collections import ConfigDict
from rich.console import Console
from training import command_line, data, processes, settings, workdir
from training.checkpoints import Checkpoints, digest
from training.command_line import Options
from training.experiment import Experiment, prepare
from training.interrupts import Interrupt
from training.loop import Loop, Trainer
from training.reporting import Board, result_table
from training.steps import State


class ParallelTrainer(Trainer):
    """A trainer on all devices; between calls each process has its own state."""

    def __init__(
        self, config: ConfigDict, experiment: Experiment, fleet: processes.Fleet
    ) -> None:
        """Put the data on all devices.

        Args:
          config: the settings; see `training.settings`.
          experiment: the experiment, prepared with the fleet's steps.
          fleet: the devices.
        """
        super().__init__(config, experiment)
        self._fleet = fleet
        if self.scanned:
            self._data = fleet.copied(self._data)

    def advance(self, state: State) -> State:
        """Take the steps of one call, together with the other processes.

        Args:
          state: the state, the same in every process.

        Returns:
          The new state, computed.
        """
        return processes.own(super().advance(self._fleet.copied(state)))


def main(argv: Sequence[str]) -> int:
    """Run the program.

    Args:
      argv: the command line, the program's name first.

    Returns:
      The exit code.
    """
    argv = processes.join(argv)
    options = command_line.parse(argv, __doc__ or "", "digits_dropconnect.py")
    if options is None:
        return 0
    settings.check(options.config, settings.default_config())
    if options.config.nets > 1:
        raise UserError("config.nets must be 1: train.py trains several networks")
    trainer = _make_trainer(options)
    if jax.process_index():
        return _follow(trainer)
    with workdir.locked(options.workdir):
        return _lead(options, trainer)


def _make_trainer(options: Options) -> ParallelTrainer:
    config = options.config
    fleet = processes.Fleet(config.batch_size)
    dataset = data.load(
        config.dataset,
        download=options.download,
        train_examples=config.train_examples,
        test_examples=config.test_examples,
    )
    return ParallelTrainer(config, prepare(config, dataset, fleet.spread), fleet)


def _follow(trainer: Trainer) -> int:
    state = processes.from_first(trainer.initial_state())
    while int(state.step) < trainer.experiment.steps:
        state = trainer.advance(state)
    return 0


def _lead(options: Options, trainer: Trainer) -> int:
    config, folder, console = options.config, options.workdir, Console()
    say = functools.partial(console.print, highlight=False, soft_wrap=True)
    if options.resume:
        workdir.check_same_config(folder, config)
    else:
        workdir.check_free(folder)
    with contextlib.closing(
        Checkpoints(folder, config.keep_checkpoints)
    ) as checkpoints:
        state = trainer.initial_state()
        if options.resume:
            state = checkpoints.restore(state, say)
        state = processes.from_first(state)
        say(_banner(state))
        workdir.write_json(folder / "config.json", config.to_dict())
        metrics = workdir.Metrics(folder / "metrics.jsonl", int(state.step))
        loop = Loop(trainer, metrics, checkpoints, config.checkpoint_every)
        steps = trainer.experiment.steps
        with Board(console, steps, config.epochs, int(state.step)) as board:
            state = loop.run(state, Interrupt(), board)
    measured = trainer.evaluate(state)
    result = {**measured, "step": int(state.step), "sha256": digest(state.params)}
    console.print(result_table(folder.name, measured))
    workdir.write_json(folder / "result.json", result)
    return 0


def _banner(state: State) -> str:
    return (
        f"{jax.devices()[0].device_kind}: {jax.device_count()} devices, of "
        f"{jax.process_count()} processes; from step {state.step}"
    )


if __name__ == "__main__":
    sys.exit(run_program(Path(__file__).name, main, sys.argv))
