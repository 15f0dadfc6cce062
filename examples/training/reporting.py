"""What a run shows: a bar while it lasts, lines in a log, a table at the end."""

from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

_LINES_IN_A_LOG = 10


class Board:
    """The progress of a run: a live bar on a terminal, a few lines elsewhere."""

    def __init__(self, console: Console, steps: int, epochs: int, done: int) -> None:
        """Prepare the bar.

        Args:
          console: where to show it.
          steps: steps in all.
          epochs: epochs in all.
          done: steps that earlier parts of the run took.
        """
        self._console = console
        self._epochs = epochs
        self._steps_per_epoch = steps // epochs
        self._bar = Progress(*_columns(), console=console, disable=not _live(console))
        first = f"epoch {done // self._steps_per_epoch + 1}/{epochs}"
        self._task = self._bar.add_task(first, total=steps, completed=done, text="")

    def __enter__(self) -> Self:
        """Show the bar."""
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leave the bar as it is."""
        self._bar.stop()

    def progress(self, step: int, loss: float, accuracy: float, speed: float) -> None:
        """Move the bar.

        Args:
          step: the number of the step.
          loss: the mean training loss of the epoch so far.
          accuracy: the training accuracy of the epoch so far.
          speed: examples per second.
        """
        text = f"loss {loss:.4f}  accuracy {accuracy:.4f}  {speed:,.0f} examples/s"
        epoch = -(-step // self._steps_per_epoch)
        self._bar.update(
            self._task,
            completed=step,
            description=f"epoch {epoch}/{self._epochs}",
            text=text,
        )

    def epoch(self, line: dict[str, float]) -> None:
        """Write a line on an epoch where no bar can be shown.

        Args:
          line: the epoch's metrics.
        """
        every = max(1, self._epochs // _LINES_IN_A_LOG)
        if not _live(self._console) and line["epoch"] % every == 0:
            self._console.print(
                f"epoch {line['epoch']:.0f}/{self._epochs}  "
                f"loss {line['train_loss']:.4f}  "
                f"accuracy {line['train_accuracy']:.4f}  "
                f"test accuracy {line['test_accuracy']:.4f}  {line['seconds']:.1f} s",
                highlight=False,
            )


def result_table(title: str, measured: dict[str, dict[str, float]]) -> Table:
    """Make the table that ends a run.

    Args:
      title: the run's name.
      measured: ``loss`` and ``accuracy`` under the name of each split.

    Returns:
      The table.
    """
    table = Table("split", "loss", "accuracy", title=title)
    for split, values in measured.items():
        table.add_row(split, f"{values['loss']:.4f}", f"{values['accuracy']:.2%}")
    return table


def nets_table(title: str, forms: dict[str, dict[str, Any]]) -> Table:
    """Make the table of several nets, measured with forms of inference.

    Args:
      title: the run's name.
      forms: what `training.inference.measure` says.

    Returns:
      The table.
    """
    table = Table("inference", "error, mean", "standard deviation", "vote", title=title)
    for form, errors in forms.items():
        percents = (f"{errors[name]:.2f}%" for name in ("mean", "deviation", "vote"))
        table.add_row(form, *percents)
    return table


def progress_bar(console: Console) -> Progress:
    """Make the bar that `Board` and the comparison share.

    Args:
      console: where to show it.

    Returns:
      The bar, whose tasks have a field ``text``.
    """
    return Progress(*_columns(), console=console, disable=not _live(console))


def _live(console: Console) -> bool:
    return console.is_terminal and not console.is_dumb_terminal


def _columns() -> tuple[BarColumn | TextColumn, ...]:
    return (
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        TaskProgressColumn(),
        TextColumn("{task.fields[text]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
