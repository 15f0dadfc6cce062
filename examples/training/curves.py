"""Pictures: the learning curves of a run, and what a comparison found."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from matplotlib.figure import Figure


class Row(Protocol):
    """What the runs of a method came to; see compare.py."""

    method: str
    rate: float
    accuracies: tuple[float, ...]
    losses: tuple[tuple[float, ...], ...]


def draw(path: Path, title: str, lines: Sequence[dict[str, float]]) -> None:
    """Draw loss and accuracy over the epochs to a PNG file.

    Args:
      path: the file.
      title: the run's name.
      lines: the metrics of the epochs.
    """
    figure = Figure(figsize=(10, 4), layout="constrained")
    epochs = [line["epoch"] for line in lines]
    for axes, quantity in zip(figure.subplots(1, 2), ("loss", "accuracy"), strict=True):
        for split, label in (("train", "train, with noise"), ("test", "test")):
            values = [line[f"{split}_{quantity}"] for line in lines]
            axes.plot(epochs, values, marker=".", label=label)
        axes.set(xlabel="epoch", ylabel=quantity)
        axes.grid(alpha=0.3)
        axes.legend()
    figure.suptitle(title)
    figure.savefig(path, dpi=120)


def draw_comparison(
    path: Path, title: str, quantity: str, unit: float, rows: Sequence[Row]
) -> None:
    """Draw the test loss of each method over the epochs, and one deviation around it.

    Args:
      path: the file.
      title: of the picture.
      quantity: the name of the loss.
      unit: its unit.
      rows: what to draw.
    """
    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    axes = figure.subplots()
    for row in rows:
        losses = np.array(row.losses) / unit
        epochs, mean, spread = range(1, len(losses) + 1), losses.mean(1), losses.std(1)
        axes.plot(epochs, mean, label=f"{row.method} {row.rate:g}")
        axes.fill_between(epochs, mean - spread, mean + spread, alpha=0.25)
    axes.set(xlabel="epoch", ylabel=quantity, title=title)
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=120)


def draw_sweep(path: Path, title: str, rows: Sequence[Row]) -> None:
    """Draw the test error of each method over its rate, every seed as a dot.

    Args:
      path: the file.
      title: of the picture.
      rows: what to draw; a method at rate 0 becomes a line across.
    """
    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    axes = figure.subplots()
    for index, method in enumerate(dict.fromkeys(row.method for row in rows)):
        own = [row for row in rows if row.method == method]
        errors = 100 - 100 * np.array([row.accuracies for row in own])
        rates, color = [row.rate for row in own], f"C{index}"
        if rates == [0]:
            axes.axhline(errors.mean(), color=color, ls="--", label=method)
            continue
        axes.plot(rates, errors.mean(1), color=color, label=method)
        axes.plot(rates, errors, ".", color=color, alpha=0.5)
    axes.set(xlabel="rate", ylabel="test error, %", title=title)
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=120)
