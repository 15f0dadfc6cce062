"""Random erasing: a rectangle of each example."""

from typing import ClassVar

from flax import nnx
from jaxtyping import Array, Num

from dropjax._types import Fill, KeyLike, RateLike
from dropjax.functional.maps import random_erasing
from dropjax.nnx._base import Drop, Rngs


class RandomErasing(Drop, nnx.Module):
    """`dropjax.random_erasing` as a layer, for images.

    Args:
      rate: the probability that an example is erased, in [0, 1].
      area: the smallest and the largest fraction of the map, in (0, 1].
      ratio: the smallest and the largest ratio of height to width, above 0.
      fill: the value that replaces dropped elements: a number, one for each channel, an
        array that broadcasts, or "random".
      channel_axis: the axis of the channels, which are all erased at the same place.
      batch_axis: the axis of the examples, or None if there is none.
      deterministic: if True, nothing is dropped.
      rng_collection: the name of the rng stream that provides PRNG keys.
      rngs: the source of PRNG keys; None if every call passes its own.

    Example:
      >>> import dropjax.nnx as djn
      >>> from flax import nnx
      >>> layer = djn.RandomErasing(1.0, rngs=nnx.Rngs(0))
      >>> x = jnp.ones((4, 32, 32, 3))
      >>> y = layer(x)
      >>> assert ((y == 0).sum((1, 2, 3)) > 0).all()
    """

    draws_at_one: ClassVar[bool] = True
    spatial_axes: ClassVar[int] = 2

    def __init__(
        self,
        rate: RateLike,
        *,
        area: tuple[float, float] = (0.02, 0.4),
        ratio: tuple[float, float] = (0.3, 10 / 3),
        fill: Fill = 0.0,
        channel_axis: int = -1,
        batch_axis: int | None = 0,
        deterministic: bool | None = False,
        rng_collection: str = "dropout",
        rngs: Rngs = None,
    ) -> None:
        self.area = area
        self.ratio = ratio
        self.fill = fill
        self.channel_axis = channel_axis
        self.batch_axis = batch_axis
        self._set_drop(rate, deterministic, rng_collection, rngs)

    def __call__(
        self,
        inputs: Num[Array, "*shape"],
        *,
        deterministic: bool | None = None,
        rngs: Rngs | KeyLike = None,
        rate: RateLike | None = None,
    ) -> Num[Array, "*shape"]:
        """Erases a rectangle of each example.

        Args:
          inputs: an array of numbers, by default (batch, height, width, channels).
          deterministic: overrides the attribute.
          rngs: overrides the layer's rngs; may also be a PRNG key.
          rate: overrides the attribute; may be a traced value, such as a schedule's.

        Returns:
          An array with the shape and dtype of the inputs.
        """
        key, rate, deterministic = self._resolve(deterministic, rngs, rate)
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
