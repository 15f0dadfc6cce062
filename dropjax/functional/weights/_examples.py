"""The coins of a mask per example, 32 examples to a word."""

import functools
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Inexact, Key, UInt32

from dropjax._checks import is_symbolic
from dropjax._fast_prng import counter_key, counter_words
from dropjax._masks import keep_probability
from dropjax._random import Word
from dropjax._types import RateLike

_BITS = 16
_LEVELS = 2**_BITS
_TO_A_WORD = 32

Levels: TypeAlias = int | UInt32[Array, "..."]
"""Of the 2^16 numbers that a coin may toss, how many keep: known, or traced."""


def realized_rate(rate: RateLike) -> RateLike:
    """The multiple of 2^-16 next to a rate: 0 and 1 are only 0 and 1 themselves."""
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
    # A NaN rate must be seen: everything is kept, and scaled by NaN.
    return jnp.nan_to_num(levels, nan=_LEVELS).astype(jnp.uint32)


def in_groups(
    x: Inexact[Array, "examples *rest"], mask_per: int
) -> Inexact[Array, "groups masks mask_per *rest"]:
    """The examples by their masks, and the masks by the words of their coins."""
    together = masks_to_a_word(x.shape[0], mask_per) or 1
    groups = groups_of(x.shape[0], mask_per) or 1
    missing = groups * together * mask_per - x.shape[0]
    if missing:
        x = jnp.pad(x, [(0, missing)] + [(0, 0)] * (x.ndim - 1))
    return x.reshape(groups, together, mask_per, *x.shape[1:])


def groups_of(examples: int, mask_per: int) -> int:
    """How many groups of masks that share their words there are."""
    return -(-examples // (_TO_A_WORD * mask_per))


def masks_to_a_word(examples: int, mask_per: int) -> int:
    """How many masks share their words: all that there are, or as many as fit."""
    if is_symbolic(examples):
        return _TO_A_WORD
    return min(-(-examples // mask_per), _TO_A_WORD)


def coin_words(
    key: UInt32[Array, " words"], levels: Levels, groups: int, weight: Word
) -> UInt32[Array, "groups ..."]:
    """The coins of some weights: bit e of a word is set where example e keeps it.

    A coin keeps where 16 random bits are less than its level. They are compared bit
    by bit from the lowest, for the 32 examples of a group at once, bit k of their
    numbers being one random word; at a rate of 0.5 the highest bit decides alone.
    A coin depends on the key, the example's index and the weight's, and no more.
    """
    # Of size 1 where all are alike: it is kept for each pair in the backward pass.
    block = jnp.arange(groups, dtype=jnp.uint32) * np.uint32(_BITS // 2)
    block = lax.expand_dims(block, range(1, weight.ndim + 1))
    weight = jnp.broadcast_to(weight, (groups, *weight.shape))
    level = jnp.asarray(levels, jnp.uint32)

    def compare(step: Array | int, less: Word) -> Word:
        # Without jit JAX counts its loops in Python.
        pair = np.uint32(_pairs(levels) - 1) - jnp.asarray(step, jnp.uint32)
        words = counter_words(key, block + pair, weight)
        for which in (1, 0):
            bit = np.uint32(_BITS - 1 - which) - np.uint32(2) * pair
            less = _majority(words[which], less, _spread(level, bit))
        return less

    less = zeros_beside(jnp.zeros_like(weight), key, level)
    # A loop: eight generators written out take seconds to compile.
    less = lax.fori_loop(0, _pairs(levels), compare, less)
    return less | _spread(level, np.uint32(_BITS))


def zeros_beside(zeros: Array, *others: Array) -> Array:
    """What a loop starts from, told under shard_map that it will vary as the others."""

    def mixed(zeros: Array, *others: Array) -> Array:
        parts = [other.any().astype(zeros.dtype) for other in others]
        return sum(parts, zeros)

    return jnp.zeros_like(jax.eval_shape(mixed, zeros, *others))


def _pairs(levels: Levels) -> int:
    """How many pairs of bits are compared: a known level needs no trailing zeros."""
    if not isinstance(levels, int):
        return _BITS // 2
    return next(n for n in range(_BITS // 2 + 1) if levels % 4 ** (_BITS // 2 - n) == 0)


def _majority(first: Word, second: Word, third: Word) -> Word:
    """One more bit compared: the number's complement, what was so far, the level's."""
    return (first & second) | (third & (first | second))


def _spread(level: Word, bit: Word | np.uint32) -> Word:
    """All ones where that bit of the level is set."""
    return np.uint32(0) - (level >> bit & np.uint32(1))


def coins(words: Word, examples: int) -> Bool[Array, "groups examples ..."]:
    """The words' coins example by example."""
    bits = np.uint32(1) << jnp.arange(examples, dtype=jnp.uint32)
    bits = lax.expand_dims(bits, (0, *range(2, words.ndim + 1)))
    return (jnp.expand_dims(words, 1) & bits) != 0


def weight_words(
    key: Key[Array, ""], levels: Levels, groups: int, shape: tuple[int, ...]
) -> UInt32[Array, "groups *shape"]:
    """The coins of all weights of a kernel."""
    own = counter_key(key)
    if isinstance(levels, int):
        return _weight_words(own, None, groups=groups, shape=shape, known=levels)
    levels = lax.broadcast_to_rank(levels, len(shape) + 1)
    return _weight_words(own, levels, groups=groups, shape=shape, known=None)


@functools.partial(jax.jit, static_argnames=("groups", "shape", "known"))
def _weight_words(
    key: UInt32[Array, " words"],
    levels: Word | None,
    *,
    groups: int,
    shape: tuple[int, ...],
    known: int | None,
) -> UInt32[Array, "groups *shape"]:
    size = int(np.prod(shape, dtype=np.int64))
    index = lax.iota(jnp.uint32, size).reshape(shape)
    given: Any = levels if known is None else known
    return coin_words(key, given, groups, index)
