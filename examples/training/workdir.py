"""The directory of a run: its lock, settings and metrics."""

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from training.errors import UserError, reason, writing

try:
    import fcntl
except ImportError:  # Windows, where two runs in one directory are not prevented
    fcntl = None

# Settings that may change when a run is resumed.
_FREE = {"epochs", "samples", "checkpoint_every", "keep_checkpoints"}

# The fields of a line of metrics.
_METRICS = (
    "step", "epoch", "train_loss", "train_accuracy", "test_loss", "test_accuracy",
    "seconds",
)  # fmt: skip


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Create the directory of a run and lock it against other runs.

    The system releases the lock when the process ends, for any reason.

    Args:
      folder: the folder.

    Yields:
      Nothing.

    Raises:
      UserError: the directory cannot be created or written, or another run uses it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / "lock").open("a")
    except OSError as error:
        raise UserError(
            f"cannot write to the workdir {folder}: {reason(error)}"
        ) from error
    with lock:
        if fcntl is not None:
            _take(lock.fileno(), folder)
        yield


def _take(descriptor: int, folder: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise UserError(f"another run is writing to {folder}") from None


def check_free(folder: Path) -> None:
    """Raise an error if the directory already contains a run.

    Args:
      folder: the run's folder.

    Raises:
      UserError: it contains metrics or checkpoints.
    """
    if _has_content(folder / "metrics.jsonl") or _has_content(folder / "checkpoints"):
        raise UserError(
            f"{folder} already contains a run: add --resume to continue it, "
            "or choose another --workdir"
        )


def _has_content(path: Path) -> bool:
    if path.is_dir():
        return any(path.iterdir())
    return path.is_file() and path.stat().st_size > 0


def check_same_config(folder: Path, config: ConfigDict) -> None:
    """Raise an error if a run would be resumed with different settings.

    Args:
      folder: the run's folder.
      config: the current settings.

    Raises:
      UserError: a setting that affects the run has changed, or the file is damaged.
    """
    path = folder / "config.json"
    if not path.is_file():
        return
    before = read_json(path)
    now = json.loads(config.to_json())
    # If the learning rate decays over the run, its length affects every step. A
    # comparison keeps its measurements in arrays of this length.
    free = config.get("schedule") == "constant" and "methods" not in config
    bound = set() if free else {"epochs"}
    for name in sorted((before.keys() | now.keys()) - (_FREE - bound)):
        if before.get(name) != now.get(name):
            raise UserError(
                f"cannot resume {folder} with another {name}: it has "
                f"{before.get(name)!r}, got {now.get(name)!r}"
            )


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON file written by `write_json`.

    Args:
      path: the file.

    Returns:
      Its content.

    Raises:
      UserError: it does not contain a JSON object.
    """
    try:
        content = json.loads(path.read_text())
    except ValueError as error:
        raise UserError(f"{path} is not JSON: {error}") from None
    if not isinstance(content, dict):
        raise UserError(
            f"{path} must contain a JSON object, got a {type(content).__name__}"
        )
    return content


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write a JSON file with `replacing`.

    Args:
      path: the file.
      content: what to write.

    Raises:
      UserError: it cannot be written.
    """
    with replacing(path) as partial:
        partial.write_text(json.dumps(content, indent=2) + "\n")


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Write a file atomically.

    Args:
      path: the file; it is left unchanged if writing fails.

    Yields:
      The path to write to.

    Raises:
      UserError: it cannot be written.
    """
    partial = path.with_name(path.name + ".partial")
    try:
        with writing(path):
            yield partial
            os.replace(partial, path)
    finally:
        with contextlib.suppress(OSError):
            partial.unlink()


class Metrics:
    """The file of metrics: one line per epoch, each a JSON object."""

    def __init__(self, path: Path, step: int) -> None:
        """Open the file and discard lines after a step.

        Args:
          path: the file.
          step: the step from which the run continues.

        Raises:
          UserError: a line lacks a number, or the file cannot be written.
        """
        self._path = path
        before = read_metrics(path) if path.is_file() else []
        self.lines = [line for line in before if line["step"] <= step]
        with replacing(path) as partial:
            partial.write_text("".join(map(_as_line, self.lines)))

    def append(self, **values: float) -> None:
        """Add a line.

        Args:
          **values: the metrics, including ``step``.

        Raises:
          UserError: the file cannot be written.
        """
        self.lines.append(values)
        with writing(self._path), self._path.open("a") as file:
            file.write(_as_line(values))


def _as_line(values: dict[str, float]) -> str:
    return json.dumps(values) + "\n"


def read_metrics(path: Path) -> list[dict[str, float]]:
    """Read the lines of a file of metrics.

    Args:
      path: the file.

    Returns:
      One dictionary per line, up to the first incomplete line.

    Raises:
      UserError: a line lacks a number.
    """
    lines = []
    # A killed run may leave an incomplete line; everything after the last checkpoint is
    # computed again anyway.
    with contextlib.suppress(ValueError):
        for line in path.read_text().splitlines():
            lines.append(json.loads(line))
    for number, line in enumerate(lines, 1):
        known = line if isinstance(line, dict) else {}
        missing = [it for it in _METRICS if not isinstance(known.get(it), int | float)]
        if missing:
            raise UserError(
                f"line {number} of {path} must have a number for {missing[0]}, got "
                f"{json.dumps(line)}; remove the line"
            )
    return lines
