"""Text as numbers, split into sequences labeled with the next characters."""

import gzip
import zlib
from pathlib import Path

import numpy as np

from training import idx
from training.errors import UserError


def read(path: Path) -> tuple[np.ndarray, int]:
    """Read a text file, gzipped or not.

    Args:
      path: the file; it is gzipped if its name ends in .gz.

    Returns:
      Its characters as int32 indices into the sorted alphabet, and the size of that
      alphabet.

    Raises:
      UserError: the file cannot be read, is too long, or is not UTF-8.
    """
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            content = file.read(idx.MAX_BYTES + 1)
        characters = np.array(list(content.decode()))
    except (EOFError, zlib.error, OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: {error}") from error
    if len(content) > idx.MAX_BYTES:
        raise UserError(f"{path}: over {idx.MAX_BYTES} bytes")
    alphabet, codes = np.unique(characters, return_inverse=True)
    return codes.astype(np.int32), len(alphabet)


def windows(codes: np.ndarray, length: int) -> tuple[np.ndarray, np.ndarray]:
    """Split a text into consecutive sequences.

    Args:
      codes: the text, ``(characters,)``.
      length: the length of a sequence.

    Returns:
      The sequences and the next character at each position, both of shape
      ``(sequences, length)``; an incomplete last sequence is omitted.
    """
    count = max(len(codes) - 1, 0) // length
    return tuple(
        codes[start : start + count * length].reshape(count, length) for start in (0, 1)
    )
