"""DropHead."""

import flax.linen as nn
from jaxtyping import Array, Inexact

from dropjax._types import KeyLike, RateLike
from dropjax.functional.sequences import drop_head
from dropjax.linen._base import Drop, resolve


class DropHead(Drop):
    """`dropjax.drop_head` as a layer, for (batch, ..., heads, depth) by default.

    Attributes:
      rate: the probability of dropping a head, in [0, 1].
      head_axis: the axis of the heads.
      batch_axis: the axis of the examples, or None if there is none.
      deterministic: if True, nothing is dropped. Set it here or pass it in the call.
      rng_collection: the name of the rng collection that provides PRNG keys.

    Example:
      >>> import dropjax.linen as djl
      >>> layer, x = djl.DropHead(0.1), jnp.ones((8, 5, 4, 2))
      >>> y = layer.apply({}, x, False, rngs={"dropout": key})
      >>> assert jnp.allclose(y.mean(2), 1)
    """

    rate: RateLike
    head_axis: int = -2
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
        """Drops attention heads.

        Args:
          inputs: the outputs of the heads.
          deterministic: if True, nothing is dropped.
          rng: a PRNG key to use instead of one from the collection.
          rate: overrides the attribute; may be a traced value, such as a schedule's.

        Returns:
          An array with the shape and dtype of the inputs.
        """
        key, rate, deterministic = resolve(self, rng, rate, deterministic)
        return drop_head(
            key,
            inputs,
            rate,
            head_axis=self.head_axis,
            batch_axis=self.batch_axis,
            deterministic=deterministic,
        )
