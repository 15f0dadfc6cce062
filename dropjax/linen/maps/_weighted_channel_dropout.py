"""Weighted channel dropout."""

import flax.linen as nn
from jaxtyping import Array, Inexact

from dropjax._types import KeyLike, RateLike
from dropjax.functional.maps import weighted_channel_dropout
from dropjax.linen._base import Drop, resolve


class WeightedChannelDropout(Drop):
    """`dropjax.weighted_channel_dropout` as a layer: (batch, *spatial, channels).

    Attributes:
      rate: the share of channels to drop, in [0, 1].
      selected_rate: the probability of dropping a channel that was selected.
      channel_axis: the axis of the channels.
      batch_axis: the axis of the examples, None if there is none.
      deterministic: if True, nothing is dropped. Give it here or in the call.
      rng_collection: the collection of rngs that the key is taken from.

    Example:
      >>> import dropjax.linen as djl
      >>> x = jnp.ones((2, 5, 5, 8))
      >>> layer = djl.WeightedChannelDropout(0.25)
      >>> y = layer.apply({}, x, False, rngs={"dropout": key})
      >>> assert (y[:, 0, 0] > 0).sum(-1).tolist() == [6, 6]
    """

    rate: RateLike
    selected_rate: RateLike = 0.0
    channel_axis: int = -1
    batch_axis: int | None = 0
    deterministic: bool | None = None
    rng_collection: str = "dropout"

    @nn.compact
    def __call__(
        self,
        inputs: Inexact[Array, "*shape"],
        deterministic: bool | None = None,
        rng: KeyLike = None,
        *,
        rate: RateLike | None = None,
    ) -> Inexact[Array, "*shape"]:
        """Drops channels, the less active rather.

        Args:
          inputs: activations that are not negative.
          deterministic: if True, nothing is dropped.
          rng: a key to use instead of one from the collection.
          rate: overrides the attribute; it may be traced, as from a schedule.

        Returns:
          An array of the inputs' shape and dtype.
        """
        key, rate, deterministic = resolve(self, rng, rate, deterministic)
        return weighted_channel_dropout(
            key,
            inputs,
            rate,
            selected_rate=self.selected_rate,
            channel_axis=self.channel_axis,
            batch_axis=self.batch_axis,
            deterministic=deterministic,
        )
