"""SpecAugment: spans of time and bands of frequency."""

from typing import ClassVar

import flax.linen as nn
from jaxtyping import Array, Int, Num

from dropjax._checks import OF_SPANS
from dropjax._types import KeyLike, RateLike, SpanFill
from dropjax.functional.sequences import spec_augment
from dropjax.linen._base import Drop, resolve


class SpecAugment(Drop):
    """`dropjax.spec_augment` as a layer.

    Attributes:
      rate: the probability that an example is masked, in [0, 1].
      time_masks: the number of spans of time.
      time_width: the largest width of such a span.
      time_share: the largest width as a share of the steps of an example, in [0, 1].
      frequency_masks: the number of bands of frequency.
      frequency_width: the largest width of such a band.
      fill: the value that replaces masked elements: a number, an array that
        broadcasts, or "mean".
      time_axis: the axis of the steps.
      frequency_axis: the axis of the frequencies.
      batch_axis: the axis of the examples, or None if there is none.
      deterministic: if True, nothing is masked. Set it here or pass it in the call.
      rng_collection: the name of the rng collection that provides PRNG keys.

    Example:
      >>> import dropjax.linen as djl
      >>> layer, x = djl.SpecAugment(1.0, frequency_masks=0), jnp.ones((4, 200, 80))
      >>> y = layer.apply({}, x, deterministic=False, rngs={"dropout": key})
      >>> assert jnp.array_equal(y, jnp.broadcast_to(y[..., :1], x.shape))
    """

    rate: RateLike
    time_masks: int = 2
    time_width: int = 100
    time_share: float = 1.0
    frequency_masks: int = 2
    frequency_width: int = 27
    fill: SpanFill = 0.0
    time_axis: int = -2
    frequency_axis: int = -1
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
        """Masks spans of time and bands of frequency.

        Args:
          inputs: an array of numbers, by default (batch, time, frequency).
          deterministic: if True, nothing is masked.
          rng: a PRNG key to use instead of one from the collection.
          seq_lengths: the number of steps of each example that are not padding.
          rate: overrides the attribute; may be a traced value, such as a schedule's.
          fill: overrides the attribute; may be a parameter, such as a learned vector.

        Returns:
          An array with the shape and dtype of the inputs.
        """
        key, rate, deterministic = resolve(self, rng, rate, deterministic)
        return spec_augment(
            key,
            inputs,
            rate,
            seq_lengths=seq_lengths,
            fill=self.fill if fill is None else fill,
            time_masks=self.time_masks,
            time_width=self.time_width,
            time_share=self.time_share,
            frequency_masks=self.frequency_masks,
            frequency_width=self.frequency_width,
            time_axis=self.time_axis,
            frequency_axis=self.frequency_axis,
            batch_axis=self.batch_axis,
            deterministic=deterministic,
        )
