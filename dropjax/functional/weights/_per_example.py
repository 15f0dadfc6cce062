"""Products of examples with their own masks, which are drawn where they are used."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.custom_derivatives import SymbolicZero
from jaxtyping import Array, Inexact, Key

from dropjax._checks import is_symbolic
from dropjax._fast_prng import counter_key
from dropjax._loops import scan, zeros_beside
from dropjax._random import Word
from dropjax.functional.weights._packed_masks import (
    Known,
    Levels,
    known_of,
    packed_kernel_masks,
    packed_masks,
    passed_levels,
    unpacked,
)

# XLA fuses a sum of fewer rows with the slicing of its inputs, and loops that slice are
# several times slower under jax 0.10.
_UNROLLED = 16
# How many of these rows the backward pass recomputes at a time.
_REMADE = 8
_LONGEST = 128
# For more groups of masks than this, gradients are summed along an axis.
_ADDED_APART = 16
# On GPUs, the maximum size of stored mask words or masked kernels.
_STORED_BYTES = 64 * 2**20
# On GPUs, how many steps of a loop are unrolled: a loop itself launches two kernels.
_STEPS_OUT = 4


def masked_rows(
    key: Key[Array, ""],
    x: Inexact[Array, "groups examples features_in"],
    kernel: Inexact[Array, "features_in features_out"],
    levels: Levels,
) -> Inexact[Array, "groups examples features_out"]:
    """Multiplies every example by its own masked kernel.

    On CPUs this loops over blocks of rows of the kernel that fit in the cache. On GPUs
    it computes as few sums over rows as possible, since each step of a loop is a
    launch.
    """
    known = known_of(levels)
    given = passed_levels(known, levels)
    if given is not None and given.ndim:
        given = jnp.broadcast_to(given, kernel.shape)
    return _masked_rows(counter_key(key), x, kernel, given, known=known)


@functools.partial(jax.jit, static_argnames="known")
def _masked_rows(
    key: Word, x: Array, kernel: Array, levels: Word | None, known: Known
) -> Array:
    added = functools.partial(_rows_added, known=known)
    summed = functools.partial(_rows_summed, known=known)
    return lax.platform_dependent(
        key, x, kernel, levels, cuda=summed, rocm=summed, default=added
    )


def _rows_added(
    key: Word, x: Array, kernel: Array, levels: Word | None, *, known: Known
) -> Array:
    groups, examples, features = x.shape

    # The checkpoints make the backward pass redraw the mask.
    @jax.checkpoint
    def block(y: Array, rows: tuple[Array, ...]) -> tuple[Array, None]:
        _, x, kernel, *_ = rows
        words = _words_of_rows(key, rows, levels, known, groups)
        # A separate loop, so that the words are not drawn again for each example.
        return lax.scan(_add_rows, y, _split((words, x, kernel), _UNROLLED))

    rows = _rows_of(x, kernel, levels)
    y = jnp.zeros((groups, examples, kernel.shape[-1]), x.dtype)
    y = zeros_beside(y, key, *rows, *([] if levels is None else [levels]))
    return lax.scan(block, y, _split(rows, _rows_at_once(features)))[0]


def _rows_of(x: Array, kernel: Array, levels: Word | None) -> tuple[Array, ...]:
    """The inputs of a loop over the rows of the kernel, starting with their indices."""
    index = lax.iota(jnp.uint32, kernel.shape[0])
    each = [] if levels is None or not levels.ndim else [levels]
    return (index, jnp.moveaxis(x, -1, 0), kernel, *each)


def _words_of_rows(
    key: Word,
    rows: tuple[Array, ...],
    levels: Word | None,
    known: Known,
    groups: int,
) -> Word:
    """The mask words of some rows, (rows, groups, features_out)."""
    index, _, kernel, *each = rows
    level = each[0][None] if each else levels
    width = kernel.shape[-1]
    column = lax.broadcasted_iota(jnp.uint32, (1, width), 1)
    weight = index[:, None] * np.uint32(width) + column
    return jnp.swapaxes(packed_masks(key, known, level, groups, weight), 0, 1)


def _add_rows(y: Array, rows: tuple[Array, ...]) -> tuple[Array, None]:
    for first in range(0, _UNROLLED, _REMADE):
        y = _add_some(y, tuple(part[first : first + _REMADE] for part in rows))
    return y, None


@jax.checkpoint
def _add_some(y: Array, rows: tuple[Array, ...]) -> Array:
    for words, x, weights in zip(*rows, strict=True):
        # Select before the product: the gradient of x must not see dropped weights.
        own = jnp.broadcast_to(weights, y.shape)
        own = jnp.where(unpacked(words, y.shape[1]), own, jnp.zeros_like(own))
        y = y + x[:, :, None] * own
    return y


def _split(arrays: tuple[Array, ...], count: int) -> tuple[Array, ...]:
    """Splits the first axes into blocks, padding the last block with zeros."""

    def split(array: Array) -> Array:
        missing = -array.shape[0] % count
        if missing:
            array = jnp.pad(array, [(0, missing)] + [(0, 0)] * (array.ndim - 1))
        return array.reshape(array.shape[0] // count, count, *array.shape[1:])

    return tuple(split(array) for array in arrays)


def _rows_at_once(features: int) -> int:
    """How many rows' mask words are drawn at a time: minimal padding, then the most."""
    choices = range(_UNROLLED, _LONGEST + 1, _UNROLLED)
    return min(choices, key=lambda count: (-features % count, -count))


