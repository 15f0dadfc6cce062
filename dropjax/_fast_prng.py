"""A generator as fast as a copy, for masks: `jax.random.key(0, impl=fast_prng)`."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.extend.random import define_prng_impl, threefry2x32_p
from jaxtyping import Array, UInt

from dropjax._random import Word, element_index

_WORDS = 4
_MULTIPLIERS = (0xED5AD4BB, 0xAC4C1B51, 0x31848BAB)
_SHIFTS = (17, 11, 15)
_LAST_SHIFT = 14
_GOLDEN = 0x9E3779B9
_SECOND_BLOCK = 1 << 31
_FOLD = 1 << 30


def _hash(k0: Word, k1: Word, k2: Word, high: Word, low: Word) -> Word:
    """Three rounds of multiply and xorshift, a sub-key before each, in 14 operations.

    The multipliers and shifts are those of Wellons' "triple32", a search for the
    least biased 32-bit mixers.
    """
    word = low
    keys = (k0, k1 ^ (high * np.uint32(_GOLDEN)), k2)
    for key, shift, multiplier in zip(keys, _SHIFTS, _MULTIPLIERS, strict=True):
        word = word ^ key
        word = (word ^ (word >> np.uint32(shift))) * np.uint32(multiplier)
    return word ^ (word >> np.uint32(_LAST_SHIFT))


def _random_bits(
    key: UInt[Array, "4"], bit_width: int, shape: tuple[int, ...]
) -> UInt[Array, "..."]:
    k0, k1, k2, _ = key
    if bit_width == 64:
        halves = _hash(k0, k1, k2, *element_index((*shape, 2))).astype(jnp.uint64)
        return halves[..., 0] << np.uint64(32) | halves[..., 1]
    words = _hash(k0, k1, k2, *element_index(shape))
    return words.astype(jnp.dtype(f"uint{bit_width}"))


def _derive(key: UInt[Array, "..."], high: Word, low: Word) -> UInt[Array, "... 4"]:
    """A key of four words from threefry's two blocks for a number of 62 bits.

    Called, not written out: a loop compiles faster, and keys are few.
    """
    blocks = jnp.stack([high, high | np.uint32(_SECOND_BLOCK)], axis=-1)
    lows = jnp.stack([low, low], axis=-1)
    words = threefry2x32_p.bind(key[0], key[1], blocks, lows)
    return jnp.stack(words, axis=-1).reshape(*high.shape, _WORDS)


def _seed(seed: Array) -> UInt[Array, "4"]:
    wide = seed.dtype.itemsize > 4
    high = (seed >> 32 if wide else jnp.zeros_like(seed)).astype(jnp.uint32)
    pair = jnp.stack([high, seed.astype(jnp.uint32)])
    zero = jnp.zeros((), jnp.uint32)
    return _derive(pair, zero, zero)


def _split(key: UInt[Array, "4"], shape: tuple[int, ...]) -> UInt[Array, "... 4"]:
    return _derive(key, *element_index(shape))


def _fold_in(key: UInt[Array, "4"], data: Any) -> UInt[Array, "4"]:
    return _derive(key, jnp.asarray(_FOLD, jnp.uint32), data.astype(jnp.uint32))


fast_prng = define_prng_impl(
    key_shape=(_WORDS,),
    seed=_seed,
    split=_split,
    random_bits=_random_bits,
    fold_in=_fold_in,
    name="dropjax_fast",
    tag="djf",
)
