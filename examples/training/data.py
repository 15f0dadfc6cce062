"""The data sets: scikit-learn's digits, MNIST, Fashion-MNIST, Tiny Shakespeare."""

import dataclasses
from pathlib import Path

import numpy as np

from training import idx, sources, text
from training.errors import UserError

DATASETS = ("digits", *sources.SOURCES)
TEXTS = ("tiny_shakespeare",)
_CLASSES = 10
_SIDE = 28


@dataclasses.dataclass(frozen=True)
class Split:
    """Examples with their labels.

    Attributes:
      inputs: images, uint8, ``(examples, height, width, channels)``; or characters,
        int32, ``(examples, length)``.
      labels: int32, ``(examples,)``; or the characters that follow, as the inputs.
    """

    inputs: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        """Return the number of examples."""
        return len(self.labels)

    def first(self, examples: int) -> "Split":
        """Return the first examples, or all of them for 0."""
        end = examples or len(self)
        return Split(self.inputs[:end], self.labels[:end])


@dataclasses.dataclass(frozen=True)
class Dataset:
    """A train and a test split in ``classes`` classes."""

    train: Split
    test: Split
    classes: int

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one example, as ``(height, width, channels)``."""
        return self.train.inputs.shape[1:]


def load(
    name: str,
    *,
    download: bool = False,
    train_examples: int = 0,
    test_examples: int = 0,
    length: int = 64,
) -> Dataset:
    """Load a data set.

    Args:
      name: one of `DATASETS`.
      download: whether missing files may be downloaded; the search order is that of
        `sources.locate`.
      train_examples: how many examples of the train split to use; 0 means all.
      test_examples: the same for the test split.
      length: the characters of an example of text.

    Returns:
      The data set.

    Raises:
      UserError: a file is missing, truncated or wrong.
    """
    if name == "digits":
        whole = _digits()
    elif name in TEXTS:
        whole = _text_dataset(name, download, length)
    else:
        whole = _idx_dataset(name, download)
    train, test = whole.train.first(train_examples), whole.test.first(test_examples)
    return Dataset(train, test, whole.classes)


def _digits() -> Dataset:
    from sklearn.datasets import load_digits  # slow to import, and rarely needed

    bunch = load_digits()
    images = np.round(bunch.images * (255 / 16)).astype(np.uint8)[..., None]
    labels = bunch.target.astype(np.int32)
    in_test = _every_fifth_of_a_class(labels)
    train, test = (Split(images[rows], labels[rows]) for rows in (~in_test, in_test))
    return Dataset(train, test, _CLASSES)


def _every_fifth_of_a_class(labels: np.ndarray) -> np.ndarray:
    # Counting needs no random numbers, so the split never changes.
    same = labels[:, None] == np.arange(_CLASSES)
    rank = np.cumsum(same, axis=0)[np.arange(len(labels)), labels]
    return rank % 5 == 0


def _idx_dataset(name: str, download: bool) -> Dataset:
    paths = sources.locate(name, download)
    arrays = {file: _read(name, file, path) for file, path in paths.items()}
    splits = [
        _split(
            arrays[f"{part}-images-idx3-ubyte"],
            arrays[f"{part}-labels-idx1-ubyte"],
            paths[f"{part}-labels-idx1-ubyte"],
        )
        for part in ("train", "t10k")
    ]
    return Dataset(*splits, _CLASSES)


def _text_dataset(name: str, download: bool, length: int) -> Dataset:
    path = sources.locate(name, download)[sources.TEXT]
    codes, classes = text.read(path)
    end = len(codes) * 9 // 10
    splits = (text.windows(part, length) for part in (codes[:end], codes[end:]))
    train, test = (Split(inputs, labels) for inputs, labels in splits)
    if not len(test):
        raise UserError(f"{path}: too short for sequences of {length} characters")
    return Dataset(train, test, classes)


def _read(name: str, file: str, path: Path) -> np.ndarray:
    axes = sources.FILES[file]
    content = idx.read(path, axes)
    if (known := sources.identify(content)) not in (None, (name, file)):
        raise UserError(
            f"{path}: this is {known[1]} of {known[0]}, not {file} of {name}"
        )
    array = idx.as_array(content, axes)
    if axes == 3 and array.shape[1:] != (_SIDE, _SIDE):
        raise UserError(
            f"{path}: its images are {array.shape[1]}x{array.shape[2]}, "
            f"not {_SIDE}x{_SIDE}"
        )
    return array


def _split(images: np.ndarray, labels: np.ndarray, path: Path) -> Split:
    if len(images) != len(labels) or not len(labels):
        raise UserError(f"{path}: {len(labels)} labels for {len(images)} images")
    if (largest := labels.max()) >= _CLASSES:
        raise UserError(f"{path}: it contains a label {largest}, above {_CLASSES - 1}")
    return Split(images[..., None], labels.astype(np.int32))
