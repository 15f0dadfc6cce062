"""Compare methods: python examples/compare.py --config=configs/digits_compare.py.

Trains the same network with each method from several seeds, and with config.rates at
each of these rates. All seeds of a method are trained at once, vmapped in one jitted
program, or one after another where train.py would not scan over the steps. The methods
take turns of config.checkpoint_every epochs, so that other load affects their times
equally. Writes compare.json after each turn, and compare.md and compare.png at the end,
to the workdir. Ctrl-C writes a checkpoint; --resume continues bit for bit.
"""

import contextlib
import dataclasses
import functools
import sys
from collections.abc import Sequence
from pathlib import Path

# Imported first: it reports missing packages.
from training.errors import run_program

# isort: split
from ml_collections import ConfigDict
from rich.console import Console
from rich.table import Table
from training import (
    command_line,
    comparison,
    curves,
    data,
    machine,
    reporting,
    settings,
    workdir,
)
from training.command_line import Options
from training.comparison import Row, Run
from training.data import Dataset
from training.interrupts import Interrupt


def main(argv: Sequence[str]) -> int:
    """Run the program.

    Args:
      argv: the command line, the program's name first.

    Returns:
      The exit code.
    """
    options = command_line.parse(argv, __doc__ or "", "digits_compare.py")
    if options is None:
        return 0
    config, folder = options.config, options.workdir
    settings.check(config, settings.comparison_config())
    with Interrupt().watched() as interrupt, workdir.locked(folder):
        if options.resume:
            workdir.check_same_config(folder, config)
        else:
            workdir.check_free(folder)
        dataset = data.load(
            config.dataset,
            download=options.download,
            train_examples=config.train_examples,
            test_examples=config.test_examples,
            length=config.length,
        )
        workdir.write_json(folder / "config.json", config.to_dict())
        return _compare(options, dataset, interrupt, argv)


def _compare(
    options: Options, dataset: Dataset, interrupt: Interrupt, argv: Sequence[str]
) -> int:
    config, folder, console = options.config, options.workdir, Console()
    say = functools.partial(console.print, highlight=False, soft_wrap=True)
    with contextlib.ExitStack() as stack:
        runs = [
            stack.enter_context(contextlib.closing(run))
            for run in comparison.runs(
                config, dataset, folder, say if options.resume else lambda line: None
            )
        ]
        _take_turns(options, dataset, runs, interrupt, console)
        rows = _rows(runs)
    if rows:
        _write(folder, config, rows)
    if interrupt.received:
        taken = min(run.step for run in runs)
        say(f"stopped at step {taken} of {runs[0].steps}; continue with:")
        say(command_line.resume_command(argv))
        return 128 + interrupt.received
    console.print(_table(config, rows))
    return 0


def _take_turns(
    options: Options,
    dataset: Dataset,
    runs: Sequence[Run],
    interrupt: Interrupt,
    console: Console,
) -> None:
    config = options.config
    turn = runs[0].steps // config.epochs * config.checkpoint_every
    # A finished comparison keeps the date on which it was measured.
    written = (options.workdir / "compare.json").is_file()
    with reporting.progress_bar(console) as bar:
        tasks = [
            bar.add_task(run.name, total=run.steps, completed=run.step, text="")
            for run in runs
        ]
        for until in range(turn, runs[0].steps + turn, turn):
            if all(run.step >= min(until, run.steps) for run in runs) and written:
                continue
            for task, run in zip(tasks, runs, strict=True):
                run.turn(min(until, run.steps), interrupt)
                bar.update(task, completed=run.step, text=run.progress())
            _write_json(options, dataset, runs)
            if interrupt.received:
                return


def _rows(runs: Sequence[Run]) -> list[Row]:
    """The results up to the last evaluation that all runs have reached."""
    rows = [run.row() for run in runs]
    common = min(len(row.steps) for row in rows)
    return [row.first(common) for row in rows] if common else []


def _write_json(options: Options, dataset: Dataset, runs: Sequence[Run]) -> None:
    seconds = sum(run.seconds() for run in runs)
    content = {
        **machine.provenance(),
        "time": {"unit": comparison.clock()[0], "total": round(seconds)},
        "config": options.config.to_dict(),
        "examples": {"train": len(dataset.train), "test": len(dataset.test)},
        "parameters": runs[0].parameters,
        "steps": runs[0].steps,
        "steps_taken": min(run.step for run in runs),
        "rows": [
            {**dataclasses.asdict(row), "summary": row.summary()} for row in _rows(runs)
        ],
    }
    workdir.write_json(options.workdir / "compare.json", content)


def _cells(row: Row) -> tuple[str, ...]:
    """The cells of a row of the table."""
    summary = row.summary()
    return (
        row.method,
        f"{row.rate:g}",
        *(
            reporting.mean_and_deviation(summary[name], form)
            for name, form in (
                ("best_accuracy", ".2%"),
                ("final_accuracy", ".2%"),
                ("best_loss", ".4f"),
                ("final_loss", ".4f"),
                ("final_train_loss", ".4f"),
            )
        ),
        f"{summary['best_loss_step']:g}",
        f"{summary['seconds_per_step']:.3g}",
        str(summary["seeds"]),
    )


def _header() -> tuple[str, ...]:
    return (
        "method",
        "rate",
        "test accuracy, best",
        "final",
        "test loss, best",
        "final",
        "train loss, final",
        "step of the best loss",
        f"{comparison.clock()[0]} per step",
        "seeds",
    )


def _table(config: ConfigDict, rows: Sequence[Row]) -> Table:
    """A few columns of compare.md, so that they fit into a terminal."""
    caption = "means ± standard deviations over the seeds" if config.seeds > 1 else None
    title = f"{config.model} on {config.dataset}"
    best = ("test accuracy, best", "test loss, best")
    header = ("method", "rate", *best, _header()[-2])
    table = reporting.table(*header, title=title, caption=caption)
    for row in rows:
        method, rate, accuracy, _, loss, _, _, _, seconds, _ = _cells(row)
        table.add_row(method, rate, accuracy, loss, seconds)
    return table


def _write(folder: Path, config: ConfigDict, rows: Sequence[Row]) -> None:
    lines = reporting.markdown(_header(), map(_cells, rows))
    with workdir.replacing(folder / "compare.md") as partial:
        partial.write_text(lines)
    title = f"{config.model} on {config.dataset}, {config.seeds} seeds"
    draw = curves.draw_sweep if config.rates else curves.draw_comparison
    draw(folder / "compare.png", title, rows)


if __name__ == "__main__":
    sys.exit(run_program(Path(__file__).name, main, sys.argv))
