"""Draws random words from a key in a form that fuses, and derives keys for leaves."""

import functools
import hashlib
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.extend.random import define_prng_impl, threefry_prng_impl
from jaxtyping import Array, Float, Key, UInt, UInt32

from dropjax._checks import is_symbolic

Word = UInt32[Array, "..."]

_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
_PARITY = 0x1BD11BDA


def random_words(
    key: Key[Array, ""], shape: tuple[int, ...], *, stored: bool = False
) -> Word:
    """32 random bits per element, equal to `jax.random.bits(key, shape)`.

    Threefry is written out here instead of called. Its rounds then fuse into the
    consumer of the words, and neither the words nor the counters are stored. Pass
    `stored=True` for words that many elements share, because otherwise each of these
    elements would compute its word again.
    """
    if not stored and is_partitionable_threefry(key):
        tell_reuse_checker(key)
        key = jax.random.wrap_key_data(jax.random.key_data(key), impl=_written_out)
    return jax.random.bits(key, shape, jnp.uint32)


def random_uniform(
    key: Key[Array, ""], shape: tuple[int, ...], *, stored: bool = False
) -> Float[Array, "..."]:
    """Uniform numbers in [0, 1), multiples of 2^-24."""
    words = random_words(key, shape, stored=stored) >> np.uint32(8)
    return words.astype(jnp.float32) * np.float32(2.0**-24)


def random_signed(
    key: Key[Array, ""], shape: tuple[int, ...], *, stored: bool = False
) -> Float[Array, "..."]:
    """Uniform numbers in (-1, 1), odd multiples of 2^-23, as many above 0 as below."""
    words = random_words(key, shape, stored=stored) >> np.uint32(9)
    return words.astype(jnp.float32) * np.float32(2**-22) - np.float32(1 - 2**-23)


def normals(
    key: Key[Array, ""], shape: tuple[int, ...], *, stored: bool = False
) -> Float[Array, "*shape"]:
    """Standard normal float32 numbers, by the formula of `jax.random.normal`.

    Like random words, they are drawn in the loop that uses them.
    """
    words = random_words(key, shape, stored=stored)
    fraction = (words >> np.uint32(9)).astype(jnp.float32)
    least = np.nextafter(np.float32(-1), np.float32(0))
    uniform = jnp.maximum(fraction * np.float32(2**-22) + least, least)
    return np.float32(np.sqrt(2)) * lax.erf_inv(uniform)


def leaf_keys(key: Key[Array, ""], paths: Sequence[str]) -> list[Key[Array, ""]]:
    """One key per path, derived from the path alone; an empty path gets `key`."""
    digests = [hashlib.blake2b(path.encode(), digest_size=8).digest() for path in paths]
    words = np.frombuffer(b"".join(digests), dtype="<u4").reshape(-1, 2)
    high, low = words.T.astype(np.uint32)
    fold = jax.vmap(jax.random.fold_in)
    folded = fold(jax.vmap(jax.random.fold_in, (None, 0))(key, high), low)
    apart = _apart(folded)
    return [own if path else key for own, path in zip(apart, paths, strict=True)]


@jax.jit
def _apart(keys: Key[Array, " keys"]) -> list[Key[Array, ""]]:
    """Splits an array of keys into single keys, so that their consumers share programs.

    A slice would be fused into the loop that reads the key, and its constant start
    would make the loop of each leaf a separate program to compile. A gather instead
    reads its indices from an argument, so that leaves of the same shape share one
    program.
    """
    if len(keys) == 1:
        return [keys[0]]
    data, impl = jax.random.key_data(keys), jax.random.key_impl(keys)
    places = np.arange(data.size, dtype=np.int32).reshape(data.shape)
    words = data.ravel().at
    picked = [words[place].get(mode="promise_in_bounds") for place in places]
    return [jax.random.wrap_key_data(own, impl=impl) for own in picked]


def same_key(key: Key[Array, ""]) -> Key[Array, ""]:
    """The same key, for drawing the same mask again; `debug_key_reuse` allows it."""
    return jax.random.wrap_key_data(
        jax.random.key_data(key), impl=jax.random.key_impl(key)
    )


def is_partitionable_threefry(key: Key[Array, ""]) -> bool:
    threefry = str(jax.random.key_impl(key)) == "threefry2x32"
    return threefry and getattr(jax.config, "jax_threefry_partitionable", True)


def tell_reuse_checker(key: Key[Array, ""]) -> None:
    # Reading the data of a key does not count as a use for jax.debug_key_reuse; drawing
    # zero bits does.
    if getattr(jax.config, "jax_debug_key_reuse", False):
        jax.random.bits(key, (0,))


def key_and_index(
    key: UInt[Array, " words"], shape: tuple[int, ...]
) -> tuple[Word, ...]:
    """The words of the key, and the high and low words of each row-major index.

    These must be computed in the loop that reads them, on every platform. To force
    that, one is made to depend on the other through a zero that XLA does not recognize.
    """
    high, low, zero = element_index(shape, key[0])
    return (*(word + zero for word in key), high, low)


def element_index(shape: tuple[int, ...], word: Word) -> tuple[Word, Word, Word]:
    """The high and low words of each row-major index, and zeros of the same shape."""
    if any(map(is_symbolic, shape)):
        return _index_of_any_size(shape, word)
    along_axes = functools.partial(_index_along_axes, shape)
    if math.prod(shape) > 2**32:
        return along_axes(word)
    counted = functools.partial(_index_counted, shape)
    return lax.platform_dependent(word, cuda=counted, rocm=counted, default=along_axes)


