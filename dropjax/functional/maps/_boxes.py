"""One box per example: the common part of cutout and random erasing."""

from collections.abc import Iterator, Sequence
from typing import ClassVar, Protocol

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int, Key, Num

from dropjax._apply import apply_mask, nan_where, redrawn
from dropjax._checks import check_batch, check_channel_fill, check_numbers
from dropjax._masks import draw_mask, mask_shape_along, prepare
from dropjax._types import Fill, KeyLike, RateLike
from dropjax.functional.maps._fill import filling


class Box(Protocol):
    """A distribution of boxes. Instances are hashable, so that jit compiles once."""

    numbers: ClassVar[int]
    """How many uniform numbers a box needs in addition to one per axis."""

    def spans(
        self, uniform: Float[Array, "numbers ..."], sizes: Sequence[int]
    ) -> Iterator[tuple[Int[Array, "..."], Int[Array, "..."]]]:
        """The first position and the position past the last, for each spatial axis."""


def place(
    uniform: Float[Array, "..."], places: int | Int[Array, "..."]
) -> Int[Array, "..."]:
    """Selects one of `places` positions, counted from 0, by a uniform number."""
    last = jnp.asarray(places, jnp.int32) - 1
    scaled = uniform * (last + 1).astype(jnp.float32)
    return jnp.clip(scaled.astype(jnp.int32), 0, jnp.maximum(last, 0))


def erase(
    key: KeyLike,
    x: Num[Array, "*shape"],
    rate: RateLike,
    box: Box,
    fill: Fill,
    *,
    spatial: tuple[int, ...],
    channel_axis: int,
    batch_axis: int | None,
    deterministic: bool,
) -> Num[Array, "*shape"]:
    """Fills one box in each example whose mask entry is False."""
    x = check_numbers(x)
    examples = _examples(x.shape, batch_axis)
    value = check_channel_fill(fill, x, channel_axis)
    key, keep, certain = prepare(
        key, rate, examples, deterministic=deterministic, draws_at_one=True
    )
    options = {"box": box, "spatial": spatial, "examples": examples}
    return x if certain else _erase(key, x, keep, value, **options)


def box_mask(
    key: KeyLike,
    shape: tuple[int, ...],
    rate: RateLike,
    box: Box,
    *,
    spatial: tuple[int, ...],
    batch_axis: int | None,
    deterministic: bool,
) -> Bool[Array, "..."]:
    """The mask that `erase` draws, with one channel."""
    examples = _examples(shape, batch_axis)
    maps = _maps(shape, spatial, examples)
    key, keep, certain = prepare(
        key, rate, examples, deterministic=deterministic, draws_at_one=True
    )
    options = {"box": box, "spatial": spatial, "examples": examples}
    return jnp.ones(maps, bool) if certain else _mask(key, keep, shape=maps, **options)


def _examples(shape: tuple[int, ...], batch_axis: int | None) -> tuple[int, ...]:
    return mask_shape_along(shape, check_batch(batch_axis, len(shape)))


def _maps(
    shape: tuple[int, ...], spatial: tuple[int, ...], examples: tuple[int, ...]
) -> tuple[int, ...]:
    """The shape with one channel: all positions of all examples."""
    sizes = enumerate(zip(shape, examples, strict=True))
    return tuple(size if axis in spatial else own for axis, (size, own) in sizes)


@redrawn("box", "spatial", "examples")
def _erase(
    key: Key[Array, ""],
    x: Num[Array, "*shape"],
    keep: Float[Array, "..."],
    fill: Num[Array, "..."] | None,
    *,
    box: Box,
    spatial: tuple[int, ...],
    examples: tuple[int, ...],
) -> Num[Array, "*shape"]:
    maps = _maps(x.shape, spatial, examples)
    mask = _draw(key, keep, shape=maps, box=box, spatial=spatial, examples=examples)
    return nan_where(keep, apply_mask(x, mask, fill=filling(key, x, fill)))


def _draw(
    key: Key[Array, ""],
    keep: Float[Array, "..."],
    *,
    shape: tuple[int, ...],
    box: Box,
    spatial: tuple[int, ...],
    examples: tuple[int, ...],
) -> Bool[Array, "*shape"]:
    mask_key, places = jax.random.split(key)
    outside = jnp.broadcast_to(draw_mask(mask_key, keep, examples, stored=True), shape)
    numbers = (box.numbers + len(spatial), *examples)
    uniform = jax.random.uniform(places, numbers, jnp.float32)
    spans = box.spans(uniform, [shape[axis] for axis in spatial])
    for axis, (start, stop) in zip(spatial, spans, strict=True):
        position = lax.broadcasted_iota(jnp.int32, shape, axis)
        outside = outside | (position < start) | (position >= stop)
    return outside


_mask = jax.jit(_draw, static_argnames=("shape", "box", "spatial", "examples"))
