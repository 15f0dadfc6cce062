"""Attention dropout."""

import flax.linen as nn
from jaxtyping import Array, Inexact

from dropjax._types import KeyLike, RateLike
from dropjax.functional.sequences import attention_dropout
from dropjax.linen._base import Drop, resolve


class AttentionDropout(Drop):
    """`dropjax.attention_dropout` as a layer, for weights after the softmax.

    Attributes:
      rate: the probability of dropping a weight, in [0, 1].
      broadcast_dropout: whether all heads and examples share one mask.
      renormalize: whether to rescale the kept weights so that they sum to 1.
      deterministic: if True, nothing is dropped. Set it here or pass it in the call.
      rng_collection: the name of the rng collection that provides PRNG keys.

    Example:
      >>> import dropjax.linen as djl
      >>> x = jnp.ones((2, 8, 8)) / 8
      >>> layer = djl.AttentionDropout(0.5, renormalize=True)
      >>> y = layer.apply({}, x, False, rngs={"dropout": key})
      >>> assert jnp.allclose(y.sum(-1), 1)
    """

    rate: RateLike
    broadcast_dropout: bool = False
    renormalize: bool = False
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
        """Drops attention weights.

        Args:
          inputs: attention weights, (*batch, heads, queries, keys).
          deterministic: if True, nothing is dropped.
          rng: a PRNG key to use instead of one from the collection.
          rate: overrides the attribute; may be a traced value, such as a schedule's.

        Returns:
          An array with the shape and dtype of the inputs.
        """
        key, rate, deterministic = resolve(self, rng, rate, deterministic)
        return attention_dropout(
            key,
            inputs,
            rate,
            broadcast_dropout=self.broadcast_dropout,
            renormalize=self.renormalize,
            deterministic=deterministic,
        )
