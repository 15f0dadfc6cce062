"""Statistics of a stream of any length, a part of it at a time.

Each sorts what it reads of a part into cells whose chances are known, and the counts of
all parts together are judged by chi-square. Too even is a fault too: it is how a stream
is found in which no word comes twice.
"""

import dataclasses
from collections.abc import Callable, Iterable, Iterator

import numpy as np
from scipy import stats

Words = np.ndarray
Cells = Callable[[Words], np.ndarray]

SIDE = 1 << 12
PART = SIDE * SIDE
"""The words of a part; it is read along the rows and along the columns of a square."""

RARE = 5
"""Cells that expect fewer samples are taken together, or chi-square would not be."""


@dataclasses.dataclass
class Statistic:
    """What is counted: the chance of each cell, and the cell of each sample."""

    name: str
    chances: np.ndarray
    cells: Cells
    columns: bool = False
    counts: np.ndarray = dataclasses.field(init=False)

    def __post_init__(self) -> None:
        self.counts = np.zeros(self.chances.size, np.int64)

    def p_value(self) -> float:
        counts, expected = self.counts, self.chances * self.counts.sum()
        rare = expected < RARE
        if rare.any():
            counts = np.append(counts[~rare], counts[rare].sum())
            expected = np.append(expected[~rare], expected[rare].sum())
        if expected.size == 1:
            return 1.0
        statistic = ((counts - expected) ** 2 / expected).sum()
        judged = stats.chi2(expected.size - 1)
        return float(2 * min(judged.sf(statistic), judged.cdf(statistic)))


def add(statistics: Iterable[Statistic], words: Words) -> None:
    """Counts one part of the stream."""
    rows = words.reshape(-1)
    columns = np.ascontiguousarray(words.reshape(SIDE, SIDE).T).reshape(-1)
    for each in statistics:
        cells = each.cells(columns if each.columns else rows).astype(np.int64)
        each.counts += np.bincount(cells, minlength=each.counts.size)


def worst(statistics: Iterable[Statistic]) -> tuple[str, float]:
    """The smallest p-value, and whose it is."""
    found = ((each.name, each.p_value()) for each in statistics)
    return min(found, key=lambda each: each[1])


def battery() -> Iterator[Statistic]:
    """All of them, with nothing counted."""
    twenty = np.full(1 << 20, 2.0**-20)
    yield Statistic("first 20 bits", twenty, lambda words: words >> np.uint32(12))
    yield Statistic("last 20 bits", twenty, lambda words: words & np.uint32(0xFFFFF))
    yield Statistic("20 bits of two words", twenty, _of_two_words)
    yield Statistic("gaps", _geometric(1 / 32, 160), _gaps)
    yield Statistic("last bits", np.full(1 << 16, 2.0**-16), _last_bits)
    yield Statistic("thirds", _together(_THIRDS, 10), _thirds)
    yield Statistic("repeats", _REPEATS, _repeats)
    yield Statistic("ranks of all bits", _DEFICITS, _ranks_of_all_bits)
    yield Statistic("ranks of last bits", _DEFICITS, _ranks_of_last_bits)
    for columns in (False, True):
        yield from _both_ways(columns)


def _both_ways(columns: bool) -> Iterator[Statistic]:
    where = "columns" if columns else "rows"
    weights = _together(_WEIGHTS, 8)
    yield Statistic(f"weights, {where}", weights, _weights, columns)
    for rate in (0.5, 0.1, 0.01):
        coins, drop = _coins(rate)
        patterns = _together(np.array([1 - drop, drop]), 16)
        yield Statistic(
            f"patterns at rate {rate}, {where}", patterns, _sixteens(coins), columns
        )
        for block in (1 << 8, 1 << 12, 1 << 16):
            name = f"share of {block} at rate {rate}, {where}"
            yield _share(name, coins, drop, block, columns)


def _share(
    name: str, coins: Cells, drop: float, block: int, columns: bool
) -> Statistic:
    """How many of a block are dropped, in some sixteen cells of nearly one chance."""
    number = stats.binom(block, drop)
    bounds = np.unique(number.ppf(np.arange(1, 16) / 16))
    chances = np.diff(number.cdf(bounds), prepend=0, append=1)
    cell_of = np.searchsorted(bounds, np.arange(block + 1))

    def cells(words: Words) -> np.ndarray:
        return cell_of[coins(words).reshape(-1, block).sum(1)]

    return Statistic(name, chances, cells, columns)


