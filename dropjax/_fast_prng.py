"""A PRNG as fast as copying the array: `jax.random.key(0, impl=fast_prng)`.

The random words are a keyed hash of each element's 64-bit row-major index i:

    w = low(i)
    w = (w ^ k0 ^ g)            w = (w ^ w >> 17) * 0xED5AD4BB
    w = (w ^ k1 ^ high(i) * g)  w = (w ^ w >> 11) * 0xAC4C1B51
    w = (w ^ k2)                w = (w ^ w >> 15) * 0x31848BAB
    w =  w ^ w >> 14 ^ low(i)

modulo 2^32, with g = 0x9E3779B9: 15 operations where the high word is 0. The
multipliers and shifts are those of Wellons' "triple32", which was found by searching
for the 32-bit mixer with the least bias. Sub-keys between the rounds make the streams
of different keys unrelated. The rounds alone are a permutation of the 2^32 low words
and would never repeat a word; adding the index at the end, as the Davies-Meyer
construction does to turn a cipher into a hash, makes words repeat as often as
independent ones do.

A key is a pair of threefry keys, four words in all, of which the first three are k0, k1
and k2. Seeding, `split` and `fold_in` apply threefry to each half, so that keys are as
unrelated as threefry's; as with threefry, `split(key, n)[i]` is `fold_in(key, i)`.

The name of the generator is "dropjax_fast_v1". JAX accepts it as `impl`, and
checkpoints record it with each key. The name stands for exactly these words and keys,
whatever the version and the configuration of JAX: if they ever had to change, the new
generator would get a new name, and old checkpoints would still identify the one they
need. `docs/streams.md` states the contract, and `known_answers.json` has words to
compare with.

The generator is meant for masks and for initial values. It is not suitable for
cryptography, as the words are not secret, nor for Monte Carlo integration, which uses
more of a stream than was tested. The tests are described in `docs/testing.md`.
"""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.extend.random import define_prng_impl, threefry_2x32, threefry_prng_impl
from jaxtyping import Array, Key, UInt

from dropjax._random import (
    Word,
    index_in_window,
    is_partitionable_threefry,
    key_and_index,
    tell_reuse_checker,
    threefry2x32,
)
from dropjax._registry import register

_MULTIPLIERS = (0xED5AD4BB, 0xAC4C1B51, 0x31848BAB)
_SHIFTS = (17, 11, 15)
_LAST_SHIFT = 14
_GOLDEN = 0x9E3779B9
_THREEFRY = "threefry2x32"
_NAME = "dropjax_fast_v1"


def _jitted(static: Sequence[int] = ()) -> Callable[..., Any]:
    """Jits a function but returns a plain one, which pickle and copy find by name."""

    def decorate(function: Callable[..., Array]) -> Callable[..., Array]:
        compiled = jax.jit(function, static_argnums=static)
        return functools.wraps(function)(lambda *args: compiled(*args))

    return decorate


def _hash(k0: Word, k1: Word, k2: Word, high: Word, low: Word) -> Word:
    """The hash of an index under three sub-keys, as defined in the module docstring."""
    golden = np.uint32(_GOLDEN)
    word = low
    keys = (k0 ^ golden, k1 ^ (high * golden), k2)
    for key, shift, multiplier in zip(keys, _SHIFTS, _MULTIPLIERS, strict=True):
        word = word ^ key
        word = (word ^ (word >> np.uint32(shift))) * np.uint32(multiplier)
    return word ^ (word >> np.uint32(_LAST_SHIFT)) ^ low


@_jitted(static=(1, 2))
def _random_bits(
    key: UInt[Array, "4"], bit_width: int, shape: tuple[int, ...]
) -> UInt[Array, "..."]:
    if bit_width == 64:
        halves = _hash(*key_and_index(key[:3], (*shape, 2))).astype(jnp.uint64)
        return halves[..., 0] << np.uint64(32) | halves[..., 1]
    words = _hash(*key_and_index(key[:3], shape))
    return words.astype(jnp.dtype(f"uint{bit_width}"))


def _children(key: UInt[Array, "4"], index: UInt[Array, "..."]) -> UInt[Array, "... 4"]:
    """The keys below a key: threefry of the index under each half of the key.

    The cipher itself is called, because `jax.random.split` depends on JAX's
    configuration.
    """
    halves = jax.vmap(_encrypted, (0, None))(key.reshape(2, 2), index)
    return jnp.concatenate([halves[0], halves[1]], axis=-1)


def _encrypted(half: UInt[Array, "2"], index: UInt[Array, "..."]) -> UInt[Array, "..."]:
    counters = jnp.stack([jnp.zeros_like(index), index])
    return jnp.moveaxis(threefry_2x32(half, counters), 0, -1)


@_jitted()
def _seed(seed: Array) -> UInt[Array, "4"]:
    root = threefry_prng_impl.seed(seed)
    return _encrypted(root, jnp.arange(2, dtype=jnp.uint32)).reshape(4)


@_jitted(static=(1,))
def _split(key: UInt[Array, "4"], shape: tuple[int, ...]) -> UInt[Array, "... 4"]:
    return _children(key, lax.iota(jnp.uint32, math.prod(shape)).reshape(shape))


@_jitted()
def _fold_in(key: UInt[Array, "4"], data: Any) -> UInt[Array, "4"]:
    return _children(key, jnp.asarray(data, jnp.uint32))


fast_prng = define_prng_impl(
    key_shape=(4,),
    seed=_seed,
    split=_split,
    random_bits=_random_bits,
    fold_in=_fold_in,
    name=_NAME,
    tag=_NAME,
)
register(fast_prng)


def has_windows(key: Key[Array, ""]) -> bool:
    """Whether `window_words` can draw the words of this key."""
    return str(jax.random.key_impl(key)) == _NAME or is_partitionable_threefry(key)


def window_words(
    key: UInt[Array, "words"],
    shape: tuple[int, ...],
    start: Sequence[int | Array],
    sizes: tuple[int, ...],
) -> Word:
    """The random words of a window of an array of this shape, which may start anywhere.

    They equal the same window of `jax.random.bits(key, shape)`; only a window's worth
    is computed. The key is given by its data.
    """
    return _word_at(key, *index_in_window(shape, start, sizes, key[0]))


def _word_at(key: UInt[Array, "words"], high: Word, low: Word) -> Word:
    """The random word of a 64-bit index, for the data of a key."""
    if key.shape[0] == 4:
        return _hash(key[0], key[1], key[2], high, low)
    return jnp.bitwise_xor(*threefry2x32(key[0], key[1], high, low))


def counter_key(key: Key[Array, ""]) -> UInt[Array, "words"]:
    """The key for `counter_words`: four words for a fast key, two for threefry.

    Other generators have no such stream; their bits seed a threefry key.
    """
    if str(jax.random.key_impl(key)) in (_THREEFRY, _NAME):
        tell_reuse_checker(key)
        return jax.random.key_data(key)
    return jax.random.bits(key, (2,), jnp.uint32)


def counter_words(
    key: UInt[Array, "words"], high: Word, low: Word
) -> tuple[Word, Word]:
    """Two random words for a 64-bit counter; the stream can be read in any order."""
    if key.shape[0] == 4:
        even = high * np.uint32(2)
        odd = even + np.uint32(1)
        return _word_at(key, even, low), _word_at(key, odd, low)
    return threefry2x32(key[0], key[1], high, low)
