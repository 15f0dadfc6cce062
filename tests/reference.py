"""The generators, their keys and keep masks, in NumPy and from their definitions.

Threefry-2x32 is that of Salmon et al., 2011, "Parallel random numbers: as easy as 1, 2,
3"; the fast generator and the masks are defined in docs/streams.md. No code is shared
with the package.
"""

import hashlib

import numpy as np

THREEFRY, FAST = "threefry2x32", "dropjax_fast_v1"
U32 = np.uint32


def threefry(key, high, low):
    """The block of a counter under a key of two words: two words."""
    k0, k1, a, b = (np.atleast_1d(U32(word)) for word in (*key, high, low))
    keys = (k0, k1, k0 ^ k1 ^ U32(0x1BD11BDA))
    a, b = a + keys[0], b + keys[1]
    for step in range(20):
        turn = U32((13, 15, 26, 6, 17, 29, 16, 24)[step % 8])
        a = a + b
        b = (b << turn | b >> (U32(32) - turn)) ^ a
        if step % 4 == 3:
            part = step // 4 + 1
            a, b = a + keys[part % 3], b + keys[(part + 1) % 3] + U32(part)
    return a, b


def fast(key, high, low):
    """The word of an index under a key of four words, the last of which is unused."""
    high, low, golden = np.atleast_1d(U32(high)), U32(low), U32(0x9E3779B9)
    word = low
    for own, shift, factor in (
        (U32(key[0]) ^ golden, 17, 0xED5AD4BB),
        (U32(key[1]) ^ high * golden, 11, 0xAC4C1B51),
        (U32(key[2]), 15, 0x31848BAB),
    ):
        word = word ^ own
        word = (word ^ word >> U32(shift)) * U32(factor)
    return word ^ word >> U32(14) ^ low


def words(generator, key, index):
    """32 random bits for each 64-bit index of an element."""
    index = np.atleast_1d(np.asarray(index, np.uint64))
    high, low = U32(index >> np.uint64(32)), U32(index & np.uint64(2**32 - 1))
    if generator == FAST:
        return fast(key, high, low)
    return np.bitwise_xor(*threefry(key, high, low))


def keep_mask(generator, key, shape, rate, start=None, sizes=None):
    """The mask, or a window of it with these sizes, which begins at `start`."""
    sizes = shape if sizes is None else sizes
    index = np.zeros(sizes, np.uint64)
    for axis, size in enumerate(shape):
        first = start[axis] if start else 0
        along = np.arange(first, first + sizes[axis], dtype=np.uint64)
        along = along.reshape(-1, *[1] * (len(shape) - axis - 1))
        index = index * np.uint64(size) + along
    kept = words(generator, key, index.ravel()) >> U32(9) < threshold(rate)
    return kept.reshape(sizes)


def threshold(rate):
    """An element is kept if the highest 23 bits of its word are less than this."""
    return int(np.ceil(np.float32(1.0 - rate) * np.float32(2**23)))


def pair(generator, key, high, low):
    """Two words for a 64-bit counter, from which masks per example are drawn."""
    if generator == THREEFRY:
        return threefry(key, high, low)
    return tuple(fast(key, 2 * U32(high) + U32(odd), low) for odd in (0, 1))


def example_mask(generator, key, examples, weights, rate):
    """One mask of that many weights per example, (examples, weights).

    A weight is kept if its 16-bit number is less than (1 - rate) 2^16, rounded, but not
    to 0 or 2^16. Bit 15 - 2p of the numbers of examples 32g to 32g + 31, one bit per
    example, is the complement of the first word of the counter (8g + p, weight), and
    bit 14 - 2p of the second.
    """
    example, weight = np.arange(examples)[:, None], np.arange(weights)[None]
    number = np.zeros((examples, weights), int)
    for p in range(8):
        for word in pair(generator, key, 8 * (example // 32) + p, weight):
            number = 2 * number + (~word >> U32(example % 32) & U32(1))
    return number < min(max(round((1 - rate) * 2**16), 1), 2**16 - 1)


def subset(generator, key, rows, size, kept):
    """The positions of the smallest words of each row; the first of equal ones wins."""
    drawn = words(generator, key, np.arange(rows * size)).reshape(rows, size)
    return np.sort(np.argsort(drawn, axis=1, kind="stable")[:, :kept])


def derive(generator, key, data):
    """`jax.random.fold_in(key, data)`, which is also `split(key, n)[data]`."""
    halves = [key] if generator == THREEFRY else [key[:2], key[2:]]
    return [int(word[0]) for half in halves for word in threefry(half, 0, data)]


def seed(generator, number):
    """The key of a seed below 2^32."""
    root = [0, number]
    if generator == THREEFRY:
        return root
    return derive(THREEFRY, root, 0) + derive(THREEFRY, root, 1)


def leaf_key(generator, key, path):
    """The key of a leaf of a tree: two words of a hash of its path are folded in."""
    digest = hashlib.blake2b(path.encode(), digest_size=8).digest()
    for word in np.frombuffer(digest, "<u4"):
        key = derive(generator, key, word)
    return key
