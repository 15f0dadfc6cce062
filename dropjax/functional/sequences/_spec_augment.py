"""SpecAugment: masks spans of time and bands of frequency."""

from collections.abc import Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int, Int32, Key, Num

from dropjax._checks import (
    check_count,
    check_frequency_axis,
    check_numbers,
    check_shape,
    check_share,
)
from dropjax._masks import draw_mask, mask_shape_along
from dropjax._types import KeyLike, RateLike, SpanFill
from dropjax.functional.maps._boxes import place
from dropjax.functional.sequences._spans import (
    Spans,
    replace_spans,
    spans_mask,
    time_and_batch,
)


def spec_augment(
    key: KeyLike,
    x: Num[Array, "*shape"],
    rate: RateLike,
    *,
    time_masks: int = 2,
    time_width: int = 100,
    time_share: float = 1.0,
    frequency_masks: int = 2,
    frequency_width: int = 27,
    seq_lengths: Int[Array, "..."] | None = None,
    fill: SpanFill = 0.0,
    time_axis: int = -2,
    frequency_axis: int = -1,
    batch_axis: int | None = 0,
    deterministic: bool = False,
) -> Num[Array, "*shape"]:
    r"""Masks spans of time and bands of frequency of spectrograms.

    $$y_{ntf} = \text{where}\left(m_n \lor (t \notin \cup_i T_{ni} \land
        f \notin \cup_j F_{nj}), x_{ntf}, fill\right)$$

    in example n, step t and frequency f, with
    $m_n \sim \text{Bernoulli}(1 - rate)$. A span $T_{ni}$ has a width w that is uniform
    in $\{0, ..., \min(time\_width, \lfloor time\_share \, L_n \rfloor)\}$ and a start
    that is uniform in $\{0, ..., L_n - w\}$, for $L_n$ steps; a band $F_{nj}$ likewise
    has a width of 0 to `frequency_width`. Spans and bands of an example are
    independent, and may overlap. Nothing is scaled. The paper masks every example (a
    rate of 1), whose values have a mean of 0. With `frequency_masks=0` this is time
    masking alone, and with `time_masks=0` frequency masking.

    The defaults are the paper's policy "LibriSpeech double", without time warping. The
    paper's other policies are, as (time_masks, time_width, time_share, frequency_masks,
    frequency_width): "LibriSpeech basic" (1, 100, 1, 1, 27), "Switchboard mild"
    (2, 70, 0.2, 2, 15) and "Switchboard strong" (2, 70, 0.2, 2, 27).

    In torchaudio, widths and starts are real numbers rounded down, so that a mask never
    has the largest width, and the last step and the last frequency are never masked.

    Args:
      key: a typed or raw PRNG key. It may be None if nothing is drawn.
      x: an array of numbers, by default (batch, time, frequency).
      rate: the probability that an example is masked, in [0, 1], a number or an array
        that broadcasts to the shape of one value per example, which has size 1 except
        along the batch axis.
      time_masks: the number of spans of time, a non-negative integer.
      time_width: the largest width of such a span, a non-negative integer.
      time_share: the largest width as a share of the steps of an example, in [0, 1].
      frequency_masks: the number of bands of frequency, a non-negative integer.
      frequency_width: the largest width of such a band, a non-negative integer.
      seq_lengths: the number of steps of each example that are not padding, integers of
        shape (batch,), or a scalar if there is no batch; None if all are of the size of
        the time axis. Spans of time lie within these steps.
      fill: the value that replaces masked elements: a number, an array of x's dtype
        that broadcasts to the shape of x, such as a learned vector, which gets its
        gradient, or "mean" for the mean of the example without its padding.
      time_axis: the axis of the steps.
      frequency_axis: the axis of the frequencies.
      batch_axis: the axis of the examples, or None if there is none. All further axes,
        such as channels, are masked at the same places.
      deterministic: if True, nothing is masked.

    Returns:
      An array of x's shape and dtype; x itself if there is nothing to do.

    Raises:
      ValueError: the rate or time_share is outside [0, 1], a number or a width is
        negative, an axis is out of range or repeated, seq_lengths or fill has a wrong
        shape, or the key is missing.
      TypeError: x is not an array of numbers, or an argument has the wrong type.

    Example:
      >>> x = jnp.ones((16, 400, 80))
      >>> y = spec_augment(key, x, 1.0, time_masks=1, frequency_masks=0)
      >>> assert jnp.array_equal(y, jnp.broadcast_to(y[..., :1], x.shape))
      >>> assert (y[..., 0] == 0).sum(1).max() <= 100

    References:
      Park, Chan, Zhang, Chiu, Zoph, Cubuk and Le, 2019, "SpecAugment: a simple data
      augmentation method for automatic speech recognition", Interspeech. Park, Zhang,
      Chiu, Chen, Li, Chan, Le and Wu, 2020, "SpecAugment on large scale datasets",
      ICASSP, for widths in proportion to the length: `time_share` with a `time_width`
      of any size.
    """
    x = check_numbers(x)
    spans = _policy(
        x.ndim,
        (time_masks, time_width, time_share),
        (frequency_masks, frequency_width),
        (time_axis, frequency_axis, batch_axis),
    )
    return replace_spans(
        key, x, rate, spans, fill, seq_lengths, deterministic=deterministic
    )


