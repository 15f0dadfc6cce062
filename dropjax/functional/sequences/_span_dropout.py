"""Span dropout: masks spans of equal length, as wav2vec 2.0 does."""

from collections.abc import Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int, Int32, Key, Num

from dropjax._checks import check_count, check_numbers, check_shape, check_span_fits
from dropjax._masks import mask_shape_along
from dropjax._random import Word, random_uniform, random_words
from dropjax._types import KeyLike, RateLike, SpanFill
from dropjax.functional.sequences._spans import (
    Spans,
    replace_spans,
    spans_mask,
    time_and_batch,
)


def span_dropout(
    key: KeyLike,
    x: Num[Array, "*shape"],
    rate: RateLike,
    *,
    span_length: int = 10,
    min_spans: int = 0,
    seq_lengths: Int[Array, "..."] | None = None,
    fill: SpanFill = 0.0,
    time_axis: int = -2,
    batch_axis: int | None = 0,
    deterministic: bool = False,
) -> Num[Array, "*shape"]:
    r"""Replaces spans of steps, at distinct random starts, in each example.

    $$y_{ntc} = \text{where}(t \notin \cup_{s \in S_n} \{s, ..., s + M - 1\},
        x_{ntc}, fill), \qquad
      |S_n| = \lfloor rate \, L_n / M + u_n \rfloor, \quad u_n \sim U(0, 1)$$

    in example n, step t and feature c, with spans of M steps and $L_n$ steps in all.
    The starts $S_n$ are a uniform subset of $\{0, ..., L_n - M\}$, so that spans lie
    within the example. They may overlap: the rate is the share of steps that would be
    replaced if they did not, and the actual share is about $1 - e^{-rate}$. Nothing is
    scaled. The paper replaces the steps by a learned vector, which `fill` may be, in
    pretraining, and uses the method as SpecAugment in fine-tuning. Its probability p
    that a step starts a span is `rate / span_length`: 0.065 is a rate of 0.65.

    In transformers, the names are `mask_time_prob`, `mask_time_length` and
    `mask_time_min_masks`, which is 2 by default, and with `time_axis=-1`
    `mask_feature_prob` and so on. There, all examples share one $u$, and the number of
    spans is limited by the padded length, here by that of the example: it is at most
    $L_n / M$, and an example of fewer than M steps is not changed.

    Args:
      key: a typed or raw PRNG key. It may be None if nothing is drawn.
      x: an array of numbers, by default (batch, time, features).
      rate: the share of the steps in spans, overlaps counted twice, in [0, 1], a number
        or an array that broadcasts to the shape of one value per example, which has
        size 1 except along the batch axis.
      span_length: M, the number of steps of a span, a positive integer.
      min_spans: the least number of spans of an example that is long enough for them,
        for any rate above 0.
      seq_lengths: the number of steps of each example that are not padding, integers of
        shape (batch,), or a scalar if there is no batch; None if all are of the size of
        the time axis.
      fill: the value that replaces dropped elements: a number, an array of x's dtype
        that broadcasts to the shape of x, such as a learned vector, which gets its
        gradient, or "mean" for the mean of the example without its padding.
      time_axis: the axis of the steps.
      batch_axis: the axis of the examples, or None if there is none. All further axes
        are masked at the same places.
      deterministic: if True, nothing is dropped.

    Returns:
      An array of x's shape and dtype; x itself if there is nothing to do.

    Raises:
      ValueError: the rate is outside [0, 1], span_length is not positive or larger than
        the time axis, min_spans is negative, an axis is out of range or repeated,
        seq_lengths or fill has a wrong shape, or the key is missing.
      TypeError: x is not an array of numbers, or an argument has the wrong type.

    Example:
      >>> x, learned = jnp.ones((16, 400, 8)), jnp.arange(8.0) - 9
      >>> y = span_dropout(key, x, 0.65, fill=learned)
      >>> mask = span_dropout_mask(key, x.shape, 0.65)
      >>> assert jnp.array_equal(y, jnp.where(mask, x, learned[None, None]))
      >>> assert 0.4 < (~mask).mean() < 0.55

    References:
      Baevski, Zhou, Mohamed and Auli, 2020, "wav2vec 2.0: a framework for
      self-supervised learning of speech representations", NeurIPS.
    """
    x = check_numbers(x)
    spans = _spans(x.shape, span_length, min_spans, time_axis, batch_axis)
    return replace_spans(
        key, x, rate, spans, fill, seq_lengths, deterministic=deterministic
    )


