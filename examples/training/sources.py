"""The sources of the data sets: the search order and the download."""

import dataclasses
import hashlib
import http.client
import io
import os
import urllib.request
from collections.abc import Mapping
from pathlib import Path

import platformdirs

from training import idx
from training.errors import UserError, writing

FILES = {
    "train-images-idx3-ubyte": 3,
    "train-labels-idx1-ubyte": 1,
    "t10k-images-idx3-ubyte": 3,
    "t10k-labels-idx1-ubyte": 1,
}
TEXT = "input.txt"
VARIABLE = "DROPJAX_DATA_DIR"
SYSTEM = Path("/usr/share/datasets")
_TIMEOUT_SECONDS = 30


@dataclasses.dataclass(frozen=True)
class Source:
    """The files of a data set: IDX, gzipped by the hosts, or text.

    Attributes:
      folder: the name of its directory in each place of the search order.
      hosts: URLs of directories with the files, tried in order.
      digests: the SHA-256 of each file's unpacked content.
    """

    folder: str
    hosts: tuple[str, ...]
    digests: Mapping[str, str]

    def files_in(self, folder: Path) -> dict[str, Path]:
        """Return the files found in a directory, preferring unpacked ones."""
        candidates = (
            (file, folder / f"{file}{end}") for file in self.digests for end in _ENDS
        )
        return {file: path for file, path in candidates if path.is_file()}


_ENDS = (".gz", "")  # the last one found wins: an unpacked file is read faster


SOURCES = {
    "mnist": Source(
        folder="mnist",
        hosts=(
            "https://ossci-datasets.s3.amazonaws.com/mnist",
            "https://storage.googleapis.com/cvdf-datasets/mnist",
        ),
        digests={
            "train-images-idx3-ubyte": (
                "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db"
            ),
            "train-labels-idx1-ubyte": (
                "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5"
            ),
            "t10k-images-idx3-ubyte": (
                "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7"
            ),
            "t10k-labels-idx1-ubyte": (
                "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2"
            ),
        },
    ),
    "fashion_mnist": Source(
        folder="fashion-mnist",
        hosts=(
            "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com",
            "https://storage.googleapis.com/tensorflow/tf-keras-datasets",
        ),
        digests={
            "train-images-idx3-ubyte": (
                "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888"
            ),
            "train-labels-idx1-ubyte": (
                "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9"
            ),
            "t10k-images-idx3-ubyte": (
                "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b"
            ),
            "t10k-labels-idx1-ubyte": (
                "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34"
            ),
        },
    ),
    "tiny_shakespeare": Source(
        folder="tinyshakespeare",
        hosts=(
            "https://raw.githubusercontent.com/karpathy/char-rnn/master/data/"
            "tinyshakespeare",
        ),
        digests={
            TEXT: "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
        },
    ),
}


def locate(name: str, download: bool) -> dict[str, Path]:
    """Find the files of a data set in the first directory that has all of them.

    The search order is ``$DROPJAX_DATA_DIR``, first its subdirectory for the data set
    and then the directory itself; the user cache directory; ``/usr/share/datasets``.
    If none is complete and ``download`` is True, missing files are downloaded to the
    cache.

    Args:
      name: a key of `SOURCES`.
      download: whether to download missing files.

    Returns:
      The path of each of its files.

    Raises:
      UserError: the files were not found, or a download failed.
    """
    folders = search_order(name)
    for folder in folders:
        found = SOURCES[name].files_in(folder)
        if len(found) == len(SOURCES[name].digests):
            return found
    if download:
        return _download(name, cache_folder(name))
    looked = ", ".join(map(str, folders))
    raise UserError(
        f"the files of {name} are in none of {looked}: run again with --download, "
        f"or set {VARIABLE} to a folder that holds "
        f"{', '.join(SOURCES[name].digests)} (.gz or not)"
    )


def search_order(name: str) -> list[Path]:
    """Return the directories searched by `locate`, in order.

    Args:
      name: a key of `SOURCES`.

    Returns:
      The directories.

    Raises:
      UserError: ``$DROPJAX_DATA_DIR`` is not a directory.
    """
    folders = [cache_folder(name), SYSTEM / SOURCES[name].folder]
    if chosen := os.environ.get(VARIABLE):
        root = Path(chosen).expanduser()
        if not root.is_dir():
            raise UserError(f"{VARIABLE}={chosen} is not a folder")
        folders = [root / SOURCES[name].folder, root, *folders]
    return folders


def cache_folder(name: str) -> Path:
    """Return the directory of a data set in the user cache.

    Args:
      name: a key of `SOURCES`.

    Returns:
      The directory, which may not exist.
    """
    return Path(platformdirs.user_cache_dir("dropjax")) / SOURCES[name].folder


def identify(content: bytes) -> tuple[str, str] | None:
    """Identify a known file by its content.

    Args:
      content: the unpacked content.

    Returns:
      The names of its data set and of the file, or None for unknown content.
    """
    digest = hashlib.sha256(content).hexdigest()
    known = (
        (name, file)
        for name in SOURCES
        for file in SOURCES[name].digests
        if SOURCES[name].digests[file] == digest
    )
    return next(known, None)


def _download(name: str, folder: Path) -> dict[str, Path]:
    folder.mkdir(parents=True, exist_ok=True)
    source = SOURCES[name]
    for file in source.digests.keys() - source.files_in(folder).keys():
        _keep(folder / _offered(file), _fetch(name, file))
    return source.files_in(folder)


def _keep(path: Path, content: bytes) -> None:
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        with writing(path):
            partial.write_bytes(content)
            partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _offered(file: str) -> str:
    return f"{file}.gz" if file in FILES else file


def _fetch(name: str, file: str) -> bytes:
    failures = []
    for host in SOURCES[name].hosts:
        url = f"{host}/{_offered(file)}"
        print(f"downloading {url}")
        try:
            return _fetch_from(url, name, file)
        except (OSError, http.client.HTTPException, UserError) as error:
            failures.append(f"{url}: {error}")
    raise UserError(f"could not download {file} of {name}: {'; '.join(failures)}")


def _fetch_from(url: str, name: str, file: str) -> bytes:
    with urllib.request.urlopen(url, timeout=_TIMEOUT_SECONDS) as response:
        answer: bytes = response.read(idx.MAX_BYTES)
    content = answer
    if file in FILES:
        content = idx.unpack(io.BytesIO(answer), "the answer", FILES[file])
    if identify(content) != (name, file):
        digest = hashlib.sha256(content).hexdigest()
        expected = SOURCES[name].digests[file]
        raise UserError(f"wrong content: SHA-256 {digest}, expected {expected}")
    return answer
