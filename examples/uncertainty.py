"""Estimate the uncertainty of a network: python examples/uncertainty.py.

Fits a network with dropout to noisy measurements with a gap between them. The spread of
many passes, each with different masks, then shows where the network is uncertain.
Writes result.json and uncertainty.png, the measurements with predictive bands, to the
workdir.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

# Imported first: it reports missing packages.
from training.errors import UserError, run_program

# isort: split
import jax
import numpy as np
from matplotlib.figure import Figure
from ml_collections import ConfigDict
from rich.console import Console
from rich.table import Table
from training import command_line, curves, regression, workdir
from training.regression import Regression
from training.reporting import progress_bar, table

_CALLS = 20
_FIGURE_RANGE = (-5.0, 5.0)
_NAMES = {
    "dropout": "dropout",
    "dropconnect": "DropConnect",
    "concrete": "concrete dropout",
}


def main(argv: Sequence[str]) -> int:
    """Run the program.

    Args:
      argv: the command line, the program's name first.

    Returns:
      The exit code.
    """
    options = command_line.parse(argv, __doc__ or "", "uncertainty_dropout.py")
    if options is None:
        return 0
    if options.resume:
        raise UserError("a regression is not checkpointed: run it without --resume")
    config, folder, console = options.config, options.workdir, Console()
    regression.check(config)
    with workdir.locked(folder):
        x, y = regression.measurements(config)
        fit, key = regression.prepare(config, x, y), jax.random.key(config.seed)
        params = _train(config, fit, key, console)
        grid = np.linspace(*_FIGURE_RANGE, 400, dtype=np.float32)
        band = [np.asarray(part) for part in fit.predict(key, params, grid)]
        result = _measure(config, grid, band, regression.rates(params))
        console.print(_table(folder.name, result))
        workdir.write_json(folder / "result.json", result)
        _draw(folder / "uncertainty.png", config, (x, y), grid, band)
    console.print(f"picture: {folder / 'uncertainty.png'}", soft_wrap=True)
    return 0


def _train(
    config: ConfigDict, fit: Regression, key: jax.Array, console: Console
) -> dict:
    state, length = fit.init(key), max(1, config.steps // _CALLS)
    with progress_bar(console) as bar:
        task = bar.add_task(config.method, total=config.steps, text="")
        for first in range(0, config.steps, length):
            now = min(length, config.steps - first)
            state, loss = fit.advance(key, state, first, now)
            bar.update(task, advance=now, text=f"loss {float(loss):.4f}")
    return state[0]


def _measure(
    config: ConfigDict, grid: np.ndarray, band: list[np.ndarray], rates: list[float]
) -> dict[str, object]:
    """Compare the band with the true function, with and without data nearby."""
    mean, model, data = band
    error = np.abs(mean - regression.law(grid))
    size = np.abs(grid)
    places = {
        "between the measurements": size < 0.8,
        "among the measurements": (size > 1.1) & (size < 2.9),
        "beyond the measurements": size > 3.2,
    }
    rows = {
        name: {
            "error": float(error[here].mean()),
            "model": float(np.sqrt(model[here]).mean()),
            "data": float(np.sqrt(data[here]).mean()),
        }
        for name, here in places.items()
    }
    return {"config": config.to_dict(), "places": rows, "learned rates": rates}


def _table(title: str, result: dict) -> Table:
    header = "where", "mean error", "std of model", "std of noise"
    filled = table(*header, title=title)
    for name, row in result["places"].items():
        filled.add_row(name, *(f"{row[key]:.3f}" for key in ("error", "model", "data")))
    if result["learned rates"]:
        learned = ", ".join(f"{rate:.3f}" for rate in result["learned rates"])
        filled.caption = f"learned rates: {learned}"
    return filled


def _draw(
    path: Path,
    config: ConfigDict,
    measured: tuple[np.ndarray, np.ndarray],
    grid: np.ndarray,
    band: list[np.ndarray],
) -> None:
    figure = Figure(figsize=(9, 5), layout="constrained")
    axes = figure.subplots()
    mean, model, data = band
    bands = {"model and noise": (model + data, "C0"), "model alone": (model, "C1")}
    for name, (variance, color) in bands.items():
        sides = mean - 2 * np.sqrt(variance), mean + 2 * np.sqrt(variance)
        label = f"± 2 standard deviations, {name}"
        axes.fill_between(grid, *sides, color=color, alpha=0.25, lw=0, label=label)
    axes.plot(grid, mean, label=f"prediction: mean of {config.passes} passes")
    axes.plot(grid, regression.law(grid), "k--", linewidth=1, label="true function")
    axes.plot(*measured, "k.", markersize=2, label="measurements (training data)")
    title = f"Predictive uncertainty of a network with {_NAMES[config.method]}"
    axes.set(title=title, xlabel="input x", ylabel="output y", ylim=(-4, 4))
    axes.grid(alpha=0.3)
    axes.legend(loc="upper left", fontsize="small")
    curves.save(figure, path)


if __name__ == "__main__":
    sys.exit(run_program(Path(__file__).name, main, sys.argv))
