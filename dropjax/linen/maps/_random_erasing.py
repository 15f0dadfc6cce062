"""Random erasing: a rectangle of each example."""

from typing import ClassVar

import flax.linen as nn
from jaxtyping import Array, Num

from dropjax._types import Fill, KeyLike, RateLike
from dropjax.functional.maps import random_erasing
from dropjax.linen._base import Drop, resolve


class RandomErasing(Drop):
    """`dropjax.random_erasing` as a layer, for images.

    Attributes:
      rate: the probability that an example is erased, in [0, 1].
      area: the smallest and the largest fraction of the map, in (0, 1].
      ratio: the smallest and the largest ratio of height to width, above 0.
      fill: the value that replaces dropped elements: a number, one for each channel, an
        array that broadcasts, or "random".
      channel_axis: the axis of the channels, which are all erased at the same place.
      batch_axis: the axis of the examples, or None if there is none.
      deterministic: if True, nothing is dropped. Set it here or pass it in the call.
      rng_collection: the name of the rng collection that provides PRNG keys.

    Example:
      >>> import dropjax.linen as djl
      >>> layer, x = djl.RandomErasing(1.0), jnp.ones((4, 32, 32, 3))
      >>> y = layer.apply({}, x, deterministic=False, rngs={"dropout": key})
      >>> assert ((y == 0).sum((1, 2, 3)) > 0).all()
    """

    rate: RateLike
    area: tuple[float, float] = (0.02, 0.4)
    ratio: tuple[float, float] = (0.3, 10 / 3)
    fill: Fill = 0.0
    channel_axis: int = -1
    batch_axis: int | None = 0
    deterministic: bool | None = None
    rng_collection: str = "dropout"

    draws_at_one: ClassVar[bool] = True
    spatial_axes: ClassVar[int] = 2

    @nn.compact
    def __call__(
        self,
        inputs: Num[Array, "*shape"],
        deterministic: bool | None = None,
        rng: KeyLike = None,
        *,
        rate: RateLike | None = None,
    ) -> Num[Array, "*shape"]:
        """Erases a rectangle of each example.

        Args:
          inputs: an array of numbers, by default (batch, height, width, channels).
          deterministic: if True, nothing is dropped.
          rng: a PRNG key to use instead of one from the collection.
          rate: overrides the attribute; may be a traced value, such as a schedule's.

        Returns:
          An array with the shape and dtype of the inputs.
        """
        key, rate, deterministic = resolve(self, rng, rate, deterministic)
        return random_erasing(
            key,
            inputs,
            rate,
            area=self.area,
            ratio=self.ratio,
            fill=self.fill,
            channel_axis=self.channel_axis,
            batch_axis=self.batch_axis,
            deterministic=deterministic,
        )
