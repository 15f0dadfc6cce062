"""Block masks for drop block: the probability of a seed, and the blocks it drops."""

import functools
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Key

from dropjax._checks import check_known
from dropjax._masks import draw_mask
from dropjax._random import Word, high_word

_LEVELS = 2**23
_SHARES = 2.0**31
# The search over 2^24 numbers determines this many bits per step.
_BITS = 2


def draw(
    key: Key[Array, ""],
    keep: Float[Array, "..."],
    seedless: Float[Array, ""] | None,
    *,
    shape: tuple[int, ...],
    window: tuple[int, ...],
    maps: tuple[int, ...],
    gamma_scale: float,
) -> Bool[Array, "..."]:
    """True where no block that covers the position has a seed.

    The probability that a place has no seed is computed here unless it is known
    already.
    """
    sizes = list(zip(maps, shape, window, strict=True))
    places = tuple(n - side + 1 if side else m for m, n, side in sizes)
    if seedless is None:
        seedless = find_seedless(keep, shape, window, gamma_scale)
    # Stored, because otherwise each position would draw the seeds of all its blocks
    # again.
    mask = lax.optimization_barrier(draw_mask(key, seedless, places))
    for axis, side in enumerate(window):
        if side > 1:
            mask = _all_within(mask, axis, side)
    return mask


def _all_within(mask: Bool[Array, "..."], axis: int, side: int) -> Bool[Array, "..."]:
    """Whether all places whose block reaches a position are True."""
    beyond = [
        (side - 1, side - 1, 0) if a == axis else (0, 0, 0) for a in range(mask.ndim)
    ]
    mask, reached = lax.pad(mask, True, beyond), 1
    while reached < side:
        step = min(reached, side - reached)
        size = mask.shape[axis]
        first = lax.slice_in_dim(mask, 0, size - step, axis=axis)
        mask = first & lax.slice_in_dim(mask, step, size, axis=axis)
        reached += step
    return mask


@functools.cache
def covers(
    shape: tuple[int, ...], window: tuple[int, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """The distinct numbers of blocks that cover a position, and their frequencies."""
    blocks = share = np.ones(1)
    for size, side in zip(shape, window, strict=True):
        if side and check_known(size, "how many blocks cover a position"):
            position = np.arange(size)
            first = np.maximum(position - side + 1, 0)
            along = np.minimum(position, size - side) - first + 1
            own, times = np.unique(along, return_counts=True)
            blocks = np.outer(blocks, own).ravel()
            share = np.outer(share, times / size).ravel()
    numbers, which = np.unique(blocks, return_inverse=True)
    return numbers.astype(np.uint32), np.bincount(which.ravel(), share)


@functools.lru_cache(maxsize=1024)
def known_seedless(
    keep: float, shape: tuple[int, ...], window: tuple[int, ...], gamma_scale: float
) -> np.ndarray:
    """The result of `find_seedless`, computed while tracing."""
    found = find_seedless(np.asarray(keep, np.float32), shape, window, gamma_scale)
    return np.asarray(found)


def find_seedless(
    keep: Any, shape: tuple[int, ...], window: tuple[int, ...], gamma_scale: float
) -> Any:
    """The probability that a place has no seed, a multiple of 2^-23."""
    seedless = solve_seedless(keep, *covers(shape, window))
    if gamma_scale == 1:
        return seedless
    # Round before subtracting, so that a fused operation cannot round differently.
    seeds = (1 - seedless) * _LEVELS * np.float32(min(gamma_scale, _LEVELS))
    seeds = seeds.clip(0, _LEVELS).astype(np.uint32)
    return (np.uint32(_LEVELS) - seeds).astype(np.float32) / _LEVELS


def solve_seedless(keep: Any, blocks: np.ndarray, share: np.ndarray) -> Any:
    r"""The smallest probability s of no seed at a place that keeps the share `keep`.

    This is the smallest multiple of 2^-23 (the resolution of a mask's probability) for
    which $\sum_k w_k s^k \geq keep$, with $w_k$ the share of positions that k blocks
    cover. The search uses integers only. NumPy, which runs it while tracing if the rate
    is known, and any device, which runs it otherwise, therefore find the same number.
    """
    known = isinstance(keep, np.ndarray)
    # A NaN rate must be visible: everything is kept, and scaled by NaN.
    shown = keep if known else jnp.nan_to_num(keep, nan=1)
    wanted = (shown * np.float32(_SHARES)).astype(np.uint32)[..., None]
    steps = _last(np.arange(1, 2**_BITS, dtype=np.uint32), wanted.ndim)
    blocks = _last(blocks, wanted.ndim + 1)
    weights = _last((share * _SHARES).astype(np.uint32), wanted.ndim + 1)

    def narrow(turn: Any, least: Any) -> Any:
        unit = np.uint32(1) << np.uint32(24 - _BITS) - turn * np.uint32(_BITS)
        trials = least + unit * steps
        kept = _share_kept(trials - np.uint32(1), blocks, weights)
        short = (kept < wanted) & (trials <= np.uint32(_LEVELS))
        return least + unit * short.sum(-1, keepdims=True, dtype=np.uint32)

    loop = _loop if known else lax.fori_loop
    least = loop(np.uint32(0), np.uint32(24 // _BITS), narrow, wanted & np.uint32(0))
    return least[..., 0].astype(np.float32) / _LEVELS


def _last(numbers: np.ndarray, rank: int) -> np.ndarray:
    return numbers.reshape((1,) * (rank - 1) + (-1,))


def _share_kept(levels: Word, blocks: np.ndarray, weights: np.ndarray) -> Word:
    """2^31 times the share kept at `levels` / 2^23, below 1; it is nondecreasing."""
    power = (levels << np.uint32(32 - 23))[..., None]
    kept: Any = weights
    for bit in range(int(blocks.max()).bit_length()):
        # A bitwise selection, which NumPy and JAX both support.
        used = np.uint32(0) - (blocks >> np.uint32(bit) & np.uint32(1))
        kept = (high_word(kept, power) & used) | (kept & ~used)
        power = high_word(power, power)
    return kept.sum(-1, dtype=np.uint32)


def _loop(first: Any, stop: Any, body: Callable[[Any, Any], Any], value: Any) -> Any:
    """`lax.fori_loop` for NumPy arrays."""
    for turn in range(first, stop):
        value = body(np.uint32(turn), value)
    return value
