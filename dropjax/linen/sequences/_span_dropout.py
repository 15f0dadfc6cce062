"""Span dropout: spans of steps, as in wav2vec 2.0."""

from typing import ClassVar

import flax.linen as nn
from jaxtyping import Array, Int, Num

from dropjax._checks import OF_SPANS
from dropjax._types import KeyLike, RateLike, SpanFill
from dropjax.functional.sequences import span_dropout
from dropjax.linen._base import Drop, resolve


class SpanDropout(Drop):
    """`dropjax.span_dropout` as a layer.

    Attributes:
      rate: the share of the steps in spans, overlaps counted twice, in [0, 1].
      span_length: the number of steps of a span.
      min_spans: the least number of spans of an example.
      fill: the value that replaces dropped elements: a number, an array that
        broadcasts, or "mean".
      time_axis: the axis of the steps.
      batch_axis: the axis of the examples, or None if there is none.
      deterministic: if True, nothing is dropped. Set it here or pass it in the call.
      rng_collection: the name of the rng collection that provides PRNG keys.

    Example:
      >>> import dropjax.linen as djl
      >>> layer, x = djl.SpanDropout(0.05), jnp.ones((4, 200, 80))
      >>> y = layer.apply({}, x, deterministic=False, rngs={"dropout": key})
      >>> assert ((y == 0).all(2).sum(1) == 10).all()
    """

    rate: RateLike
    span_length: int = 10
    min_spans: int = 0
    fill: SpanFill = 0.0
    time_axis: int = -2
    batch_axis: int | None = 0
    deterministic: bool | None = None
    rng_collection: str = "dropout"

    draws_at_one: ClassVar[bool] = True
    checks = OF_SPANS

    @nn.compact
    def __call__(
        self,
        inputs: Num[Array, "*shape"],
        deterministic: bool | None = None,
        rng: KeyLike = None,
        *,
        seq_lengths: Int[Array, "..."] | None = None,
        rate: RateLike | None = None,
        fill: SpanFill | None = None,
    ) -> Num[Array, "*shape"]:
        """Replaces spans of steps.

        Args:
          inputs: an array of numbers, by default (batch, time, features).
          deterministic: if True, nothing is dropped.
          rng: a PRNG key to use instead of one from the collection.
          seq_lengths: the number of steps of each example that are not padding.
          rate: overrides the attribute; may be a traced value, such as a schedule's.
          fill: overrides the attribute; may be a parameter, such as a learned vector.

        Returns:
          An array with the shape and dtype of the inputs.
        """
        key, rate, deterministic = resolve(self, rng, rate, deterministic)
        return span_dropout(
            key,
            inputs,
            rate,
            seq_lengths=seq_lengths,
            fill=self.fill if fill is None else fill,
            span_length=self.span_length,
            min_spans=self.min_spans,
            time_axis=self.time_axis,
            batch_axis=self.batch_axis,
            deterministic=deterministic,
        )
