"""Masks per example, packed 32 examples to a word."""

import functools
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Inexact, Key, UInt32

from dropjax._checks import is_symbolic
from dropjax._fast_prng import counter_key, counter_words
from dropjax._loops import zeros_beside
from dropjax._masks import keep_probability
from dropjax._random import Word
from dropjax._types import RateLike

_BITS = 16
_LEVELS = 2**_BITS
_TO_A_WORD = 32

Levels: TypeAlias = int | UInt32[Array, "..."]
"""How many of the 2^16 values of a mask entry's random number keep it."""


def realized_rate(rate: RateLike) -> RateLike:
    """Rounds a rate to a multiple of 2^-16; only 0 and 1 are rounded to 0 and 1."""
    if isinstance(rate, float):
        dropped = min(max(round(rate * _LEVELS), 1), _LEVELS - 1) / _LEVELS
        return dropped if 0 < rate < 1 else rate
    keep = jnp.asarray(keep_probability(rate, jnp.dtype(jnp.float32)))
    inside = jnp.clip(jnp.round(keep * _LEVELS), 1, _LEVELS - 1) / _LEVELS
    return 1 - jnp.where((keep > 0) & (keep < 1), inside, keep)


def mask_levels(rate: RateLike) -> Levels:
    """The level of a realized rate."""
    if isinstance(rate, float):
        return round((1 - rate) * _LEVELS)
    levels = keep_probability(rate, jnp.dtype(jnp.float32)) * _LEVELS
    # A NaN rate must be visible: everything is kept, and scaled by NaN.
    return jnp.nan_to_num(levels, nan=_LEVELS).astype(jnp.uint32)


class Known(NamedTuple):
    """What a program is compiled for; otherwise levels are arguments at run time.

    Attributes:
      pairs: how many pairs of bits are compared per mask entry.
      level: the level if one pair of bits is enough, as at a rate of 0.5, or None.
    """

    pairs: int
    level: int | None


def known_of(levels: Levels) -> Known:
    """Static levels skip their trailing zero bits, and traced levels use all bits."""
    if not isinstance(levels, int):
        return Known(_BITS // 2, None)
    pairs = range(_BITS // 2 + 1)
    least = next(n for n in pairs if levels % 4 ** (_BITS // 2 - n) == 0)
    return Known(least, levels if least < 2 else None)


def passed_levels(known: Known, levels: Levels) -> Word | None:
    """The levels that a program takes as an argument; None if it is made for them."""
    return None if known.level is not None else jnp.asarray(levels, jnp.uint32)


def in_groups(
    x: Inexact[Array, "examples *rest"], mask_per: int
) -> Inexact[Array, "groups masks mask_per *rest"]:
    """Groups examples by their mask, and masks by the words that hold them."""
    together = masks_to_a_word(x.shape[0], mask_per) or 1
    groups = groups_of(x.shape[0], mask_per) or 1
    missing = groups * together * mask_per - x.shape[0]
    if missing:
        x = jnp.pad(x, [(0, missing)] + [(0, 0)] * (x.ndim - 1))
    return x.reshape(groups, together, mask_per, *x.shape[1:])


def groups_of(examples: int, mask_per: int) -> int:
    """The number of groups of masks that share words."""
    return -(-examples // (_TO_A_WORD * mask_per))


def masks_to_a_word(examples: int, mask_per: int) -> int:
    """The number of masks that share a word: all of them, or as many as fit."""
    if is_symbolic(examples):
        return _TO_A_WORD
    return min(-(-examples // mask_per), _TO_A_WORD)


def packed_masks(
    key: UInt32[Array, " words"],
    known: Known,
    levels: Word | None,
    groups: int,
    weight: Word,
) -> UInt32[Array, "groups ..."]:
    """Draws the mask entries of some weights, as bit e of a word for example e.

    An entry is True if 16 random bits are less than its level. The bits are compared
    from the lowest to the highest, for the 32 examples of a group at once, where bit k
    of all their numbers is the complement of one random word. At a rate of 0.5 the
    highest bit alone decides. An entry depends only on the key and on the indices of
    the example and the weight.
    """
    # Not broadcast, because it is stored for each pair of bits for the backward pass.
    block = jnp.arange(groups, dtype=jnp.uint32) * np.uint32(_BITS // 2)
    block = lax.expand_dims(block, range(1, weight.ndim + 1))
    weight = jnp.broadcast_to(weight, (groups, *weight.shape))
    level = jnp.asarray(levels if known.level is None else known.level, jnp.uint32)

    def compare(step: Array | int, less: Word) -> Word:
        # Without jit, `fori_loop` passes a Python integer.
        pair = np.uint32(known.pairs - 1) - jnp.asarray(step, jnp.uint32)
        words = counter_words(key, block + pair, weight)
        for which in (1, 0):
            bit = np.uint32(_BITS - 1 - which) - np.uint32(2) * pair
            less = _majority(words[which], less, _spread(level, bit))
        return less

    less = zeros_beside(jnp.zeros_like(weight), key, level)
    # A loop, because eight unrolled generators take seconds to compile.
    less = lax.fori_loop(0, known.pairs, compare, less)
    return less | _spread(level, np.uint32(_BITS))


def _majority(first: Word, second: Word, third: Word) -> Word:
    """Compares one more bit: of the complement, the result so far, and the level."""
    return (first & second) | (third & (first | second))


def _spread(level: Word, bit: Word | np.uint32) -> Word:
    """All ones if that bit of the level is set, and zeros otherwise."""
    return np.uint32(0) - (level >> bit & np.uint32(1))


def unpacked(words: Word, examples: int) -> Bool[Array, "groups examples ..."]:
    """Unpacks words into one mask per example."""
    bits = np.uint32(1) << jnp.arange(examples, dtype=jnp.uint32)
    bits = lax.expand_dims(bits, (0, *range(2, words.ndim + 1)))
    return (jnp.expand_dims(words, 1) & bits) != 0


def packed_kernel_masks(
    key: Key[Array, ""],
    known: Known,
    levels: Levels,
    groups: int,
    shape: tuple[int, ...],
) -> UInt32[Array, "groups *shape"]:
    """Draws the mask entries of all weights of a kernel."""
    given = passed_levels(known, levels)
    if given is not None:
        given = lax.broadcast_to_rank(given, len(shape) + 1)
    return _packed_kernel_masks(counter_key(key), given, known, groups, shape)


@functools.partial(jax.jit, static_argnames=("known", "groups", "shape"))
def _packed_kernel_masks(
    key: UInt32[Array, " words"],
    levels: Word | None,
    known: Known,
    groups: int,
    shape: tuple[int, ...],
) -> UInt32[Array, "groups *shape"]:
    size = int(np.prod(shape, dtype=np.int64))
    index = lax.iota(jnp.uint32, size).reshape(shape)
    return packed_masks(key, known, levels, groups, index)
