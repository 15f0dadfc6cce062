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
      unknown_id: what takes the dropped places.
      protected: ids that are never dropped, as those of padding and separators.
      deterministic: if True, nothing is dropped. Give it here or in the call.
      rng_collection: the collection of rngs that the key is taken from.

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
        """Replaces tokens by the unknown one.

        Args:
          inputs: an array of integers, the ids of tokens.
          deterministic: if True, nothing is dropped.
          rng: a key to use instead of one from the collection.
          rate: overrides the attribute; it may be traced, as from a schedule.

        Returns:
          An array of the inputs' shape and dtype.
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
