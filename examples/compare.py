"""Compare methods: python examples/compare.py --config=configs/digits_compare.py.

Trains the same network with each method from several seeds, and with config.rates at
each of these rates. All seeds of a method are trained at once, vmapped in one jitted
program, or one after another where train.py would not scan over the steps. The methods
take turns, an epoch each, so that other load affects their times equally. Writes
compare.md, compare.json and compare.png to the workdir.
"""

import dataclasses
import math
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

# Imported first: it reports missing packages.
from training.errors import UserError, run_program

# isort: split
import jax
import numpy as np
from ml_collections import ConfigDict
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from training import (
    command_line,
    curves,
    data,
    ensemble,
    models,
    settings,
    steps,
    workdir,
)
from training.data import Dataset
from training.experiment import prepare
from training.loop import scans
from training.reporting import progress_bar, table

_SPREAD = "standard deviation"


@dataclasses.dataclass(frozen=True)
class Row:
    """The results of the runs of a method.

    Attributes:
      method: the method.
      rate: its rate.
      accuracies: the final accuracy on the test split, for each seed.
      losses: the loss on the test split after each epoch, ``[epoch][seed]``.
      seconds: the time of a network's steps in each epoch, the mean over the seeds; on
        a CPU the time of all its cores. The first epoch compiles.
    """

    method: str
    rate: float
    accuracies: tuple[float, ...]
    losses: tuple[tuple[float, ...], ...]
    seconds: tuple[float, ...]

    def cells(self, unit: float) -> tuple[str, ...]:
        """Return the cells of the table row, with losses in the given unit."""
        last = tuple(loss / unit for loss in self.losses[-1])
        accuracy, loss = np.mean(self.accuracies), np.mean(last)
        spreads = deviation(self.accuracies), deviation(last)
        return (
            self.method,
            f"{self.rate:g}",
            f"{accuracy:.2%}",
            "" if spreads[0] is None else f"{spreads[0]:.2%}",
            f"{loss:.4f}",
            "" if spreads[1] is None else f"{spreads[1]:.4f}",
            f"{np.median(self.seconds):.3g}",
            str(len(self.accuracies)),
        )


def deviation(values: Sequence[float]) -> float | None:
    """Return the standard deviation over seeds, None for a single seed."""
    return float(np.std(values, ddof=1)) if len(values) > 1 else None


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
    if options.resume:
        raise UserError("a comparison is not checkpointed: run it without --resume")
    config, folder = options.config, options.workdir
    settings.check(config, settings.comparison_config())
    with workdir.locked(folder):
        dataset = data.load(
            config.dataset,
            download=options.download,
            train_examples=config.train_examples,
            test_examples=config.test_examples,
            length=config.length,
        )
        rows = compare(config, dataset, Console())
        _write(folder, config, rows)
    return 0


def compare(config: ConfigDict, dataset: Dataset, console: Console) -> list[Row]:
    """Train with each method and show the table.

    Args:
      config: the settings; see `training.settings.comparison_config`.
      dataset: the data.
      console: where to show progress and the table.

    Returns:
      The rows of the table.
    """
    with progress_bar(console) as bar:
        runs = [
            _Run(config, method, rate, dataset, bar)
            for method in models.METHODS[config.model]
            if method in config.methods
            for rate in _rates(config, method)
        ]
        for _ in range(config.epochs):
            for run in runs:
                run.epoch()
    rows = [run.row() for run in runs]
    console.print(_table(config, rows))
    return rows


def _table(config: ConfigDict, rows: Sequence[Row]) -> Table:
    """The table of compare.md with each mean and its deviation in one column."""
    header, unit = _header(config)
    means = [name.removesuffix(", mean") for name in header if name != _SPREAD]
    result = table(*means, title=f"{config.model} on {config.dataset}")
    for row in rows:
        *first, accuracy, spread, loss, deviation, seconds, seeds = row.cells(unit)
        pairs = (accuracy, spread), (loss, deviation)
        joined = (" ± ".join(filter(None, pair)) for pair in pairs)
        result.add_row(*first, *joined, seconds, seeds)
    if config.seeds > 1:
        result.caption = f"means ± {_SPREAD}s over the seeds"
    return result


def _rates(config: ConfigDict, method: str) -> tuple[float, ...]:
    rate = config.methods[method]
    return config.rates if rate and config.rates else (rate,)


