"""DropHead."""

from flax import nnx
from jaxtyping import Array, Inexact

from dropjax._types import KeyLike, RateLike
from dropjax.functional.sequences import drop_head
from dropjax.nnx._base import Drop, Rngs


class DropHead(Drop, nnx.Module):
    """`dropjax.drop_head` as a layer, for (batch, ..., heads, depth) by default.

    Args:
      rate: the probability of dropping a head, in [0, 1].
      head_axis: the axis of the heads.
      batch_axis: the axis of the examples, or None if there is none.
      deterministic: if True, nothing is dropped.
      rng_collection: the name of the rng stream that provides PRNG keys.
      rngs: the source of PRNG keys; None if every call passes its own.

    Example:
      >>> import dropjax.nnx as djn
      >>> from flax import nnx
      >>> layer, x = djn.DropHead(0.1, rngs=nnx.Rngs(0)), jnp.ones((8, 5, 4, 2))
      >>> assert jnp.allclose(layer(x).mean(2), 1)
    """

    def __init__(
        self,
        rate: RateLike,
        *,
        head_axis: int = -2,
        batch_axis: int | None = 0,
        deterministic: bool | None = False,
        rng_collection: str = "dropout",
        rngs: Rngs = None,
    ) -> None:
        self.head_axis = head_axis
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
        """Drops attention heads.

        Args:
          inputs: the outputs of the heads.
          deterministic: overrides the attribute.
          rngs: overrides the layer's rngs; may also be a PRNG key.
          rate: overrides the attribute; may be a traced value, such as a schedule's.

        Returns:
          An array with the shape and dtype of the inputs.
        """
        key, rate, deterministic = self._resolve(deterministic, rngs, rate)
        return drop_head(
            key,
            inputs,
            rate,
            head_axis=self.head_axis,
            batch_axis=self.batch_axis,
            deterministic=deterministic,
        )
