"""Attention dropout."""

from flax import nnx
from jaxtyping import Array, Inexact

from dropjax._types import KeyLike, RateLike
from dropjax.functional.sequences import attention_dropout
from dropjax.nnx._base import Drop, Rngs


class AttentionDropout(Drop, nnx.Module):
    """`dropjax.attention_dropout` as a layer, for weights after the softmax.

    Args:
      rate: the probability of dropping a weight, in [0, 1].
      broadcast_dropout: whether all heads and examples share one mask.
      renormalize: whether to rescale the kept weights so that they sum to 1.
      deterministic: if True, nothing is dropped.
      rng_collection: the name of the rng stream that provides PRNG keys.
      rngs: the source of PRNG keys; None if every call passes its own.

    Example:
      >>> import dropjax.nnx as djn
      >>> from flax import nnx
      >>> x = jnp.ones((2, 8, 8)) / 8
      >>> layer = djn.AttentionDropout(0.5, renormalize=True, rngs=nnx.Rngs(0))
      >>> assert jnp.allclose(layer(x).sum(-1), 1)
    """

    def __init__(
        self,
        rate: RateLike,
        *,
        broadcast_dropout: bool = False,
        renormalize: bool = False,
        deterministic: bool | None = False,
        rng_collection: str = "dropout",
        rngs: Rngs = None,
    ) -> None:
        self.broadcast_dropout = broadcast_dropout
        self.renormalize = renormalize
        self._set_drop(rate, deterministic, rng_collection, rngs)

    def __call__(
        self,
        inputs: Inexact[Array, "*shape"],
        *,
        deterministic: bool | None = None,
        rngs: Rngs | KeyLike = None,
        rate: RateLike | None = None,
    ) -> Inexact[Array, "*shape"]:
        """Drops attention weights.

        Args:
          inputs: attention weights, (*batch, heads, queries, keys).
          deterministic: overrides the attribute.
          rngs: overrides the layer's rngs; may also be a PRNG key.
          rate: overrides the attribute; may be a traced value, such as a schedule's.

        Returns:
          An array with the shape and dtype of the inputs.
        """
        key, rate, deterministic = self._resolve(deterministic, rngs, rate)
        return attention_dropout(
            key,
            inputs,
            rate,
            broadcast_dropout=self.broadcast_dropout,
            renormalize=self.renormalize,
            deterministic=deterministic,
        )
