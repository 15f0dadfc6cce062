"""Embedding dropout: whole rows of a table."""

from flax import nnx
from jaxtyping import Array, Inexact

from dropjax._types import KeyLike, RateLike, Scaling
from dropjax.functional.sequences import (
    embedding_dropout,
)
from dropjax.nnx._base import Drop, Rngs


class EmbeddingDropout(Drop, nnx.Module):
    """`dropjax.embedding_dropout` as a layer, applied to an embedding table.

    Args:
      rate: the probability of dropping a row, in [0, 1].
      scaling: "inverted" or "standard".
      deterministic: if True, nothing is dropped.
      rng_collection: the name of the rng stream that provides PRNG keys.
      rngs: the source of PRNG keys; None if every call passes its own.

    Example:
      >>> import dropjax.nnx as djn
      >>> from flax import nnx
      >>> layer = djn.EmbeddingDropout(0.5, rngs=nnx.Rngs(0))
      >>> x = jnp.ones((100, 16))
      >>> y = layer(x)
      >>> assert jnp.array_equal(y, jnp.broadcast_to(y[:, :1], x.shape))
    """

    def __init__(
        self,
        rate: RateLike,
        *,
        scaling: Scaling = "inverted",
        deterministic: bool | None = False,
        rng_collection: str = "dropout",
        rngs: Rngs = None,
    ) -> None:
        self.scaling = scaling
        self._set_drop(rate, deterministic, rng_collection, rngs)

    def __call__(
        self,
        inputs: Inexact[Array, "*shape"],
        *,
        deterministic: bool | None = None,
        rngs: Rngs | KeyLike = None,
        rate: RateLike | None = None,
    ) -> Inexact[Array, "*shape"]:
        """Drops rows of the table.

        Args:
          inputs: a floating-point or complex table, (words, features).
          deterministic: overrides the attribute.
          rngs: overrides the layer's rngs; may also be a PRNG key.
          rate: overrides the attribute; may be a traced value, such as a schedule's.

        Returns:
          An array with the shape and dtype of the inputs.
        """
        key, rate, deterministic = self._resolve(deterministic, rngs, rate)
        return embedding_dropout(
            key,
            inputs,
            rate,
            scaling=self.scaling,
            deterministic=deterministic,
        )
