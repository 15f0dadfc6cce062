"""IDX, the file format of MNIST: a bounded reader that does not trust headers."""

import gzip
import io
import math
import zlib
from pathlib import Path
from typing import BinaryIO

import numpy as np

from training.errors import UserError

MAX_BYTES = 2**28
_UNSIGNED_BYTE = 0x08
_CHUNK = 2**20


def read(path: Path, axes: int) -> bytes:
    """Read an IDX file of bytes, gzipped or not.

    Args:
      path: the file; its content decides whether it is gzipped.
      axes: how many axes the array must have.

    Returns:
      The unpacked content, including the header, of the length given there.

    Raises:
      UserError: the file cannot be read, or is not a complete file of this format.
    """
    try:
        with path.open("rb") as raw:
            return unpack(raw, str(path), axes)
    except OSError as error:
        raise UserError(f"{path}: {error.strerror or error}") from error


def unpack(raw: BinaryIO, name: str, axes: int) -> bytes:
    """Unpack IDX content from a seekable stream, at most `MAX_BYTES` of it.

    Args:
      raw: the stream, gzipped or not.
      name: its name in messages.
      axes: how many axes the array must have.

    Returns:
      As `read`.

    Raises:
      UserError: the content is not a complete IDX array of bytes with these axes.
    """
    zipped = raw.read(2) == b"\x1f\x8b"
    raw.seek(0)
    stream = gzip.GzipFile(fileobj=raw) if zipped else raw
    try:
        header = stream.read(4 + 4 * axes)
        size = _size(header, name, axes)
        body = _read_up_to(stream, size + 1)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UserError(f"{name}: broken or truncated gzip data ({error})") from error
    if len(body) != size:
        fault = "truncated" if len(body) < size else "too long"
        raise UserError(f"{name}: {fault}: its header asks for {size} bytes of data")
    return header + body


def as_array(content: bytes, axes: int) -> np.ndarray:
    """View checked IDX content as an array.

    Args:
      content: what `read` or `unpack` returned.
      axes: the number of axes passed to it.

    Returns:
      A read-only uint8 array that shares the content's memory.
    """
    shape = np.frombuffer(content, ">u4", axes, offset=4)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * axes).reshape(shape)


def _size(header: bytes, name: str, axes: int) -> int:
    magic = bytes((0, 0, _UNSIGNED_BYTE, axes))
    if not magic.startswith(header[:4]):
        raise UserError(
            f"{name}: not an IDX file of {axes}-axis bytes: it starts with "
            f"{header[:4].hex()}, not {magic.hex()}"
        )
    if len(header) < 4 + 4 * axes:
        raise UserError(f"{name}: truncated: it ends inside its header")
    shape = np.frombuffer(header, ">u4", axes, offset=4).tolist()
    if (size := math.prod(shape)) > MAX_BYTES:
        raise UserError(f"{name}: its header asks for {size} bytes, over {MAX_BYTES}")
    return size


def _read_up_to(stream: BinaryIO | gzip.GzipFile, limit: int) -> bytes:
    # In chunks: a single read(limit) would allocate the size given in the header, which
    # may exceed that of the file.
    body = io.BytesIO()
    while (left := limit - body.tell()) > 0:
        if not (chunk := stream.read(min(left, _CHUNK))):
            break
        body.write(chunk)
    return body.getvalue()
