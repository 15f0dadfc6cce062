"""Compare methods: python examples/compare.py --config=configs/digits_compare.py.

Trains the same network with each method from several seeds, and with config.rates at
each of these rates. All seeds of a method are trained at once, vmapped in one jitted
program. Writes compare.md, compare.json and compare.png to the workdir.
"""

import dataclasses
import math
import sys
from collections.abc import Sequence
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
from training import command_line, curves, data, models, settings, steps, workdir
from training.data import Dataset
from training.experiment import prepare
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
    """

    method: str
    rate: float
    accuracies: tuple[float, ...]
    losses: tuple[tuple[float, ...], ...]

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
        rows = [
            _train(config, method, rate, dataset, bar)
            for method in models.METHODS[config.model]
            if method in config.methods
            for rate in _rates(config, method)
        ]
    console.print(_table(config, rows))
    return rows


def _table(config: ConfigDict, rows: Sequence[Row]) -> Table:
    """The table of compare.md with each mean and its deviation in one column."""
    header, unit = _header(config)
    means = [name.removesuffix(", mean") for name in header if name != _SPREAD]
    result = table(*means, title=f"{config.model} on {config.dataset}")
    for row in rows:
        *first, accuracy, spread, loss, deviation, seeds = row.cells(unit)
        pairs = (accuracy, spread), (loss, deviation)
        joined = (" ± ".join(filter(None, pair)) for pair in pairs)
        result.add_row(*first, *joined, seeds)
    if config.seeds > 1:
        result.caption = f"means ± {_SPREAD}s over the seeds"
    return result


def _rates(config: ConfigDict, method: str) -> tuple[float, ...]:
    rate = config.methods[method]
    return config.rates if rate and config.rates else (rate,)


def _train(
    config: ConfigDict, method: str, rate: float, dataset: Dataset, bar: Progress
) -> Row:
    experiment = prepare(_single(config, method, rate), dataset)
    task = bar.add_task(f"{method} {rate:g}", total=config.epochs, text="")
    state = jax.jit(experiment.init)(experiment.key)
    advance = jax.jit(experiment.scan(experiment.steps_per_epoch), donate_argnums=1)
    count = jax.jit(experiment.count)
    train = jax.device_put((dataset.train.inputs, dataset.train.labels))
    losses, accuracies = [], ()
    for _ in range(config.epochs):
        state = advance(experiment.key, state, *train)
        tested = steps.evaluate(count, state.params, dataset.test)
        loss, accuracies = (tuple(np.atleast_1d(it).tolist()) for it in tested)
        losses.append(loss)
        bar.update(task, advance=1, text=f"test loss {np.mean(loss):.4f}")
    return Row(method, rate, accuracies, tuple(losses))


def _single(config: ConfigDict, method: str, rate: float) -> ConfigDict:
    copy = config.copy_and_resolve_references()
    copy.update(method=method, rate=rate, nets=config.seeds)
    return copy


def _header(config: ConfigDict) -> tuple[tuple[str, ...], float]:
    """The table's header, and the unit of its losses."""
    text = config.dataset in data.TEXTS
    loss, unit = ("bits per character", math.log(2)) if text else ("test loss", 1.0)
    accuracy = ("test accuracy, mean", _SPREAD)
    return ("method", "rate", *accuracy, f"{loss}, mean", _SPREAD, "seeds"), unit


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
