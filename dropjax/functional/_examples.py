"""A mask per example: coins drawn where they are used, 32 examples to a word."""

import functools
from collections.abc import Callable
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
from dropjax.functional._loops import scan

_BITS = 16
_LEVELS = 2**_BITS
_TO_A_WORD = 32
_UNROLLED = 16
_LONGEST = 128

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

    less = _zeros_beside(jnp.zeros_like(weight), key, level)
    # A loop: eight generators written out take seconds to compile.
    less = lax.fori_loop(0, _pairs(levels), compare, less)
    return less | _spread(level, np.uint32(_BITS))


def _zeros_beside(zeros: Array, *others: Array) -> Array:
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


def masked_rows(
    key: Key[Array, ""],
    x: Inexact[Array, "groups examples features_in"],
    kernel: Inexact[Array, "features_in features_out"],
    levels: Levels,
) -> Inexact[Array, "groups examples features_out"]:
    """Every example's product with its own masked kernel, some rows at a time."""
    own = counter_key(key)
    if isinstance(levels, int):
        return _masked_rows(own, x, kernel, None, known=levels)
    if levels.ndim:
        levels = jnp.broadcast_to(levels, kernel.shape)
    return _masked_rows(own, x, kernel, levels, known=None)


@functools.partial(jax.jit, static_argnames="known")
def _masked_rows(
    key: Key[Array, ""], x: Array, kernel: Array, levels: Word | None, known: int | None
) -> Array:
    groups, examples, features = x.shape
    width = kernel.shape[-1]
    each = levels if levels is not None and levels.ndim else None
    count = _rows_at_once(features)

    # Checkpoints: the backward pass draws the coins again.
    @jax.checkpoint
    def block(y: Array, rows: tuple[Array, ...]) -> tuple[Array, None]:
        index, x, kernel, *own = rows
        level: Any = known if known is not None else own[0][None] if own else levels
        column = lax.broadcasted_iota(jnp.uint32, (1, width), 1)
        weight = index[:, None] * np.uint32(width) + column
        words = jnp.swapaxes(coin_words(key, level, groups, weight), 0, 1)
        # In a loop of its own, lest the words be drawn anew for each example.
        return lax.scan(_add_rows, y, _split((words, x, kernel), _UNROLLED))

    index = lax.iota(jnp.uint32, features)
    rows = (index, jnp.moveaxis(x, -1, 0), kernel, *([] if each is None else [each]))
    y = jnp.zeros((groups, examples, width), x.dtype)
    y = _zeros_beside(y, key, *rows, *([] if levels is None else [levels]))
    return lax.scan(block, y, _split(rows, count))[0]


@jax.checkpoint
def _add_rows(y: Array, rows: tuple[Array, Array, Array]) -> tuple[Array, None]:
    for words, x, weights in zip(*rows, strict=True):
        # Selected before the product, lest x's gradient see what is dropped.
        own = jnp.broadcast_to(weights, y.shape)
        own = jnp.where(coins(words, y.shape[1]), own, jnp.zeros_like(own))
        y = y + x[:, :, None] * own
    return y, None


def _split(arrays: tuple[Array, ...], count: int) -> tuple[Array, ...]:
    """The first axes in blocks of so many, the last one filled up with zeros."""

    def split(array: Array) -> Array:
        missing = -array.shape[0] % count
        if missing:
            array = jnp.pad(array, [(0, missing)] + [(0, 0)] * (array.ndim - 1))
        return array.reshape(array.shape[0] // count, count, *array.shape[1:])

    return tuple(split(array) for array in arrays)


def _rows_at_once(features: int) -> int:
    """How many rows' coins are drawn at once: few left over, then many."""
    choices = range(_UNROLLED, _LONGEST + 1, _UNROLLED)
    return min(choices, key=lambda count: (-features % count, -count))


def masked_products(
    product: Callable[[Array, Array], Array],
    key: Key[Array, ""],
    x: Inexact[Array, "groups masks mask_per ..."],
    kernel: Inexact[Array, "..."],
    levels: Levels,
) -> Inexact[Array, "groups masks mask_per ..."]:
    """Any product of examples with their masked kernels, a mask of each group a step.

    What is stored is one kernel and its coins for each group of 32 masks.
    """
    words = weight_words(key, levels, x.shape[0], kernel.shape)

    @jax.checkpoint
    def step(bit: Word, x: Array) -> tuple[Word, Array]:
        masked = jnp.where(
            (words & bit) != 0, kernel[None], jnp.zeros_like(kernel)[None]
        )
        return bit << np.uint32(1), jax.vmap(product)(x, masked)

    _, y = scan(step, jnp.uint32(1), jnp.moveaxis(x, 1, 0))
    return jnp.moveaxis(y, 0, 1)
