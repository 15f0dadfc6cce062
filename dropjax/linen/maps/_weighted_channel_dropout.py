"""Weighted channel dropout."""

import flax.linen as nn
from jaxtyping import Array, Inexact

from dropjax._types import KeyLike, RateLike
from dropjax.functional.maps import weighted_channel_dropout
from dropjax.linen._base import Drop, resolve


class WeightedChannelDropout(Drop):
    """`dropjax.weighted_channel_dropout` as a layer, for (batch, *spatial, channels).

    Attributes:
      rate: the fraction of channels to drop, in [0, 1].
      selected_rate: the probability of dropping a channel that was selected.
      channel_axis: the axis of the channels.
      batch_axis: the axis of the examples, or None if there is none.
      deterministic: if True, nothing is dropped. Set it here or pass it in the call.
      rng_collection: the name of the rng collection that provides PRNG keys.

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
        """Drops channels, less active ones with a higher probability.

        Args:
          inputs: non-negative activations.
          deterministic: if True, nothing is dropped.
          rng: a PRNG key to use instead of one from the collection.
          rate: overrides the attribute; may be a traced value, such as a schedule's.

        Returns:
          An array with the shape and dtype of the inputs.
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
