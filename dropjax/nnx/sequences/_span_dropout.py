"""Span dropout: spans of steps, as in wav2vec 2.0."""

from typing import ClassVar

from flax import nnx
from jaxtyping import Array, Int, Num

from dropjax._checks import OF_SPANS
from dropjax._types import KeyLike, RateLike, SpanFill
from dropjax.functional.sequences import span_dropout
from dropjax.nnx._base import Drop, Rngs


class SpanDropout(Drop, nnx.Module):
    """`dropjax.span_dropout` as a layer.

    Args:
      rate: the share of the steps in spans, overlaps counted twice, in [0, 1].
      span_length: the number of steps of a span.
      min_spans: the least number of spans of an example.
      fill: the value that replaces dropped elements: a number, an array that
        broadcasts, or "mean".
      time_axis: the axis of the steps.
      batch_axis: the axis of the examples, or None if there is none.
      deterministic: if True, nothing is dropped.
      rng_collection: the name of the rng stream that provides PRNG keys.
      rngs: the source of PRNG keys; None if every call passes its own.

    Example:
      >>> import dropjax.nnx as djn
      >>> from flax import nnx
      >>> layer = djn.SpanDropout(0.05, rngs=nnx.Rngs(0))
      >>> x = jnp.ones((4, 200, 80))
      >>> y = layer(x)
      >>> assert ((y == 0).all(2).sum(1) == 10).all()
    """

    draws_at_one: ClassVar[bool] = True
    checks = OF_SPANS

    def __init__(
        self,
        rate: RateLike,
        *,
        span_length: int = 10,
        min_spans: int = 0,
        fill: SpanFill = 0.0,
        time_axis: int = -2,
        batch_axis: int | None = 0,
        deterministic: bool | None = False,
        rng_collection: str = "dropout",
        rngs: Rngs = None,
    ) -> None:
        self.span_length = span_length
        self.min_spans = min_spans
        self.fill = fill
        self.time_axis = time_axis
        self.batch_axis = batch_axis
        self._set_drop(rate, deterministic, rng_collection, rngs)

    def __call__(
        self,
        inputs: Num[Array, "*shape"],
        *,
        seq_lengths: Int[Array, "..."] | None = None,
        deterministic: bool | None = None,
        rngs: Rngs | KeyLike = None,
        rate: RateLike | None = None,
        fill: SpanFill | None = None,
    ) -> Num[Array, "*shape"]:
        """Replaces spans of steps.

        Args:
          inputs: an array of numbers, by default (batch, time, features).
          seq_lengths: the number of steps of each example that are not padding.
          deterministic: overrides the attribute.
          rngs: overrides the layer's rngs; may also be a PRNG key.
          rate: overrides the attribute; may be a traced value, such as a schedule's.
          fill: overrides the attribute; may be a parameter, such as a learned vector.

        Returns:
          An array with the shape and dtype of the inputs.
        """
        key, rate, deterministic = self._resolve(deterministic, rngs, rate)
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
