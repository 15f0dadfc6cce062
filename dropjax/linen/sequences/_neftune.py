"""NEFTune: noise on embedded tokens."""

import flax.linen as nn
from jaxtyping import Array, Inexact, Int

from dropjax._types import KeyLike, RateLike
from dropjax.functional.sequences import neftune
from dropjax.linen._base import Drop, resolve_noise


class Neftune(Drop):
    """`dropjax.neftune` as a layer, after the embedding.

    Attributes:
      alpha: the scale of the noise, at least 0.
      time_axis: the axis of the tokens.
      batch_axis: the axis of the examples, or None if there is none.
      deterministic: if True, no noise is added. Set it here or pass it in the call.
      rng_collection: the name of the rng collection that provides PRNG keys.

    Example:
      >>> import dropjax.linen as djl
      >>> layer, x = djl.Neftune(5.0), jnp.zeros((8, 256, 64))
      >>> y = layer.apply({}, x, deterministic=False, rngs={"dropout": key})
      >>> assert abs(y).max() <= 5 / (256 * 64) ** 0.5
    """

    alpha: RateLike
    time_axis: int = -2
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
        seq_lengths: Int[Array, "..."] | None = None,
        alpha: RateLike | None = None,
    ) -> Inexact[Array, "*shape"]:
        """Adds uniform noise, scaled by the length of the sequence.

        Args:
          inputs: a floating-point or complex array, by default (batch, tokens,
            features).
          deterministic: if True, no noise is added.
          rng: a PRNG key to use instead of one from the collection.
          seq_lengths: the number of tokens of each example that are not padding.
          alpha: overrides the attribute; may be a traced value, such as a
            schedule's.

        Returns:
          An array with the shape and dtype of the inputs.
        """
        alpha = self.alpha if alpha is None else alpha
        key, deterministic = resolve_noise(self, rng, alpha, deterministic)
        return neftune(
            key,
            inputs,
            alpha,
            seq_lengths=seq_lengths,
            time_axis=self.time_axis,
            batch_axis=self.batch_axis,
            deterministic=deterministic,
        )
