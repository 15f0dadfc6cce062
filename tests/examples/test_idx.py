"""The IDX reader against files that lie."""

import gzip
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from training import idx
from training.errors import UserError

from .conftest import idx_bytes

IMAGES = np.arange(2 * 28 * 28, dtype=np.uint32).astype(np.uint8).reshape(2, 28, 28)
WHOLE = idx_bytes(IMAGES)


def header(*shape: int) -> bytes:
    return bytes((0, 0, 8, len(shape))) + np.array(shape, ">u4").tobytes()


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzipped"])
def test_reads_whether_or_not_gzipped(tmp_path: Path, pack: type) -> None:
    path = tmp_path / "file"
    path.write_bytes(pack(WHOLE))
    array = idx.as_array(idx.read(path, 3), 3)
    np.testing.assert_array_equal(array, IMAGES)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "ends inside its header"),
        (WHOLE[:10], "ends inside its header"),
        (WHOLE[:-1], "truncated"),
        (WHOLE + b"\0", "too long"),
        (b"\0\0\x0b\x03" + WHOLE[4:], "not an IDX file"),
        (idx_bytes(np.zeros(3, np.uint8)), "not an IDX file"),
        (b"<html>not found</html>", "not an IDX file"),
        (gzip.compress(WHOLE)[:-20], "broken or truncated gzip"),
        (gzip.compress(WHOLE)[:40] + b"\xff" * 300, "broken or truncated gzip"),
        (gzip.compress(WHOLE[:-1]), "truncated"),
        (gzip.compress(WHOLE + b"\0"), "too long"),
        (header(2**32 - 1, 2**32 - 1, 2**32 - 1), "over 268435456"),
        (header(2**20, 2**20, 1), "over 268435456"),
    ],
)
@pytest.mark.parametrize("name", ["a", "a.gz"])
def test_refuses(tmp_path: Path, name: str, content: bytes, words: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(UserError, match=words) as caught:
        idx.read(path, 3)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="gone: No such file"):
        idx.read(tmp_path / "gone", 3)


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzipped"])
@pytest.mark.parametrize("count", [2**40 // 28**2, 2**28 // 28**2])
def test_a_header_cannot_make_it_allocate(
    tmp_path: Path, pack: type, count: int
) -> None:
    path = tmp_path / "hostile"
    path.write_bytes(pack(header(count, 28, 28) + bytes(100)))
    tracemalloc.start()
    with pytest.raises(UserError):
        idx.read(path, 3)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**23


def test_a_gzip_bomb_is_not_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "bomb"
    path.write_bytes(gzip.compress(WHOLE + bytes(2**27), compresslevel=1))
    tracemalloc.start()
    with pytest.raises(UserError, match="too long"):
        idx.read(path, 3)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**23
