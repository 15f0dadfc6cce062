"""Progress reports: a bar or log lines during a run, and a table at the end."""

from collections.abc import Iterable, Iterator, Sequence
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

_LINES_IN_A_LOG = 10
_LEGEND = (
    "train: running means over the epoch, in training mode (with noise); "
    "test: after the epoch, in evaluation mode"
)


class Board:
    """The progress of a run: a live bar on a terminal, otherwise a few lines."""

    def __init__(self, console: Console, steps: int, epochs: int, done: int) -> None:
        """Create the bar.

        Args:
          console: where to show it.
          steps: steps in total.
          epochs: epochs in total.
          done: steps taken before the run was resumed.
        """
        self._console = console
        self._epochs = epochs
        self._steps_per_epoch = steps // epochs
        self._bar = progress_bar(console, "more", "speed")
        first = f"epoch {done // self._steps_per_epoch + 1}/{epochs}"
        nothing = {"text": "", "more": "", "speed": ""}
        self._task = self._bar.add_task(first, total=steps, completed=done, **nothing)

    def __enter__(self) -> Self:
        """Show the bar, or explain the log lines."""
        self._bar.start()
        if not _live(self._console):
            self._console.print(_LEGEND, soft_wrap=True, highlight=False)
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
        """Update the bar.

        Args:
          step: the number of the step.
          loss: the mean training loss of the epoch so far.
          accuracy: the training accuracy of the epoch so far.
          speed: examples per second.
        """
        epoch = -(-step // self._steps_per_epoch)
        self._bar.update(
            self._task,
            completed=step,
            description=f"epoch {epoch}/{self._epochs}",
            text=f"train loss {loss:.4f}",
            more=f"accuracy {accuracy:.4f}",
            speed=f"{speed:,.0f} examples/s",
        )

    def epoch(self, line: dict[str, float]) -> None:
        """Print a line about an epoch if no bar can be shown.

        Args:
          line: the epoch's metrics.
        """
        every = max(1, self._epochs // _LINES_IN_A_LOG)
        if not _live(self._console) and line["epoch"] % every == 0:
            self._console.print(
                f"epoch {line['epoch']:.0f}/{self._epochs}  "
                f"train loss {line['train_loss']:.4f}, "
                f"accuracy {line['train_accuracy']:.4f}  "
                f"test accuracy {line['test_accuracy']:.4f}  {line['seconds']:.1f} s",
                soft_wrap=True,
                highlight=False,
            )


def result_table(title: str, measured: dict[str, dict[str, float]]) -> Table:
    """Create the table printed at the end of a run.

    Args:
      title: the run's name.
      measured: ``loss`` and ``accuracy`` for each split.

    Returns:
      The table.
    """
    caption = "in evaluation mode"
    result = table("split", "loss", "accuracy", title=title, caption=caption)
    for split, values in measured.items():
        result.add_row(split, f"{values['loss']:.4f}", f"{values['accuracy']:.2%}")
    return result


def nets_table(title: str, forms: dict[str, dict[str, Any]]) -> Table:
    """Create the table of several networks and forms of inference.

    Args:
      title: the run's name.
      forms: the result of `training.inference.measure`.

    Returns:
      The table.
    """
    header = "inference", "test error, mean", "standard deviation", "vote of all"
    result = table(*header, title=title)
    for form, errors in forms.items():
        percents = (f"{errors[name]:.2f}%" for name in ("mean", "deviation", "vote"))
        result.add_row(form, *percents)
    return result


def table(*header: str, title: str, caption: str | None = None) -> Table:
    """Create a table that wraps its cells if it is too wide.

    Args:
      *header: the names of the columns.
      title: the title.
      caption: a line below the table.

    Returns:
      The table, without rows.
    """
    result = Table(title=title, caption=caption)
    for name in header:
        result.add_column(name, overflow="fold")
    return result


def mean_and_deviation(values: dict[str, float | None], form: str) -> str:
    """Return a mean, and the standard deviation if there is one.

    Args:
      values: ``mean`` and, unless there is none, ``deviation``.
      form: the format of each, such as ".2%".

    Returns:
      A string such as "97.82% ± 0.24%".
    """
    numbers = (values.get(name) for name in ("mean", "deviation"))
    return " ± ".join(format(it, form) for it in numbers if it is not None)


def markdown(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table in Markdown.

    Args:
      header: the names of the columns.
      rows: the cells of the rows.

    Returns:
      The lines of the table.
    """
    lines = (header, ("---",) * len(header), *rows)
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def progress_bar(console: Console, *details: str) -> Progress:
    """Create a bar with as many fields as the console has room for.

    Args:
      console: where to show it.
      *details: fields of tasks besides ``text``, shown if there is room.

    Returns:
      The bar.
    """
    columns = _columns(console.width, details)
    return Progress(*columns, console=console, disable=not _live(console))


def _live(console: Console) -> bool:
    return console.is_terminal and not console.is_dumb_terminal


def _columns(width: int, details: Sequence[str]) -> Iterator[ProgressColumn]:
    yield TextColumn("{task.description}")
    if width >= 70:
        yield BarColumn(bar_width=24)
    yield TaskProgressColumn()
    yield TextColumn("{task.fields[text]}")
    for detail, least in zip(details, (70, 110), strict=False):
        if width >= least:
            yield TextColumn(f"{{task.fields[{detail}]}}")
    if width >= 70:
        yield TimeElapsedColumn()
    if width >= 90:
        yield TextColumn("left")
        yield TimeRemainingColumn()
