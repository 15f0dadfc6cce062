"""SpecAugment: spans of time and bands of frequency."""

from typing import ClassVar

from flax import nnx
from jaxtyping import Array, Int, Num

from dropjax._checks import OF_SPANS
from dropjax._types import KeyLike, RateLike, SpanFill
from dropjax.functional.sequences import spec_augment
from dropjax.nnx._base import Drop, Rngs


class SpecAugment(Drop, nnx.Module):
    """`dropjax.spec_augment` as a layer.

    Args:
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
      deterministic: if True, nothing is masked.
      rng_collection: the name of the rng stream that provides PRNG keys.
      rngs: the source of PRNG keys; None if every call passes its own.

    Example:
      >>> import dropjax.nnx as djn
      >>> from flax import nnx
      >>> layer = djn.SpecAugment(1.0, frequency_masks=0, rngs=nnx.Rngs(0))
      >>> x = jnp.ones((4, 200, 80))
      >>> y = layer(x)
      >>> assert jnp.array_equal(y, jnp.broadcast_to(y[..., :1], x.shape))
    """

    draws_at_one: ClassVar[bool] = True
    checks = OF_SPANS

    def __init__(
        self,
        rate: RateLike,
        *,
        time_masks: int = 2,
        time_width: int = 100,
        time_share: float = 1.0,
        frequency_masks: int = 2,
        frequency_width: int = 27,
        fill: SpanFill = 0.0,
        time_axis: int = -2,
        frequency_axis: int = -1,
        batch_axis: int | None = 0,
        deterministic: bool | None = False,
        rng_collection: str = "dropout",
        rngs: Rngs = None,
    ) -> None:
        self.time_masks = time_masks
        self.time_width = time_width
        self.time_share = time_share
        self.frequency_masks = frequency_masks
        self.frequency_width = frequency_width
        self.fill = fill
        self.time_axis = time_axis
        self.frequency_axis = frequency_axis
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
        """Masks spans of time and bands of frequency.

        Args:
          inputs: an array of numbers, by default (batch, time, frequency).
          seq_lengths: the number of steps of each example that are not padding.
          deterministic: overrides the attribute.
          rngs: overrides the layer's rngs; may also be a PRNG key.
          rate: overrides the attribute; may be a traced value, such as a schedule's.
          fill: overrides the attribute; may be a parameter, such as a learned vector.

        Returns:
          An array with the shape and dtype of the inputs.
        """
        key, rate, deterministic = self._resolve(deterministic, rngs, rate)
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
