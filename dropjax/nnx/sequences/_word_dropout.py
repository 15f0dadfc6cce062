"""Word dropout: whole tokens."""

from collections.abc import Sequence

from flax import nnx
from jaxtyping import Array, Int

from dropjax._types import KeyLike, RateLike
from dropjax.functional.sequences import (
    word_dropout,
)
from dropjax.nnx._base import Drop, Rngs


class WordDropout(Drop, nnx.Module):
    """`dropjax.word_dropout` as a layer, before the embedding.

    Args:
      rate: the probability of dropping a token, in [0, 1].
      unknown_id: the id that replaces dropped tokens.
      protected: ids that are never dropped, such as those of padding and separators.
      deterministic: if True, nothing is dropped.
      rng_collection: the name of the rng stream that provides PRNG keys.
      rngs: the source of PRNG keys; None if every call passes its own.

    Example:
      >>> import dropjax.nnx as djn
      >>> from flax import nnx
      >>> layer = djn.WordDropout(0.5, unknown_id=1, rngs=nnx.Rngs(0))
      >>> x = jnp.arange(2, 102)
      >>> y = layer(x)
      >>> assert ((y == x) | (y == 1)).all()
      >>> assert 20 < (y == 1).sum() < 80
    """

    def __init__(
        self,
        rate: RateLike,
        unknown_id: int,
        *,
        protected: Sequence[int] = (),
        deterministic: bool | None = False,
        rng_collection: str = "dropout",
        rngs: Rngs = None,
    ) -> None:
        self.unknown_id = unknown_id
        self.protected = protected
        self._set_drop(rate, deterministic, rng_collection, rngs)

    def __call__(
        self,
        inputs: Int[Array, "*shape"],
        *,
        deterministic: bool | None = None,
        rngs: Rngs | KeyLike = None,
        rate: RateLike | None = None,
    ) -> Int[Array, "*shape"]:
        """Replaces dropped tokens with the unknown id.

        Args:
          inputs: an integer array of token ids.
          deterministic: overrides the attribute.
          rngs: overrides the layer's rngs; may also be a PRNG key.
          rate: overrides the attribute; may be a traced value, such as a schedule's.

        Returns:
          An array with the shape and dtype of the inputs.
        """
        key, rate, deterministic = self._resolve(deterministic, rngs, rate)
        return word_dropout(
            key,
            inputs,
            rate,
            unknown_id=self.unknown_id,
            protected=self.protected,
            deterministic=deterministic,
        )
