"""Cutout: a square of each example."""

from collections.abc import Sequence
from typing import ClassVar

from flax import nnx
from jaxtyping import Array, Num

from dropjax._types import Fill, KeyLike, RateLike
from dropjax.functional.maps import cutout
from dropjax.nnx._base import Drop, Rngs


class Cutout(Drop, nnx.Module):
    """`dropjax.cutout` as a layer, for images or any number of spatial axes.

    Args:
      rate: the probability that an example is cut, in [0, 1].
      size: the side length of the square, or one for each spatial axis.
      fill: the value that replaces dropped elements: a number, one for each channel, an
        array that broadcasts, or "random".
      inside: if True, the square lies entirely inside the map.
      channel_axis: the axis of the channels, which are all cut at the same place.
      batch_axis: the axis of the examples, or None if there is none.
      deterministic: if True, nothing is dropped.
      rng_collection: the name of the rng stream that provides PRNG keys.
      rngs: the source of PRNG keys; None if every call passes its own.

    Example:
      >>> import dropjax.nnx as djn
      >>> from flax import nnx
      >>> layer = djn.Cutout(1.0, size=8, inside=True, rngs=nnx.Rngs(0))
      >>> x = jnp.ones((4, 32, 32, 3))
      >>> y = layer(x)
      >>> assert ((y == 0).sum((1, 2, 3)) == 8 * 8 * 3).all()
    """

    draws_at_one: ClassVar[bool] = True

    def __init__(
        self,
        rate: RateLike,
        size: int | Sequence[int],
        *,
        fill: Fill = 0.0,
        inside: bool = False,
        channel_axis: int = -1,
        batch_axis: int | None = 0,
        deterministic: bool | None = False,
        rng_collection: str = "dropout",
        rngs: Rngs = None,
    ) -> None:
        self.size = size
        self.fill = fill
        self.inside = inside
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
        """Cuts a square out of each example.

        Args:
          inputs: an array of numbers, by default (batch, *spatial, channels).
          deterministic: overrides the attribute.
          rngs: overrides the layer's rngs; may also be a PRNG key.
          rate: overrides the attribute; may be a traced value, such as a schedule's.

        Returns:
          An array with the shape and dtype of the inputs.
        """
        key, rate, deterministic = self._resolve(deterministic, rngs, rate)
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
