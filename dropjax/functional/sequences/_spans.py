"""Spans of a sequence: the common part of SpecAugment and span dropout."""

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int, Int32, Key, Num

from dropjax._apply import apply_mask, nan_where, redrawn, widened
from dropjax._checks import (
    check_channel_and_batch,
    check_lengths,
    check_span_fill,
)
from dropjax._masks import Draw, mask_shape_along, prepare
from dropjax._types import KeyLike, RateLike, SpanFill


@dataclass(frozen=True)
class Spans:
    """A distribution of spans; hashable, so that jit compiles once.

    Attributes:
      time: the axis of the steps.
      batch: the axis of the examples, if any.
    """

    time: int
    batch: tuple[int, ...]

    @property
    def axes(self) -> tuple[int, ...]:
        """The axes along which the mask varies."""
        return (self.time, *self.batch)

    def draw(
        self,
        key: Key[Array, ""],
        keep: Float[Array, "..."],
        steps: Int32[Array, "..."],
        shape: tuple[int, ...],
    ) -> Bool[Array, "..."]:
        """A mask for this many steps per example, of size 1 along all other axes."""
        raise NotImplementedError


def time_and_batch(
    ndim: int, time_axis: int, batch_axis: int | None
) -> tuple[int, tuple[int, ...]]:
    """The axes of the steps and, if any, of the examples."""
    time, *batch = check_channel_and_batch(time_axis, batch_axis, ndim, "time_axis")
    return time, tuple(batch)


def replace_spans(
    key: KeyLike,
    x: Num[Array, "*shape"],
    rate: RateLike,
    spans: Spans,
    fill: SpanFill,
    seq_lengths: Int[Array, "..."] | None,
    *,
    deterministic: bool,
) -> Num[Array, "*shape"]:
    """Replaces the spans that are drawn for each example."""
    value = check_span_fill(fill, x)
    lengths = _lengths(seq_lengths, x.shape, spans)
    key, keep, certain = _prepare(key, rate, x.shape, spans, deterministic)
    if certain:
        return x
    if value is None:
        value = _means(jnp.asarray(x), lengths, spans=spans)
    return _replace(key, x, keep, lengths, value, spans=spans)


def spans_mask(
    key: KeyLike,
    shape: Sequence[int],
    rate: RateLike,
    spans: Spans,
    seq_lengths: Int[Array, "..."] | None,
    *,
    deterministic: bool,
) -> Bool[Array, "..."]:
    """The mask that `replace_spans` draws."""
    shape = tuple(shape)
    lengths = _lengths(seq_lengths, shape, spans)
    key, keep, certain = _prepare(key, rate, shape, spans, deterministic)
    if certain:
        return jnp.ones(mask_shape_along(shape, spans.axes), bool)
    return _draw(key, keep, lengths, spans=spans, shape=shape)


def _prepare(
    key: KeyLike,
    rate: RateLike,
    shape: tuple[int, ...],
    spans: Spans,
    deterministic: bool,
) -> Draw:
    """One rate per example; at a rate of 1, too, spans are drawn."""
    return prepare(
        key,
        rate,
        mask_shape_along(shape, spans.batch),
        deterministic=deterministic,
        draws_at_one=True,
    )


def _lengths(
    seq_lengths: Int[Array, "..."] | None, shape: tuple[int, ...], spans: Spans
) -> Int32[Array, "..."] | None:
    batch = tuple(shape[axis] for axis in spans.batch)
    lengths = check_lengths(seq_lengths, batch, "seq_lengths")
    if lengths is None:
        return None
    return lengths.reshape(mask_shape_along(shape, spans.batch))


def _steps(
    lengths: Int32[Array, "..."] | None, shape: tuple[int, ...], spans: Spans
) -> Int32[Array, "..."]:
    size = jnp.asarray(shape[spans.time], jnp.int32)
    if lengths is None:
        return jnp.broadcast_to(size, mask_shape_along(shape, spans.batch))
    return jnp.clip(lengths, 0, size)


@redrawn("spans")
def _replace(
    key: Key[Array, ""],
    x: Num[Array, "*shape"],
    keep: Float[Array, "..."],
    lengths: Int32[Array, "..."] | None,
    fill: Num[Array, "..."],
    *,
    spans: Spans,
) -> Num[Array, "*shape"]:
    mask = spans.draw(key, keep, _steps(lengths, x.shape, spans), x.shape)
    return nan_where(keep, apply_mask(x, mask, fill=fill))


@functools.partial(jax.jit, static_argnames=("spans", "shape"))
def _draw(
    key: Key[Array, ""],
    keep: Float[Array, "..."],
    lengths: Int32[Array, "..."] | None,
    *,
    spans: Spans,
    shape: tuple[int, ...],
) -> Bool[Array, "..."]:
    return spans.draw(key, keep, _steps(lengths, shape, spans), shape)


@functools.partial(jax.jit, static_argnames="spans")
def _means(
    x: Num[Array, "*shape"], lengths: Int32[Array, "..."] | None, *, spans: Spans
) -> Num[Array, "..."]:
    """The mean of each example, padding excluded."""
    own = (spans.time, *spans.batch)
    others = tuple(axis for axis in range(x.ndim) if axis not in own)
    # Sums over features first: the backward pass then saves a small mask.
    sums = widened(x).sum(others, keepdims=True)
    steps = _steps(lengths, x.shape, spans)
    position = lax.broadcasted_iota(jnp.int32, sums.shape, spans.time)
    total = jnp.where(position < steps, sums, 0).sum(spans.time, keepdims=True)
    features = math.prod(x.shape[axis] for axis in others)
    count = steps * jnp.asarray(features, jnp.int32)
    return (total / jnp.maximum(count, 1).astype(total.dtype)).astype(x.dtype)
