"""Cutout: a square of each example."""

from collections.abc import Sequence
from typing import ClassVar

import flax.linen as nn
from jaxtyping import Array, Num

from dropjax._types import Fill, KeyLike, RateLike
from dropjax.functional.maps import cutout
from dropjax.linen._base import Drop, resolve


class Cutout(Drop):
    """`dropjax.cutout` as a layer, for images or any number of spatial axes.

    Attributes:
      rate: the probability that an example is cut, in [0, 1].
      size: the side length of the square, or one for each spatial axis.
      fill: the value that replaces dropped elements: a number, one for each channel, an
        array that broadcasts, or "random".
      inside: if True, the square lies entirely inside the map.
      channel_axis: the axis of the channels, which are all cut at the same place.
      batch_axis: the axis of the examples, or None if there is none.
      deterministic: if True, nothing is dropped. Set it here or pass it in the call.
      rng_collection: the name of the rng collection that provides PRNG keys.

    Example:
      >>> import dropjax.linen as djl
      >>> layer, x = djl.Cutout(1.0, size=8, inside=True), jnp.ones((4, 32, 32, 3))
      >>> y = layer.apply({}, x, deterministic=False, rngs={"dropout": key})
      >>> assert ((y == 0).sum((1, 2, 3)) == 8 * 8 * 3).all()
    """

    rate: RateLike
    size: int | Sequence[int]
    fill: Fill = 0.0
    inside: bool = False
    channel_axis: int = -1
    batch_axis: int | None = 0
    deterministic: bool | None = None
    rng_collection: str = "dropout"

    draws_at_one: ClassVar[bool] = True

    @nn.compact
    def __call__(
        self,
        inputs: Num[Array, "*shape"],
        deterministic: bool | None = None,
        rng: KeyLike = None,
        *,
        rate: RateLike | None = None,
    ) -> Num[Array, "*shape"]:
        """Cuts a square out of each example.

        Args:
          inputs: an array of numbers, by default (batch, *spatial, channels).
          deterministic: if True, nothing is dropped.
          rng: a PRNG key to use instead of one from the collection.
          rate: overrides the attribute; may be a traced value, such as a schedule's.

        Returns:
          An array with the shape and dtype of the inputs.
        """
        key, rate, deterministic = resolve(self, rng, rate, deterministic)
        return cutout(
            key,
            inputs,
            rate,
            size=self.size,
            fill=self.fill,
            inside=self.inside,
            channel_axis=self.channel_axis,
            batch_axis=self.batch_axis,
            deterministic=deterministic,
        )
