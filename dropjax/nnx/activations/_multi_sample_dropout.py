"""Multi-sample dropout."""

from flax import nnx
from jaxtyping import Array, Inexact

from dropjax._types import KeyLike, RateLike, Scaling
from dropjax.functional.activations import multi_sample_dropout
from dropjax.nnx._base import Drop, Rngs


class MultiSampleDropout(Drop, nnx.Module):
    """`dropjax.multi_sample_dropout` as a layer, to put before a network's head.

    Args:
      rate: the probability of dropping, in [0, 1].
      samples: the number of masks.
      scaling: "inverted" or "standard".
      deterministic: if True, nothing is dropped and there is one sample.
      rng_collection: the name of the rng stream that provides PRNG keys.
      rngs: the source of PRNG keys; None if every call passes its own.

    Example:
      >>> import dropjax.nnx as djn
      >>> from flax import nnx
      >>> layer = djn.MultiSampleDropout(0.5, rngs=nnx.Rngs(0))
      >>> assert layer(jnp.ones((2, 5))).shape == (8, 2, 5)
    """

    def __init__(
        self,
        rate: RateLike,
        *,
        samples: int = 8,
        scaling: Scaling = "inverted",
        deterministic: bool | None = False,
        rng_collection: str = "dropout",
        rngs: Rngs = None,
    ) -> None:
        self.samples = samples
        self.scaling = scaling
        self._set_drop(rate, deterministic, rng_collection, rngs)

    def __call__(
        self,
        inputs: Inexact[Array, "*shape"],
        *,
        deterministic: bool | None = None,
        rngs: Rngs | KeyLike = None,
        rate: RateLike | None = None,
    ) -> Inexact[Array, "samples *shape"]:
        """Drops elements of the inputs with several masks.

        Args:
          inputs: a floating-point or complex array.
          deterministic: overrides the attribute.
          rngs: overrides the layer's rngs; may also be a PRNG key.
          rate: overrides the attribute; may be a traced value, such as a schedule's.

        Returns:
          An array of shape (samples, *shape), or (1, *shape) if nothing is dropped.
        """
        key, rate, deterministic = self._resolve(deterministic, rngs, rate)
        return multi_sample_dropout(
            key,
            inputs,
            rate,
            samples=self.samples,
            scaling=self.scaling,
            deterministic=deterministic,
        )
