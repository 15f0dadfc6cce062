"""Learn what is not known: python examples/uncertainty.py.

A net with noise is fitted to measurements with a gap between them. Many passes, each
with masks of its own, then tell where the net is sure: the workdir gets result.json and
uncertainty.png, the measurements with the predictive band.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np
from matplotlib.figure import Figure
from ml_collections import ConfigDict
from rich.console import Console
from rich.table import Table
from training import command_line, regression, workdir
from training.errors import UserError, run_program
from training.regression import Regression
from training.reporting import progress_bar

_CALLS = 20
_FIGURE_RANGE = (-5.0, 5.0)


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
        workdir.write_json(folder / "result.json", result)
        _draw(folder / "uncertainty.png", config, (x, y), grid, band)
    console.print(_table(folder.name, result))
    console.print(f"the band: {folder / 'uncertainty.png'}", soft_wrap=True)
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
    """Compare the band with the law, where there is data and where there is none."""
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
    table = Table("where", "error", "doubt of the model", "noise told", title=title)
    for name, row in result["places"].items():
        table.add_row(name, *(f"{row[key]:.3f}" for key in ("error", "model", "data")))
    if result["learned rates"]:
        learned = ", ".join(f"{rate:.3f}" for rate in result["learned rates"])
        table.caption = f"learned rates: {learned}"
    return table


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
    both, own = 2 * np.sqrt(model + data), 2 * np.sqrt(model)
    axes.fill_between(grid, mean - both, mean + both, alpha=0.2, label="and the noise")
    axes.fill_between(grid, mean - own, mean + own, alpha=0.4, label="the net's doubt")
    axes.plot(grid, mean, label="mean of all passes")
    axes.plot(grid, regression.law(grid), "k--", linewidth=1, label="the law")
    axes.plot(*measured, "k.", markersize=2, label="measurements")
    axes.set(title=f"{config.method}: two standard deviations", ylim=(-4, 4))
    axes.legend(loc="upper left")
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    sys.exit(run_program(Path(__file__).name, main, sys.argv))
