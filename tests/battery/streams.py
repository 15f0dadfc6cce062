"""Streams as masks use them: many short ones of related keys, and long ones."""

import functools
from collections.abc import Callable, Iterable, Iterator

import jax
import jax.numpy as jnp
import numpy as np

import dropjax as dj
from dropjax._random import random_words
from tests.battery import statistics

GENERATORS = {
    "threefry": "threefry2x32",
    "fast": dj.fast_prng,
    "rbg": "rbg",
}

Draw = Callable[..., np.ndarray]


@functools.partial(jax.jit, static_argnums=1)
def draw(keys: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """The words of each key, as a mask of that shape reads them."""
    return jax.lax.map(lambda key: random_words(key, shape), keys)


@functools.partial(jax.jit, static_argnums=(2, 3))
def draw_part(key: jax.Array, part: jax.Array, parts: int, size: int) -> jax.Array:
    """One of the parts of a mask too large to hold; no other is computed."""
    words = random_words(key, (parts, size))
    return jax.lax.dynamic_index_in_dim(words, part, keepdims=False)


def related_keys(impl: object) -> Iterator[tuple[str, jax.Array]]:
    """Batches of keys that people really use side by side."""
    root = jax.random.key(0, impl=impl)  # type: ignore[arg-type]
    fold = jax.vmap(jax.random.fold_in, (None, 0))
    steps = fold(root, jnp.arange(4))
    yield "seeds", jax.vmap(lambda seed: jax.random.key(seed, impl=impl))(jnp.arange(8))
    yield "split", jax.random.split(root, 8)
    yield "fold_in", fold(root, jnp.arange(8))
    yield "layers of steps", jax.vmap(fold, (0, None))(steps, jnp.arange(2)).reshape(-1)


def examine(
    draw: Draw, batches: Iterable[tuple[str, jax.Array]], side: int, keep: float
) -> statistics.PValues:
    """Every statistic over every batch; `draw(keys, shape)` gives each key's words."""
    threshold = np.uint32(np.ceil(np.float32(keep) * 2.0**23))
    together = []
    for relation, keys in batches:
        words = np.asarray(draw(keys, (side, side)))
        masks = words >> 9 < threshold
        together.append(masks)
        for name, p in _one_relation(words, masks, keep):
            yield f"{relation}: {name}", p
    yield from statistics.share(np.stack(together), keep)


def _one_relation(
    words: np.ndarray, masks: np.ndarray, keep: float
) -> statistics.PValues:
    yield from statistics.serial(masks, keep)
    yield from statistics.bits(words)
    yield from statistics.ranks(words)
    yield from statistics.gaps(words)
    for width in (8, 12):
        yield from statistics.blocks(masks, keep, width)
        yield from statistics.blocks(masks.swapaxes(1, 2), keep, width)
    for second in range(1, len(masks)):
        first, pair = second - 1, f"of {second - 1} and {second}"
        for name, p in statistics.cross(masks[first], masks[second], keep):
            yield f"{name} {pair}", p
        for name, p in statistics.shared_words(words[first], words[second]):
            yield f"{name} {pair}", p
