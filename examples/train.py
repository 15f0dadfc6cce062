"""Train one network: python examples/train.py --config=configs/digits_dropconnect.py.

Writes metrics.jsonl (one line per epoch), config.json, checkpoints/, result.json and
curves.png to the workdir. Ctrl-C writes a checkpoint; --resume continues from the last
one and reaches exactly the parameters of an uninterrupted run.
"""

import contextlib
import functools
import sys
from collections.abc import Sequence
from pathlib import Path

# Imported first: it reports missing packages.
from training.errors import run_program

# isort: split
import jax
from ml_collections import ConfigDict
from rich.console import Console
from training import command_line, curves, data, machine, models, settings, workdir
from training.checkpoints import Checkpoints, digest
from training.command_line import Options
from training.experiment import prepare
from training.interrupts import Interrupt
from training.loop import Loop, Trainer
from training.reporting import Board, nets_table, result_table
from training.steps import State


def main(argv: Sequence[str]) -> int:
    """Run the program.

    Args:
      argv: the command line, the program's name first.

    Returns:
      The exit code.
    """
    options = command_line.parse(argv, __doc__ or "", "digits_dropconnect.py")
    if options is None:
        return 0
    settings.check(options.config, settings.default_config())
    with Interrupt().watched() as interrupt, workdir.locked(options.workdir):
        if not options.resume:
            workdir.check_free(options.workdir)
        trainer = _make_trainer(options)
        return _train(options, trainer, interrupt, argv)


def _make_trainer(options: Options) -> Trainer:
    config = options.config
    if options.resume:
        workdir.check_same_config(options.workdir, config)
    dataset = data.load(
        config.dataset,
        download=options.download,
        train_examples=config.train_examples,
        test_examples=config.test_examples,
        length=config.length,
    )
    return Trainer(config, prepare(config, dataset))


def _train(
    options: Options, trainer: Trainer, interrupt: Interrupt, argv: Sequence[str]
) -> int:
    config, folder, console = options.config, options.workdir, Console()
    say = functools.partial(console.print, highlight=False, soft_wrap=True)
    with contextlib.closing(
        Checkpoints(folder, config.keep_checkpoints)
    ) as checkpoints:
        state = trainer.initial_state()
        if options.resume:
            state = checkpoints.restore(state, say)
        say(_banner(options, trainer, state))
        workdir.write_json(folder / "config.json", config.to_dict())
        metrics = workdir.Metrics(folder / "metrics.jsonl", int(state.step))
        loop = Loop(trainer, metrics, checkpoints, config.checkpoint_every)
        steps = trainer.experiment.steps
        with Board(console, steps, config.epochs, int(state.step)) as board:
            state = loop.run(state, interrupt, board)
    if interrupt.received:
        say(f"stopped at step {state.step} of {steps}; continue with:")
        say(command_line.resume_command(argv))
        return 128 + interrupt.received
    _conclude(options, trainer, state, metrics, console)
    return 0


def _banner(options: Options, trainer: Trainer, state: State) -> str:
    config, dataset = options.config, trainer.experiment.dataset
    noise = "" if config.method == "none" else f" with {config.method} {config.rate}"
    return (
        f"{jax.devices()[0].device_kind}, jax {jax.__version__}, "
        f"{models.count(state.params):,} parameters: {_nets(config)}{config.model}"
        f"{noise} on {config.dataset} "
        f"({len(dataset.train):,} + {len(dataset.test):,} examples)"
    )


def _nets(config: ConfigDict) -> str:
    return f"{config.host} " if config.nets == 1 else f"{config.nets} {config.host} "


def _conclude(
    options: Options,
    trainer: Trainer,
    state: State,
    metrics: workdir.Metrics,
    console: Console,
) -> None:
    folder = options.workdir
    measured = trainer.evaluate(state)
    result = {
        **machine.provenance(),
        **measured,
        "step": int(state.step),
        "sha256": digest(state.params),
    }
    if options.config.nets > 1:
        result["nets"] = trainer.compare_inference(state)
        console.print(nets_table(folder.name, result["nets"]))
    # Printed first, in case the disk is full.
    console.print(result_table(folder.name, measured))
    workdir.write_json(folder / "result.json", result)
    curves.draw(folder / "curves.png", folder.name, metrics.lines)
    console.print(f"learning curves: {folder / 'curves.png'}", soft_wrap=True)


if __name__ == "__main__":
    sys.exit(run_program(Path(__file__).name, main, sys.argv))
