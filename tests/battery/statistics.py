"""Statistics that would notice: each gives p-values, uniform where nothing is wrong.

`coins` are booleans, True with probability `keep`; `words` are 32-bit integers. The
normal approximations are of sums of many thousands of coins.
"""

import math
from collections.abc import Iterator

import numpy as np
from scipy import fft, special, stats

PValues = Iterator[tuple[str, float]]


def of_normal(z: float) -> float:
    """The two-sided p-value of a standard normal."""
    return float(special.erfc(abs(z) / math.sqrt(2)))


def share(coins: np.ndarray, keep: float) -> PValues:
    """The number kept is binomial: an exact test."""
    kept = int(coins.sum())
    yield "share", float(stats.binomtest(kept, coins.size, keep).pvalue)


def blocks(coins: np.ndarray, keep: float, width: int = 8) -> PValues:
    """Each pattern of neighbours comes as often as independent coins say."""
    coins = coins.reshape(-1)[: coins.size // width * width].reshape(-1, width)
    patterns = coins @ (1 << np.arange(width))
    counts = np.bincount(patterns, minlength=1 << width)
    kept = np.array([bin(pattern).count("1") for pattern in range(1 << width)])
    chance = keep**kept * (1 - keep) ** (width - kept)
    # Rare patterns are taken together, or chi-square would not be.
    rare = chance * len(coins) < 10
    if rare.any():
        counts = np.append(counts[~rare], counts[rare].sum())
        chance = np.append(chance[~rare], chance[rare].sum())
    expected = chance * len(coins)
    statistic = ((counts - expected) ** 2 / expected).sum()
    tail = stats.chi2.sf(statistic, len(expected) - 1)
    yield f"blocks of {width}", float(2 * min(tail, 1 - tail))


def serial(coins: np.ndarray, keep: float) -> PValues:
    """Along each axis, at every lag up to 16 and every power of two."""
    for axis, size in enumerate(coins.shape):
        lags = {*range(1, 17), *(1 << np.arange(20))}
        for lag in sorted(lag for lag in lags if lag < size):
            first = np.take(coins, range(size - lag), axis)
            second = np.take(coins, range(lag, size), axis)
            yield f"serial, axis {axis}, lag {lag}", _correlation(first, second, keep)


def _correlation(first: np.ndarray, second: np.ndarray, keep: float) -> float:
    centred = (first - keep) * (second - keep)
    return of_normal(centred.sum() / math.sqrt(centred.size) / (keep * (1 - keep)))


def cross(first: np.ndarray, second: np.ndarray, keep: float) -> PValues:
    """Of two streams, place by place, at every shift, and at every XOR of the index."""
    one, other = ((coins.reshape(-1) - keep) for coins in (first, second))
    scale = math.sqrt(one.size) * keep * (1 - keep)
    yield "cross", of_normal(one @ other / scale)
    shifted = fft.irfft(fft.rfft(one) * fft.rfft(other).conj(), one.size)
    yield "cross, shifted", _of_largest(shifted / scale)
    size = 1 << (one.size.bit_length() - 1)
    scale = math.sqrt(size) * keep * (1 - keep)
    xored = _walsh(_walsh(one[:size]) * _walsh(other[:size])) / size
    yield "cross, XORed index", _of_largest(xored / scale)


def _of_largest(z: np.ndarray) -> float:
    """The p-value of the largest of many normals, by Bonferroni."""
    return min(1.0, z.size * of_normal(float(np.abs(z).max())))


def _walsh(values: np.ndarray) -> np.ndarray:
    """The Walsh-Hadamard transform of a power of two of values."""
    values, half = values.copy(), 1
    while half < values.size:
        pairs = values.reshape(-1, 2, half)
        values = np.stack([pairs.sum(1), pairs[:, 0] - pairs[:, 1]], 1).reshape(-1)
        half *= 2
    return values


def bits(words: np.ndarray) -> PValues:
    """Each of the 32 bits is set half of the time."""
    for bit in range(32):
        ones = int((words >> np.uint32(bit) & 1).sum(dtype=np.int64))
        z = (ones - words.size / 2) / (math.sqrt(words.size) / 2)
        yield f"bit {bit}", of_normal(z)


def shared_words(first: np.ndarray, second: np.ndarray) -> PValues:
    """Two streams share as many words as chance gives: none is the other permuted.

    Fewer tell nothing of the one from the other.
    """
    common = np.intersect1d(first, second).size
    by_chance = first.size * second.size / 2**32
    yield "shared words", float(stats.poisson.sf(common - 1, by_chance))


def ranks(words: np.ndarray) -> PValues:
    """The ranks over GF(2) of 32 x 32 matrices of bits."""
    matrices = words.reshape(-1)[: words.size // 32 * 32].reshape(-1, 32)
    found = _rank(matrices)
    deficits = np.minimum(32 - found, 3)
    counts = np.bincount(deficits, minlength=4)
    chance = np.array([_rank_chance(32 - deficit) for deficit in range(3)])
    chance = np.append(chance, 1 - chance.sum())
    expected = chance * len(found)
    statistic = ((counts - expected) ** 2 / expected).sum()
    yield "ranks", float(stats.chi2.sf(statistic, 3))


def _rank(matrices: np.ndarray) -> np.ndarray:
    """Gauss's elimination of all matrices at once, a row a word."""
    rows = matrices.astype(np.uint32).copy()
    rank = np.zeros(len(rows), np.int64)
    index = np.arange(rows.shape[1])
    for bit in range(32):
        has = (rows >> np.uint32(bit) & 1).astype(bool)
        free = has & (index >= rank[:, None])
        found = free.any(1)
        pivot = free.argmax(1)
        which = np.nonzero(found)[0]
        top = rank[which]
        chosen = rows[which, pivot[which]].copy()
        rows[which, pivot[which]] = rows[which, top]
        rows[which, top] = chosen
        below = (rows[which] >> np.uint32(bit) & 1).astype(bool)
        below[np.arange(len(which)), top] = False
        rows[which] ^= np.where(below, chosen[:, None], np.uint32(0))
        rank[which] += 1
    return rank


def _rank_chance(rank: int, size: int = 32) -> float:
    logarithm = (rank * (2 * size - rank) - size * size) * math.log(2)
    for i in range(rank):
        one = math.log1p(-(2.0 ** (i - size)))
        logarithm += 2 * one - math.log1p(-(2.0 ** (i - rank)))
    return math.exp(logarithm)


def gaps(words: np.ndarray, chance: float = 1 / 32) -> PValues:
    """The distances between words below a bound are geometric."""
    places = np.nonzero(words.reshape(-1) < np.uint32(chance * 2**32))[0]
    if len(places) < words.size * chance / 2:
        yield "gaps", 0.0
        return
    distances = np.minimum(np.diff(places) - 1, 160)
    counts = np.bincount(distances, minlength=161)
    expected = chance * (1 - chance) ** np.arange(160)
    expected = np.append(expected, (1 - chance) ** 160) * len(distances)
    statistic = ((counts - expected) ** 2 / expected).sum()
    yield "gaps", float(stats.chi2.sf(statistic, 160))
