"""Plots: the learning curves of a run, and the results of a comparison."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from training.workdir import replacing

_LOSS, _ACCURACY = "loss (cross-entropy)", "accuracy (fraction classified correctly)"
_SPLITS = {
    "train": "train: running mean of the epoch, with noise",
    "test": "test: after the epoch, without noise",
}


class Row(Protocol):
    """The results of the runs of a method; see compare.py."""

    method: str
    rate: float
    steps: tuple[int, ...]
    accuracies: tuple[tuple[float, ...], ...]
    losses: tuple[tuple[float, ...], ...]


def draw(path: Path, title: str, lines: Sequence[dict[str, float]]) -> None:
    """Plot loss and accuracy over the epochs to a PNG file.

    Args:
      path: the file.
      title: the run's name.
      lines: the metrics of the epochs.
    """
    figure = Figure(figsize=(10, 4.4), layout="constrained")
    epochs = [line["epoch"] for line in lines]
    names = {"loss": _LOSS, "accuracy": _ACCURACY}
    for axes, name in zip(figure.subplots(1, 2), names, strict=True):
        for split, label in _SPLITS.items():
            values = [line[f"{split}_{name}"] for line in lines]
            axes.plot(epochs, values, marker=".", label=label)
        _over_epochs(axes, names[name])
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2)
    figure.suptitle(title)
    save(figure, path)


def draw_comparison(path: Path, title: str, rows: Sequence[Row]) -> None:
    """Plot each method's test loss over the steps, with its standard deviation.

    Args:
      path: the file.
      title: of the picture.
      rows: what to draw.
    """
    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    axes = figure.subplots()
    for row in rows:
        losses = np.array(row.losses)
        mean = losses.mean(1)
        label = f"{row.method}, rate {row.rate:g}" if row.rate else row.method
        axes.plot(row.steps, mean, label=label)
        if losses.shape[1] > 1:
            spread = losses.std(1, ddof=1)
            axes.fill_between(row.steps, mean - spread, mean + spread, alpha=0.25)
    axes.set(xlabel="step", ylabel=f"test {_LOSS}, mean ± standard deviation")
    axes.grid(alpha=0.3)
    axes.set_title(title)
    axes.legend()
    save(figure, path)


def draw_sweep(path: Path, title: str, rows: Sequence[Row]) -> None:
    """Plot each method's test error against its rate, with a dot for every seed.

    Args:
      path: the file.
      title: of the picture.
      rows: the results; a method at rate 0 becomes a horizontal line.
    """
    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    axes = figure.subplots()
    for index, method in enumerate(dict.fromkeys(row.method for row in rows)):
        own = [row for row in rows if row.method == method]
        errors = 100 - 100 * np.array([row.accuracies[-1] for row in own])
        rates, color = [row.rate for row in own], f"C{index}"
        if rates == [0]:
            axes.axhline(errors.mean(), color=color, ls="--", label=method)
            continue
        axes.plot(rates, errors.mean(1), color=color, label=method)
        axes.plot(rates, errors, ".", color=color, alpha=0.5)
    axes.set(
        xlabel="rate (probability of dropping)",
        ylabel="test error, % (lines: means; dots: seeds)",
        title=title,
    )
    axes.grid(alpha=0.3)
    axes.legend()
    save(figure, path)


def save(figure: Figure, path: Path) -> None:
    """Write a picture to a PNG file.

    Args:
      figure: the picture.
      path: the file.

    Raises:
      UserError: it cannot be written.
    """
    with replacing(path) as partial:
        figure.savefig(partial, format="png", dpi=120)


def _over_epochs(axes: Axes, quantity: str) -> None:
    axes.set(xlabel="epoch", ylabel=quantity)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3)
