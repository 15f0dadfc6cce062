"""The learning curves of a run, as a picture."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure


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