def spec_augment_mask(
    key: KeyLike,
    shape: Sequence[int],
    rate: RateLike,
    *,
    time_masks: int = 2,
    time_width: int = 100,
    time_share: float = 1.0,
    frequency_masks: int = 2,
    frequency_width: int = 27,
    seq_lengths: Int[Array, "..."] | None = None,
    time_axis: int = -2,
    frequency_axis: int = -1,
    batch_axis: int | None = 0,
    deterministic: bool = False,
) -> Bool[Array, "..."]:
    """The mask that `spec_augment` draws for an array of this shape.

    Args:
      key: a typed or raw PRNG key. It may be None if nothing is drawn.
      shape: the shape of the array to be masked.
      rate: the probability that an example is masked, in [0, 1], a number or an array.
      time_masks: the number of spans of time, a non-negative integer.
      time_width: the largest width of such a span, a non-negative integer.
      time_share: the largest width as a share of the steps of an example, in [0, 1].
      frequency_masks: the number of bands of frequency, a non-negative integer.
      frequency_width: the largest width of such a band, a non-negative integer.
      seq_lengths: the number of steps of each example, or None.
      time_axis: the axis of the steps.
      frequency_axis: the axis of the frequencies.
      batch_axis: the axis of the examples, or None if there is none.
      deterministic: if True, the mask is all True.

    Returns:
      A boolean array, True where an element is kept, of size 1 along all axes but those
      of time, frequency and batch.

    Raises:
      ValueError: as for `spec_augment`.
      TypeError: as for `spec_augment`.

    Example:
      >>> mask = spec_augment_mask(key, (16, 400, 80), 1.0, time_masks=0)
      >>> assert mask.shape == (16, 400, 80)
      >>> assert jnp.array_equal(mask, jnp.broadcast_to(mask[:, :1], mask.shape))
    """
    shape = check_shape(shape)
    spans = _policy(
        len(shape),
        (time_masks, time_width, time_share),
        (frequency_masks, frequency_width),
        (time_axis, frequency_axis, batch_axis),
    )
    return spans_mask(key, shape, rate, spans, seq_lengths, deterministic=deterministic)


def _policy(
    ndim: int,
    in_time: tuple[int, int, float],
    in_frequency: tuple[int, int],
    axes: tuple[int, int, int | None],
) -> "_Policy":
    time_axis, frequency_axis, batch_axis = axes
    time, batch = time_and_batch(ndim, time_axis, batch_axis)
    return _Policy(
        time,
        batch,
        check_count(in_time[0], "time_masks", 0),
        check_count(in_time[1], "time_width", 0),
        check_share(in_time[2], "time_share"),
        check_frequency_axis(frequency_axis, (time, *batch), ndim),
        check_count(in_frequency[0], "frequency_masks", 0),
        check_count(in_frequency[1], "frequency_width", 0),
    )


@dataclass(frozen=True)
class _Policy(Spans):
    """Spans and bands of uniform widths at uniform places."""

    time_masks: int
    time_width: int
    time_share: float
    frequency: int
    frequency_masks: int
    frequency_width: int

    @property
    def axes(self) -> tuple[int, ...]:
        return (self.time, self.frequency, *self.batch)

    def draw(
        self,
        key: Key[Array, ""],
        keep: Float[Array, "..."],
        steps: Int32[Array, "..."],
        shape: tuple[int, ...],
    ) -> Bool[Array, "..."]:
        mask_key, places = jax.random.split(key)
        examples = mask_shape_along(shape, self.batch)
        numbers = (2, self.time_masks + self.frequency_masks, *examples)
        uniform = jax.random.uniform(places, numbers, jnp.float32)
        share = np.float32(self.time_share) * steps.astype(jnp.float32)
        widest = jnp.minimum(jnp.int32(self.time_width), share.astype(jnp.int32))
        bins = jnp.asarray(shape[self.frequency], jnp.int32)
        broadest = jnp.minimum(jnp.int32(self.frequency_width), bins)
        outside = draw_mask(mask_key, keep, examples, stored=True)
        in_time, in_frequency = jnp.split(uniform, [self.time_masks], 1)
        apart = self._apart(in_time, steps, widest, self.time, shape)
        distant = self._apart(in_frequency, bins, broadest, self.frequency, shape)
        return outside | (apart & distant)

    def _apart(
        self,
        uniform: Float[Array, "2 masks ..."],
        size: Int32[Array, "..."],
        widest: Int32[Array, "..."],
        axis: int,
        shape: tuple[int, ...],
    ) -> Bool[Array, "..."]:
        """Where a position along the axis lies in none of the spans."""
        rank = len(shape) + 1
        size, widest = (lax.broadcast_to_rank(it, rank) for it in (size, widest))
        width = place(uniform[0], widest + 1)
        start = place(uniform[1], size - width + 1)
        own = mask_shape_along(shape, (axis, *self.batch))
        position = lax.broadcasted_iota(jnp.int32, (len(width), *own), axis + 1)
        return ~((position >= start) & (position < start + width)).any(0)
