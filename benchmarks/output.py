"""Writes results atomically, and checks for write access before measuring."""

import tempfile
from pathlib import Path


def prepare(folder: Path) -> None:
    """Creates a directory; raises an OSError if it is not writable.

    Args:
      folder: the directory.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder):
        pass


def replace(path: Path, text: str) -> None:
    """Writes a file atomically; a full disk leaves it unchanged.

    Args:
      path: the file.
      text: its new content.
    """
    partial = path.with_name(path.name + ".partial")
    try:
        partial.write_text(text)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
