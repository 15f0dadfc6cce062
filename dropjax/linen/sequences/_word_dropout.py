"""Word dropout: whole tokens."""

from collections.abc import Sequence

import flax.linen as nn
from jaxtyping import Array, Int

from dropjax._types import KeyLike, RateLike
from dropjax.functional.sequences import (
    word_dropout,
)
from dropjax.linen._base import Drop, resolve


class WordDropout(Drop):
    """`dropjax.word_dropout` as a layer, before the embedding.

    Attributes:
      rate: the probability of dropping a token, in [0, 1].
      unknown_id: the id that replaces dropped tokens.
      protected: ids that are never dropped, such as those of padding and separators.
      deterministic: if True, nothing is dropped. Set it here or pass it in the call.
      rng_collection: the name of the rng collection that provides PRNG keys.

    Example:
      >>> import dropjax.linen as djl
      >>> layer, x = djl.WordDropout(0.5, unknown_id=1), jnp.arange(2, 102)
      >>> y = layer.apply({}, x, deterministic=False, rngs={"dropout": key})
      >>> assert ((y == x) | (y == 1)).all()
      >>> assert 20 < (y == 1).sum() < 80
    """

    rate: RateLike
    unknown_id: int
    protected: Sequence[int] = ()
    deterministic: bool | None = None
    rng_collection: str = "dropout"

    @nn.compact
    def __call__(
        self,
        inputs: Int[Array, "*shape"],
        deterministic: bool | None = None,
        rng: KeyLike = None,
        *,
        rate: RateLike | None = None,
    ) -> Int[Array, "*shape"]:
        """Replaces dropped tokens with the unknown id.

        Args:
          inputs: an integer array of token ids.
          deterministic: if True, nothing is dropped.
          rng: a PRNG key to use instead of one from the collection.
          rate: overrides the attribute; may be a traced value, such as a schedule's.

        Returns:
          An array with the shape and dtype of the inputs.
        """
        key, rate, deterministic = resolve(self, rng, rate, deterministic)
        return word_dropout(
            key,
            inputs,
            rate,
            unknown_id=self.unknown_id,
            protected=self.protected,
            deterministic=deterministic,
        )