def span_dropout_mask(
    key: KeyLike,
    shape: Sequence[int],
    rate: RateLike,
    *,
    span_length: int = 10,
    min_spans: int = 0,
    seq_lengths: Int[Array, "..."] | None = None,
    time_axis: int = -2,
    batch_axis: int | None = 0,
    deterministic: bool = False,
) -> Bool[Array, "..."]:
    """The mask that `span_dropout` draws for an array of this shape.

    Args:
      key: a typed or raw PRNG key. It may be None if nothing is drawn.
      shape: the shape of the array to be masked.
      rate: the share of the steps in spans, in [0, 1], a number or an array.
      span_length: the number of steps of a span, a positive integer.
      min_spans: the least number of spans of an example.
      seq_lengths: the number of steps of each example, or None.
      time_axis: the axis of the steps.
      batch_axis: the axis of the examples, or None if there is none.
      deterministic: if True, the mask is all True.

    Returns:
      A boolean array, True where an element is kept, of size 1 along all axes but those
      of time and batch.

    Raises:
      ValueError: as for `span_dropout`.
      TypeError: as for `span_dropout`.

    Example:
      >>> mask = span_dropout_mask(key, (16, 400, 8), 0.025)
      >>> assert mask.shape == (16, 400, 1)
      >>> assert ((~mask).sum(1) == 10).all()
    """
    shape = check_shape(shape)
    spans = _spans(shape, span_length, min_spans, time_axis, batch_axis)
    return spans_mask(key, shape, rate, spans, seq_lengths, deterministic=deterministic)


def _spans(
    shape: tuple[int, ...],
    span_length: int,
    min_spans: int,
    time_axis: int,
    batch_axis: int | None,
) -> "_Equal":
    time, batch = time_and_batch(len(shape), time_axis, batch_axis)
    length = check_span_fits(check_count(span_length, "span_length"), shape[time])
    return _Equal(time, batch, length, check_count(min_spans, "min_spans", 0))


@dataclass(frozen=True)
class _Equal(Spans):
    """Spans of one length at distinct starts."""

    length: int
    least: int

    def draw(
        self,
        key: Key[Array, ""],
        keep: Float[Array, "..."],
        steps: Int32[Array, "..."],
        shape: tuple[int, ...],
    ) -> Bool[Array, "..."]:
        of_number, of_starts = jax.random.split(key)
        number = self._number(of_number, keep, steps)
        own = mask_shape_along(shape, self.axes)
        starts = lax.broadcasted_iota(jnp.int32, own, self.time)
        # Starts that are too late come last, whatever their words.
        words = random_words(of_starts, own, stored=True) >> np.uint32(1)
        words = jnp.where(starts + self.length <= steps, words, np.uint32(2**31))
        passed = _running(_are_smallest(words, number, self.time), self.time)
        shift = [(0, 0, 0)] * len(shape)
        shift[self.time] = (self.length, -self.length, 0)
        return passed == lax.pad(passed, np.int32(0), shift)

    def _number(
        self,
        key: Key[Array, ""],
        keep: Float[Array, "..."],
        steps: Int32[Array, "..."],
    ) -> Int32[Array, "..."]:
        """How many spans each example has."""
        keep = lax.broadcast_to_rank(jnp.asarray(keep, jnp.float32), steps.ndim)
        expected = (1 - keep) * (steps.astype(jnp.float32) / np.float32(self.length))
        whole = jnp.floor(expected)
        more = random_uniform(key, steps.shape, stored=True) < expected - whole
        number = whole.astype(jnp.int32) + more.astype(jnp.int32)
        number = jnp.where(keep < 1, jnp.maximum(number, jnp.int32(self.least)), 0)
        return jnp.minimum(number, steps // jnp.int32(self.length))


def _are_smallest(
    words: Word, number: Int32[Array, "..."], axis: int
) -> Bool[Array, "..."]:
    """Where the `number` smallest words are; among equal ones, the first.

    One sort of the words takes a fraction of the time of sorting indices by them.
    """
    last = jnp.maximum(number - 1, 0)
    limit = jnp.take_along_axis(jnp.sort(words, axis), last, axis)
    below, equal = words < limit, words == limit
    room = number - below.sum(axis, keepdims=True, dtype=jnp.int32)
    return below | (equal & (_running(equal, axis) <= room))


def _running(flags: Bool[Array, "..."], axis: int) -> Int32[Array, "..."]:
    """How many flags are set up to each position."""
    return jnp.cumsum(flags.astype(jnp.int32), axis, dtype=jnp.int32)
