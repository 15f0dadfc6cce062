"""Results on disk: nothing half written, and nothing measured before that is sure."""

import tempfile
from pathlib import Path


def prepare(folder: Path) -> None:
    """Makes a folder, and raises an OSError where nothing can be written to it.

    Args:
      folder: the folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder):
        pass


def replace(path: Path, text: str) -> None:
    """Writes a file whole, or leaves it as it was where the disk is full.

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
