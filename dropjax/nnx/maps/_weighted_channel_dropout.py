"""Weighted channel dropout."""

from flax import nnx
from jaxtyping import Array, Inexact

from dropjax._types import KeyLike, RateLike
from dropjax.functional.maps import weighted_channel_dropout
from dropjax.nnx._base import Drop, Rngs


class WeightedChannelDropout(Drop, nnx.Module):
    """`dropjax.weighted_channel_dropout` as a layer, for (batch, *spatial, channels).

    Args:
      rate: the fraction of channels to drop, in [0, 1].
      selected_rate: the probability of dropping a channel that was selected.
      channel_axis: the axis of the channels.
      batch_axis: the axis of the examples, or None if there is none.
      deterministic: if True, nothing is dropped.
      rng_collection: the name of the rng stream that provides PRNG keys.
      rngs: the source of PRNG keys; None if every call passes its own.

    Example:
      >>> import dropjax.nnx as djn
      >>> from flax import nnx
      >>> x = jnp.ones((2, 5, 5, 8))
      >>> layer = djn.WeightedChannelDropout(0.25, rngs=nnx.Rngs(0))
      >>> assert (layer(x)[:, 0, 0] > 0).sum(-1).tolist() == [6, 6]
    """

    def __init__(
        self,
        rate: RateLike,
        *,
        selected_rate: RateLike = 0.0,
        channel_axis: int = -1,
        batch_axis: int | None = 0,
        deterministic: bool | None = False,
        rng_collection: str = "dropout",
        rngs: Rngs = None,
    ) -> None:
        self.selected_rate = selected_rate
        self.channel_axis = channel_axis
        self.batch_axis = batch_axis
        self._set_drop(rate, deterministic, rng_collection, rngs)

    def __call__(
        self,
        inputs: Inexact[Array, "*shape"],
        *,
        deterministic: bool | None = None,
        rngs: Rngs | KeyLike = None,
        rate: RateLike | None = None,
    ) -> Inexact[Array, "*shape"]:
        """Drops channels, less active ones with a higher probability.

        Args:
          inputs: non-negative activations.
          deterministic: overrides the attribute.
          rngs: overrides the layer's rngs; may also be a PRNG key.
          rate: overrides the attribute; may be a traced value, such as a schedule's.

        Returns:
          An array with the shape and dtype of the inputs.
        """
        key, rate, deterministic = self._resolve(deterministic, rngs, rate)
        return weighted_channel_dropout(
            key,
            inputs,
            rate,
            selected_rate=self.selected_rate,
            channel_axis=self.channel_axis,
            batch_axis=self.batch_axis,
            deterministic=deterministic,
        )
