"""Draws subsets of a fixed size, as sorted indices along an axis."""

import jax.numpy as jnp
from jaxtyping import Array, Int32, Key

from dropjax._random import random_words


def kept_count(n: int, rate: float) -> int:
    """How many of n are kept: at least one of them, unless the rate is 1.

    Rounds to the nearest integer, because `int(100 * (1 - 0.9))` is 9.
    """
    return max(round(n * (1 - rate)), int(rate < 1 and n > 0))


def kept_indices(
    key: Key[Array, ""], size: int, kept: int, groups: int = 1
) -> Int32[Array, "kept"]:
    """The sorted indices of a random subset of an axis of the given size.

    The axis is split into `groups` equal parts, and the same number of indices is drawn
    independently in each of them: both `size` and `kept` are multiples of `groups`.
    """
    part = size // groups
    indices = smallest(key, (groups, part), kept // groups)
    starts = jnp.arange(groups, dtype=jnp.int32)[:, None] * jnp.int32(part)
    return (indices + starts).reshape(kept)


def smallest(
    key: Key[Array, ""], shape: tuple[int, ...], kept: int, *, ordered: bool = True
) -> Int32[Array, "*batch kept"]:
    """The positions of the `kept` smallest of each row of random words.

    In each row every subset of this size is equally likely. The positions are sorted,
    or in random order unless `ordered`.
    """
    places = jnp.argsort(random_words(key, shape, stored=True), axis=-1)
    places = places[..., :kept].astype(jnp.int32)
    return jnp.sort(places, axis=-1) if ordered else places
