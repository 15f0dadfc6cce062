"""NEFTune: noise on embedded tokens."""

from flax import nnx
from jaxtyping import Array, Inexact, Int

from dropjax._types import KeyLike, RateLike
from dropjax.functional.sequences import neftune
from dropjax.nnx._base import Drop, Rngs, held


class Neftune(Drop, nnx.Module):
    """`dropjax.neftune` as a layer, after the embedding.

    Args:
      alpha: the scale of the noise, at least 0.
      time_axis: the axis of the tokens.
      batch_axis: the axis of the examples, or None if there is none.
      deterministic: if True, no noise is added.
      rng_collection: the name of the rng stream that provides PRNG keys.
      rngs: the source of PRNG keys; None if every call passes its own.

    Example:
      >>> import dropjax.nnx as djn
      >>> from flax import nnx
      >>> layer = djn.Neftune(5.0, rngs=nnx.Rngs(0))
      >>> x = jnp.zeros((8, 256, 64))
      >>> y = layer(x)
      >>> assert abs(y).max() <= 5 / (256 * 64) ** 0.5
    """

    def __init__(
        self,
        alpha: RateLike,
        *,
        time_axis: int = -2,
        batch_axis: int | None = 0,
        deterministic: bool | None = False,
        rng_collection: str = "dropout",
        rngs: Rngs = None,
    ) -> None:
        self.alpha = held(alpha)
        self.time_axis = time_axis
        self.batch_axis = batch_axis
        self._set_noise(deterministic, rng_collection, rngs)

    def __call__(
        self,
        inputs: Inexact[Array, "*shape"],
        *,
        seq_lengths: Int[Array, "..."] | None = None,
        deterministic: bool | None = None,
        rngs: Rngs | KeyLike = None,
        alpha: RateLike | None = None,
    ) -> Inexact[Array, "*shape"]:
        """Adds uniform noise, scaled by the length of the sequence.

        Args:
          inputs: a floating-point or complex array, by default (batch, tokens,
            features).
          seq_lengths: the number of tokens of each example that are not padding.
          deterministic: overrides the attribute.
          rngs: overrides the layer's rngs; may also be a PRNG key.
          alpha: overrides the attribute; may be a traced value, such as a
            schedule's.

        Returns:
          An array with the shape and dtype of the inputs.
        """
        alpha = self.alpha if alpha is None else alpha
        key, deterministic = self._resolve_noise(deterministic, rngs, alpha)
        return neftune(
            key,
            inputs,
            alpha,
            seq_lengths=seq_lengths,
            time_axis=self.time_axis,
            batch_axis=self.batch_axis,
            deterministic=deterministic,
        )