def _together(chances: np.ndarray, length: int) -> np.ndarray:
    """The chance of each run of so many independent digits."""
    runs = np.ones(1)
    for _ in range(length):
        runs = np.multiply.outer(runs, chances).reshape(-1)
    return runs


def _runs(digits: np.ndarray, length: int, base: int) -> np.ndarray:
    """Each run of so many neighbours as one number, without overlap."""
    runs = digits[: digits.size // length * length].reshape(-1, length)
    numbers = runs[:, 0].astype(np.uint32)
    for place in range(1, length):
        numbers = numbers * np.uint32(base) + runs[:, place]
    return numbers


def _of_two_words(words: Words) -> np.ndarray:
    last, first = words[::2] & np.uint32(0x3FF), words[1::2] >> np.uint32(22)
    return last << np.uint32(10) | first


def _geometric(chance: float, longest: int) -> np.ndarray:
    shorter = chance * (1 - chance) ** np.arange(longest)
    return np.append(shorter, (1 - chance) ** longest)


def _gaps(words: Words) -> np.ndarray:
    places = np.flatnonzero(words < np.uint32(2**32 // 32))
    return np.minimum(np.diff(places) - 1, 160)


_THIRDS = np.array([2**32 // 3 + 1, 2**32 // 3, 2**32 // 3]) / 2**32


def _thirds(words: Words) -> np.ndarray:
    return _runs(words % np.uint32(3), 10, 3)


# Of balls in bins. Repeats are not quite independent, which changes their variance by
# less than a hundredth.
_REPEATED = (PART + 2**32 * np.expm1(PART * np.log1p(-(2.0**-32)))) / (PART - 1)
_REPEATS = np.array([1 - _REPEATED, _REPEATED])


def _repeats(words: Words) -> np.ndarray:
    ordered = np.sort(words)
    return ordered[1:] == ordered[:-1]


# How far the ranks of large square matrices of bits fall short: by 0, 1 or more.
_FULL = np.prod(1 - 0.5 ** np.arange(1.0, 64.0))
_DEFICITS = np.array([_FULL, 2 * _FULL, 1 - 3 * _FULL])
_MATRICES, _RANK = 16, 512


def _ranks_of_all_bits(words: Words) -> np.ndarray:
    return _deficits(words[: _MATRICES * _RANK**2 // 32])


def _ranks_of_last_bits(words: Words) -> np.ndarray:
    bits = words[: _MATRICES * _RANK**2] & np.uint32(1)
    return _deficits(np.packbits(bits.astype(bool)))


def _deficits(bits: np.ndarray) -> np.ndarray:
    matrices = bits.view(np.uint64).reshape(_MATRICES, _RANK, -1)
    return np.array([min(_RANK - _rank(matrix.copy()), 2) for matrix in matrices])


def _rank(rows: np.ndarray) -> int:
    """Gauss's elimination over GF(2), 64 columns a word."""
    rank = 0
    for column in range(_RANK):
        place, bit = divmod(column, 64)
        ones = rows[rank:, place] >> np.uint64(bit) & np.uint64(1)
        having = rank + np.flatnonzero(ones)
        if having.size:
            rows[having] ^= rows[having[0]].copy()
            # The pivot is done with; the row that it stands before takes its place.
            rows[having[0]] = rows[rank]
            rank += 1
    return rank


# Few, half, and many bits set, as near to quarters as whole numbers allow.
_CLASSES = np.repeat(np.arange(4, dtype=np.uint8), [14, 2, 3, 14])
_WEIGHTS = np.bincount(_CLASSES, stats.binom(32, 0.5).pmf(np.arange(33)))


def _weights(words: Words) -> np.ndarray:
    return _runs(_CLASSES[np.bitwise_count(words)], 8, 4)


def _coins(rate: float) -> tuple[Cells, float]:
    """What a mask of that rate drops, and how often, by the 23 bits it reads."""
    kept = np.uint32(np.ceil(np.float32(1 - rate) * 2.0**23))
    return lambda words: words >> np.uint32(9) >= kept, 1 - float(kept) / 2**23


def _last_bits(words: Words) -> np.ndarray:
    return _sixteens(lambda words: words & np.uint32(1))(words)


def _sixteens(coins: Cells) -> Cells:
    return lambda words: np.packbits(coins(words).astype(bool)).view(">u2")
