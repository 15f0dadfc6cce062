"""Embedding dropout: whole rows of a table."""

import flax.linen as nn
from jaxtyping import Array, Inexact

from dropjax._types import KeyLike, RateLike, Scaling
from dropjax.functional.sequences import (
    embedding_dropout,
)
from dropjax.linen._base import Drop, resolve


class EmbeddingDropout(Drop):
    """`dropjax.embedding_dropout` as a layer, applied to an embedding table.

    Attributes:
      rate: the probability of dropping a row, in [0, 1].
      scaling: "inverted" or "standard".
      deterministic: if True, nothing is dropped. Set it here or pass it in the call.
      rng_collection: the name of the rng collection that provides PRNG keys.

    Example:
      >>> import dropjax.linen as djl
      >>> layer, x = djl.EmbeddingDropout(0.5), jnp.ones((100, 16))
      >>> y = layer.apply({}, x, deterministic=False, rngs={"dropout": key})
      >>> assert jnp.array_equal(y, jnp.broadcast_to(y[:, :1], x.shape))
    """

    rate: RateLike
    scaling: Scaling = "inverted"
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
        """Drops rows of the table.

        Args:
          inputs: a floating-point or complex table, (words, features).
          deterministic: if True, nothing is dropped.
          rng: a PRNG key to use instead of one from the collection.
          rate: overrides the attribute; may be a traced value, such as a schedule's.

        Returns:
          An array with the shape and dtype of the inputs.
        """
        key, rate, deterministic = resolve(self, rng, rate, deterministic)
        return embedding_dropout(
            key,
            inputs,
            rate,
            scaling=self.scaling,
            deterministic=deterministic,
        )