def _index_counted(shape: tuple[int, ...], key: Word) -> tuple[Word, Word, Word]:
    """For GPUs, where a small array computed separately costs a kernel launch.

    The zeros depend on the index as far as XLA can tell, so that the key schedule is
    computed in the kernel that reads it.
    """
    # The zeros tell shard_map that the index varies over the same mesh axes as the key.
    low = lax.iota(jnp.uint32, math.prod(shape)).reshape(shape) + jnp.zeros_like(key)
    return jnp.zeros_like(low), low, _hidden_zero(low)


def _index_along_axes(shape: tuple[int, ...], key: Word) -> tuple[Word, Word, Word]:
    """For other platforms, and for arrays of more than 2^32 elements."""
    high, low = index_in_window(shape, (0,) * len(shape), shape, key)
    return high, low, jnp.zeros_like(low)


def index_in_window(
    shape: tuple[int, ...],
    start: Sequence[int | Array],
    sizes: tuple[int, ...],
    word: Word,
) -> tuple[Word, Word]:
    """The high and low words of the indices, in the whole array, of a window of it.

    XLA hoists whatever does not depend on the loop variables out of the loop and stores
    it. A hidden zero of the word is therefore added, and products involve only one
    axis. The size of the first axis may be symbolic, if it is below 2^32.
    """
    high = low = jnp.broadcast_to(_hidden_zero(word), sizes)
    stride = 1
    for axis in reversed(range(len(shape))):
        along = functools.partial(
            lax.broadcast_in_dim, shape=sizes, broadcast_dimensions=(axis,)
        )
        index = lax.iota(jnp.uint32, sizes[axis])
        if not (isinstance(start[axis], int) and start[axis] == 0):
            index = index + jnp.asarray(start[axis], jnp.uint32)
        step = along(index * np.uint32(stride % 2**32))
        low = low + step
        if is_symbolic(shape[axis]) or stride * shape[axis] > 2**32:
            carry = (low < step).astype(jnp.uint32)
            high = high + along(_high_product(index, stride)) + carry
        if not is_symbolic(sizes[axis]) and sizes[axis] > 2**32:
            high = high + along(_high_index(sizes[axis]) * np.uint32(stride))
        stride *= shape[axis]
    return high, low


def _hidden_zero(word: Word) -> Word:
    """A zero that XLA believes to depend on the word."""
    return (word >> np.uint32(31)) >> np.uint32(1)


def _index_of_any_size(shape: tuple[int, ...], key: Word) -> tuple[Word, Word, Word]:
    """For exported programs with symbolic sizes, which are known only at run time."""
    with jax.enable_x64(True):
        index = jnp.broadcast_to(_hidden_zero(key).astype(jnp.uint64), shape)
        stride = jnp.ones((), jnp.uint64)
        for axis in reversed(range(len(shape))):
            index = index + lax.broadcasted_iota(jnp.uint64, shape, axis) * stride
            stride = stride * jnp.asarray(shape[axis]).astype(jnp.uint64)
        high = (index >> np.uint64(32)).astype(jnp.uint32)
        low = index.astype(jnp.uint32)
        return high, low, jnp.zeros_like(low)


def _high_product(index: Word, stride: int) -> Word:
    """Bits 32 to 63 of `index * stride`."""
    high = high_word(index, np.uint32(stride % 2**32))
    return high + index * np.uint32(stride >> 32)


def high_word(first: Word | np.uint32, second: Word | np.uint32) -> Word:
    """Bits 32 to 63 of the product of two words, computed from 16-bit halves."""
    half, mask = np.uint32(16), np.uint32(0xFFFF)
    top, bottom = first >> half, first & mask
    other_top, other_bottom = second >> half, second & mask
    middle = top * other_bottom + (bottom * other_bottom >> half)
    other = bottom * other_top + (middle & mask)
    return top * other_top + (middle >> half) + (other >> half)


def _high_index(size: int) -> Word:
    """Bits 32 to 63 of the index along an axis with more than 2^32 entries."""
    with jax.enable_x64(True):
        index = lax.iota(jnp.uint64, size)
        return (index >> np.uint64(32)).astype(jnp.uint32)


def threefry2x32(k0: Word, k1: Word, x0: Word, x1: Word) -> tuple[Word, Word]:
    """The twenty rounds of Salmon et al., 2011, "Parallel random numbers"."""
    schedule = (k0, k1, k0 ^ k1 ^ np.uint32(_PARITY))
    x0, x1 = x0 + schedule[0], x1 + schedule[1]
    for step in range(5):
        for distance in _ROTATIONS[step % 2]:
            x0 = x0 + x1
            x1 = x0 ^ _rotate_left(x1, distance)
        x0 = x0 + schedule[(step + 1) % 3]
        x1 = x1 + (schedule[(step + 2) % 3] + np.uint32(step + 1))
    return x0, x1


def _written_bits(
    key: UInt[Array, "2"], bit_width: int, shape: tuple[int, ...]
) -> Word:
    return jnp.bitwise_xor(*threefry2x32(*key_and_index(key, shape)))


def _rotate_left(word: Word, distance: int) -> Word:
    return (word << np.uint32(distance)) | (word >> np.uint32(32 - distance))


# A JAX PRNG implementation for 32-bit words only. JAX treats it as one operation when
# it differentiates a loop; taking it apart would store the counters.
_written_out = define_prng_impl(
    key_shape=threefry_prng_impl.key_shape,
    seed=threefry_prng_impl.seed,
    split=threefry_prng_impl.split,
    random_bits=_written_bits,
    fold_in=threefry_prng_impl.fold_in,
    name="dropjax_threefry",
    tag="djt",
)