def _rows_summed(
    key: Word, x: Array, kernel: Array, levels: Word | None, *, known: Known
) -> Array:
    groups, examples, features = x.shape
    rows = _rows_of(x, kernel, levels)
    count = _rows_stored(groups, kernel)
    if count >= features:
        return _sum_of_rows(key, rows, levels, known)

    def block(y: Array, rows: tuple[Array, ...]) -> tuple[Array, None]:
        return y + _sum_of_rows(key, rows, levels, known), None

    y = jnp.zeros((groups, examples, kernel.shape[-1]), x.dtype)
    y = zeros_beside(y, key, *rows, *([] if levels is None else [levels]))
    return lax.scan(block, y, _split(rows, count))[0]


def _rows_stored(groups: int, kernel: Array) -> int:
    """How many rows' mask words are stored at a time."""
    features, width = kernel.shape
    if is_symbolic(groups):
        return int(features)
    each = 4 * groups * width
    chunks = -(-features * each // _STORED_BYTES)
    return max(1, -(-features // max(1, chunks)))


def _sum_of_rows(
    key: Word, rows: tuple[Array, ...], levels: Word | None, known: Known
) -> Array:
    """The sum over some rows, whose derivatives redraw the mask.

    The gradients with respect to x and to the kernel sum over different axes, and each
    redraws the mask: sharing it would store an entry for every weight and example.
    """
    index, x, kernel, *each = rows
    multiply = functools.partial(_multiply_rows, known)
    product = jax.custom_jvp(multiply)

    @functools.partial(jax.checkpoint, prevent_cse=False)
    def again(key: Word, *others: Any) -> Array:
        return multiply(lax.optimization_barrier(key), *others)

    @functools.partial(product.defjvp, symbolic_zeros=True)
    def derivative(
        primals: tuple[Any, ...], tangents: tuple[Any, ...]
    ) -> tuple[Array, Array]:
        key, x, kernel, *rest = primals
        _, x_dot, kernel_dot, *_ = tangents
        pairs = ((x_dot, kernel), (x, kernel_dot))
        terms = [
            again(key, *pair, *rest)
            for pair in pairs
            if not any(isinstance(part, SymbolicZero) for part in pair)
        ]
        return product(*primals), sum(terms[1:], terms[0])

    return product(key, x, kernel, index, levels, *each)


def _multiply_rows(
    known: Known,
    key: Word,
    x: Inexact[Array, "rows groups examples"],
    kernel: Inexact[Array, "rows features_out"],
    index: Word,
    levels: Word | None,
    *each: Word,
) -> Array:
    rows = (index, x, kernel, *each)
    words = _words_of_rows(key, rows, levels, known, x.shape[1])
    kept = jnp.moveaxis(unpacked(jnp.moveaxis(words, 0, 1), x.shape[2]), 2, 0)
    own = jnp.broadcast_to(kernel[:, None, None], kept.shape)
    # Select before the product: the gradient of x must not see dropped weights.
    own = jnp.where(kept, own, jnp.zeros_like(own))
    return (x[..., None] * own).sum(0)


def masked_products(
    product: Callable[[Array, Array], Array],
    key: Key[Array, ""],
    x: Inexact[Array, "groups masks mask_per ..."],
    kernel: Inexact[Array, "..."],
    known: Known,
    levels: Levels,
) -> Inexact[Array, "groups masks mask_per ..."]:
    """Multiplies examples by their masked kernels, with any product.

    Each step of a loop handles one mask of each group of 32, so that one kernel per
    group and the packed masks are stored. On GPUs a step handles many masks, because it
    consists of many launches.
    """
    words = packed_kernel_masks(key, known, levels, x.shape[0], kernel.shape)
    stepped = functools.partial(_products, product, 1)
    batched = functools.partial(_products, product, _masks_stored(x, kernel))
    return lax.platform_dependent(
        words, x, kernel, cuda=batched, rocm=batched, default=stepped
    )


def _products(
    product: Callable[[Array, Array], Array],
    together: int,
    words: Word,
    x: Array,
    kernel: Array,
) -> Array:
    @jax.checkpoint
    def step(_: None, turn: tuple[Word, Array]) -> tuple[None, Array]:
        bits, x = turn
        kept = (words[None] & lax.expand_dims(bits, range(1, words.ndim + 1))) != 0
        spread = _for_each_group if together == 1 else jnp.broadcast_to
        own = spread(kernel, kept.shape)
        own = jnp.where(kept, own, jnp.zeros_like(own))
        y = jax.vmap(product)(lax.collapse(x, 0, 2), lax.collapse(own, 0, 2))
        return None, y.reshape(*kept.shape[:2], *y.shape[1:])

    bits = np.uint32(1) << jnp.arange(x.shape[1], dtype=jnp.uint32)
    turns = _split((bits, jnp.moveaxis(x, 1, 0)), together)
    _, y = scan(step, None, turns, unroll=1 if together == 1 else _STEPS_OUT)
    return jnp.moveaxis(lax.collapse(y, 0, 2)[: x.shape[1]], 0, 1)


def _for_each_group(kernel: Array, shape: tuple[int, ...]) -> Array:
    """Repeats the kernel for each group, so that gradients of groups are added in turn.

    The gradient of a broadcast is a sum along an axis, which XLA in jax 0.10 does not
    vectorize on CPUs.
    """
    if is_symbolic(shape[1]) or shape[1] > _ADDED_APART:
        return jnp.broadcast_to(kernel, shape)
    rows = [jnp.broadcast_to(kernel, (shape[0], 1, *shape[2:]))] * shape[1]
    return jnp.concatenate(rows, 1)


def _masks_stored(x: Array, kernel: Array) -> int:
    """How many masks of each group are applied at a time."""
    if is_symbolic(x.shape[0]):
        return 1
    each = x.shape[0] * kernel.size * kernel.dtype.itemsize
    turns = -(-x.shape[1] * each // _STORED_BYTES)
    return max(1, -(-x.shape[1] // max(1, turns)))