class _Run:
    """The networks of a method, one for each seed, and what they have reached."""

    def __init__(
        self,
        config: ConfigDict,
        method: str,
        rate: float,
        dataset: Dataset,
        bar: Progress,
    ) -> None:
        self._method, self._rate, self._bar = method, rate, bar
        self._task = bar.add_task(f"{method} {rate:g}", total=config.epochs, text="")
        train = (dataset.train.inputs, dataset.train.labels)
        scanned = scans(config, dataset.train.inputs.nbytes)
        nets = config.seeds if scanned else 1
        experiment = prepare(_single(config, method, rate, nets), dataset)
        length = experiment.steps_per_epoch
        if scanned:
            train = jax.device_put(train)
            self._keys = [experiment.key]
            self._advance = jax.jit(experiment.scan(length), donate_argnums=1)
        else:
            self._keys = list(ensemble.keys(config.seed, config.seeds))
            self._advance = experiment.feed(length)
        self._train, self._test = train, dataset.test
        self._count = jax.jit(experiment.count)
        self._states = list(map(jax.jit(experiment.init), self._keys))
        self._seeds = config.seeds
        self._losses: list[tuple[float, ...]] = []
        self._seconds: list[float] = []

    def epoch(self) -> None:
        """Train all networks for an epoch and test them."""
        _, clock = _clock()
        began = clock()
        self._states = jax.block_until_ready(
            [
                self._advance(key, state, *self._train)
                for key, state in zip(self._keys, self._states, strict=True)
            ]
        )
        self._seconds.append((clock() - began) / self._seeds)
        self._losses.append(self._measure()[0])
        text = f"test loss {np.mean(self._losses[-1]):.4f}"
        self._bar.update(self._task, advance=1, text=text)

    def row(self) -> Row:
        """Return the results."""
        losses, seconds = tuple(self._losses), tuple(self._seconds)
        return Row(self._method, self._rate, self._measure()[1], losses, seconds)

    def _measure(self) -> tuple[tuple[float, ...], ...]:
        """The loss and the accuracy of each network on the test split."""
        tested = [
            steps.evaluate(self._count, state.params, self._test)
            for state in self._states
        ]
        return tuple(tuple(np.hstack(it).tolist()) for it in zip(*tested, strict=True))


def _clock() -> tuple[str, Callable[[], float]]:
    """The name of the time of an epoch, and its clock."""
    # Other load on the machine affects the time on a CPU less than that on the wall.
    if jax.default_backend() == "cpu":
        return "CPU s/epoch", time.process_time
    return "s/epoch", time.perf_counter


def _single(config: ConfigDict, method: str, rate: float, nets: int) -> ConfigDict:
    copy = config.copy_and_resolve_references()
    copy.update(method=method, rate=rate, nets=nets)
    return copy


def _header(config: ConfigDict) -> tuple[tuple[str, ...], float]:
    """The table's header, and the unit of its losses."""
    text = config.dataset in data.TEXTS
    loss, unit = ("bits per character", math.log(2)) if text else ("test loss", 1.0)
    accuracy = ("test accuracy, mean", _SPREAD)
    losses, (seconds, _) = (f"{loss}, mean", _SPREAD), _clock()
    return ("method", "rate", *accuracy, *losses, seconds, "seeds"), unit


def _write(folder: Path, config: ConfigDict, rows: Sequence[Row]) -> None:
    header, unit = _header(config)
    lines = [header, ("---",) * len(header), *(row.cells(unit) for row in rows)]
    with workdir.replacing(folder / "compare.md") as partial:
        partial.write_text("".join(f"| {' | '.join(line)} |\n" for line in lines))
    content = [
        {**dataclasses.asdict(row), "deviation": deviation(row.accuracies)}
        for row in rows
    ]
    workdir.write_json(
        folder / "compare.json", {"config": config.to_dict(), "rows": content}
    )
    title = f"{config.model} on {config.dataset}, {config.seeds} seeds"
    picture = folder / "compare.png"
    if config.rates:
        curves.draw_sweep(picture, title, rows)
    else:
        loss = header[4].removesuffix(", mean")
        curves.draw_comparison(picture, title, loss, unit, rows)


if __name__ == "__main__":
    sys.exit(run_program(Path(__file__).name, main, sys.argv))
