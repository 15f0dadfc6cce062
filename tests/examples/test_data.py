"""The data sets: what they hold, where they are found, what is refused."""

import gzip
import hashlib
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from training import data, sources
from training.errors import UserError

from .conftest import idx_bytes, write_dataset

LABELS = "train-labels-idx1-ubyte"
IMAGES = "train-images-idx3-ubyte.gz"


def test_digits_are_split_once_and_for_ever() -> None:
    digits = data.load("digits")
    assert (len(digits.train), len(digits.test)) == (1442, 355)
    assert digits.shape == (8, 8, 1)
    assert digits.classes == 10
    assert np.bincount(digits.test.labels).tolist() == [
        35, 36, 35, 36, 36, 36, 36, 35, 34, 36,
    ]  # fmt: skip
    assert digits.train.inputs.min() == 0
    assert digits.train.inputs.max() == 255
    digest = hashlib.sha256(digits.test.inputs.tobytes()).hexdigest()
    assert digest.startswith("747b8e40cc4d21a2")


def test_the_first_examples() -> None:
    digits = data.load("digits", train_examples=7, test_examples=3)
    assert (len(digits.train), len(digits.test)) == (7, 3)
    assert digits.train.inputs.shape == (7, 8, 8, 1)


def test_idx_files_are_read(places: dict[str, Path]) -> None:
    write_dataset(places["cache"] / "mnist", train=20, test=10)
    mnist = data.load("mnist")
    assert mnist.train.inputs.shape == (20, 28, 28, 1)
    assert mnist.train.labels.tolist() == [*range(10), *range(10)]
    assert mnist.test.labels.dtype == np.int32


def test_the_search_order(
    places: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = tmp_path / "chosen"
    chosen.mkdir()
    monkeypatch.setenv(sources.VARIABLE, str(chosen))
    order = [
        places["system"] / "fashion-mnist",
        places["cache"] / "fashion-mnist",
        chosen,
        chosen / "fashion-mnist",
    ]
    for folder in order:
        write_dataset(folder, train=10, test=10)
        found = sources.locate("fashion_mnist", download=False)
        assert {path.parent for path in found.values()} == {folder}


def test_an_incomplete_folder_is_passed_over(places: dict[str, Path]) -> None:
    write_dataset(places["system"] / "mnist")
    write_dataset(places["cache"] / "mnist")
    (places["cache"] / "mnist" / LABELS).unlink()
    found = sources.locate("mnist", download=False)
    assert found[LABELS].parent == places["system"] / "mnist"


def test_missing_files_name_the_fix(places: dict[str, Path]) -> None:
    with pytest.raises(UserError) as caught:
        data.load("mnist")
    message = str(caught.value)
    for words in (str(places["cache"]), str(places["system"]), "--download", LABELS):
        assert words in message
    assert sources.VARIABLE in message


def test_a_data_folder_that_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(sources.VARIABLE, "/nowhere/at/all")
    with pytest.raises(UserError, match="DROPJAX_DATA_DIR=/nowhere/at/all is not"):
        data.load("mnist")


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        (LABELS, idx_bytes(np.zeros(19, np.uint8)), "19 labels for 20 images"),
        (LABELS, idx_bytes(np.full(20, 10, np.uint8)), "a label 10, above 9"),
        (LABELS, idx_bytes(np.zeros((20, 28, 28), np.uint8)), "not an IDX file"),
        (IMAGES, idx_bytes(np.zeros((20, 8, 8), np.uint8)), "8x8, not 28x28"),
        (IMAGES, idx_bytes(np.zeros(20, np.uint8)), "not an IDX file"),
        (IMAGES, idx_bytes(np.zeros((20, 28, 28), np.uint8))[:-9], "truncated"),
    ],
)
def test_a_wrong_file_is_named(
    places: dict[str, Path], file: str, content: bytes, words: str
) -> None:
    folder = write_dataset(places["cache"] / "mnist", train=20)
    (folder / file).write_bytes(content)
    with pytest.raises(UserError, match=words) as caught:
        data.load("mnist")
    assert "train-" in str(caught.value)


def test_empty_files_are_refused(places: dict[str, Path]) -> None:
    write_dataset(places["cache"] / "mnist", train=0)
    with pytest.raises(UserError, match="0 labels for 0 images"):
        data.load("mnist")


def test_the_files_of_another_data_set_are_refused(
    places: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_dataset(places["cache"] / "mnist")
    as_source(monkeypatch, "fashion_mnist", folder, hosts=())
    with pytest.raises(UserError, match=r"is .* of fashion_mnist, not .* of mnist"):
        data.load("mnist")


def as_source(
    monkeypatch: pytest.MonkeyPatch, name: str, folder: Path, hosts: tuple[str, ...]
) -> None:
    """Make a folder's files the known ones of a data set."""
    digests = {}
    for file in sources.FILES:
        zipped = folder / f"{file}.gz"
        content = (
            gzip.decompress(zipped.read_bytes())
            if zipped.is_file()
            else (folder / file).read_bytes()
        )
        digests[file] = hashlib.sha256(content).hexdigest()
        zipped.write_bytes(gzip.compress(content))
    source = sources.Source(sources.SOURCES[name].folder, hosts, digests)
    monkeypatch.setitem(sources.SOURCES, name, source)


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Serve a folder with MNIST's files at MNIST's second address."""
    served = write_dataset(tmp_path / "served")

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args: object) -> None:
            super().__init__(*args, directory=str(served))

        def log_message(self, *args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    url = f"http://127.0.0.1:{server.server_port}"
    as_source(monkeypatch, "mnist", served, (f"{url}/gone", url))
    yield served
    server.shutdown()
    thread.join()
    server.server_close()


def test_download(host: Path, places: dict[str, Path]) -> None:
    with pytest.raises(UserError, match="--download"):
        data.load("mnist")
    assert len(data.load("mnist", download=True).train) == 600
    for path in host.iterdir():
        path.unlink()
    assert len(data.load("mnist").train) == 600
    assert len(list((places["cache"] / "mnist").iterdir())) == 4


def test_download_goes_on_where_it_stopped(host: Path, places: dict[str, Path]) -> None:
    data.load("mnist", download=True)
    (places["cache"] / "mnist" / f"{LABELS}.gz").unlink()
    (host / IMAGES).unlink()
    assert len(data.load("mnist", download=True).train) == 600


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (gzip.compress(idx_bytes(np.ones(600, np.uint8))), "wrong content: SHA-256"),
        (gzip.compress(idx_bytes(np.ones(600, np.uint8)))[:-4], "truncated gzip"),
        (b"<html>", "not an IDX file"),
    ],
)
def test_a_wrong_download_is_refused_and_not_kept(
    host: Path, places: dict[str, Path], content: bytes, words: str
) -> None:
    (host / f"{LABELS}.gz").write_bytes(content)
    with pytest.raises(UserError, match=words) as caught:
        data.load("mnist", download=True)
    assert LABELS in str(caught.value)
    kept = [path.name for path in (places["cache"] / "mnist").iterdir()]
    assert not [name for name in kept if "partial" in name or LABELS in name]
