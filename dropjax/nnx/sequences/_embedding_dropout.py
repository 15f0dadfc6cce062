"""Embedding dropout: whole rows of a table."""

from flax import nnx
from jaxtyping import Array, Inexact

from dropjax._types import KeyLike, RateLike, Scaling
from dropjax.functional.sequences import (
    embedding_dropout,
)
from dropjax.nnx._base import Drop, Rngs


class EmbeddingDropout(Drop, nnx.Module):
    """`dropjax.embedding_dropout` as a layer: its input is the table.

    Args:
      rate: the probability of dropping a row, in [0, 1].
      scaling: "inverted" or "standard".
      deterministic: if True, nothing is dropped.
      rng_collection: the stream of rngs that the keys are taken from.
      rngs: the source of keys; None if every call brings its own.

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
        """Drops rows of a table.

        Args:
          inputs: a table (words, features), floating-point or complex.
          deterministic: overrides the attribute.
          rngs: overrides the layer's; it may also be a key.
          rate: overrides the attribute; it may be traced, as from a schedule.

        Returns:
          An array of the inputs' shape and dtype.
        """
        key, rate, deterministic = self._resolve(deterministic, rngs, rate)
        return embedding_dropout(
            key,
            inputs,
            rate,
            scaling=self.scaling,
            deterministic=deterministic,
        )
