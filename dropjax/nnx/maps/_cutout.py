"""Cutout: a square of each example."""

from collections.abc import Sequence
from typing import ClassVar

from flax import nnx
from jaxtyping import Array, Num

from dropjax._types import Fill, KeyLike, RateLike
from dropjax.functional.maps import cutout
from dropjax.nnx._base import Drop, Rngs


class Cutout(Drop, nnx.Module):
    """`dropjax.cutout` as a layer, for images, or for any number of spatial axes.

    Args:
      rate: the probability that an example is cut, in [0, 1].
      size: the side of the square, or one for each spatial axis.
      fill: what takes the dropped places: a number, one for each channel, an array
        that broadcasts, or "random".
      inside: if True, the whole square lies in the map.
      channel_axis: the axis of the channels, which share the box.
      batch_axis: the axis of the examples, None if there is none.
      deterministic: if True, nothing is dropped.
      rng_collection: the stream of rngs that the keys are taken from.
      rngs: the source of keys; None if every call brings its own.

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
          rngs: overrides the layer's; it may also be a key.
          rate: overrides the attribute; it may be traced, as from a schedule.

        Returns:
          An array of the inputs' shape and dtype.
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
