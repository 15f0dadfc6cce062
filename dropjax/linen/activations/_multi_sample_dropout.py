"""Multi-sample dropout."""

import flax.linen as nn
from jaxtyping import Array, Inexact

from dropjax._types import KeyLike, RateLike, Scaling
from dropjax.functional.activations import multi_sample_dropout
from dropjax.linen._base import Drop, resolve


class MultiSampleDropout(Drop):
    """`dropjax.multi_sample_dropout` as a layer, to put before a network's head.

    Attributes:
      rate: the probability of dropping, in [0, 1].
      samples: the number of masks.
      scaling: "inverted" or "standard".
      deterministic: if True, nothing is dropped and there is one sample. Set it here or
        pass it in the call.
      rng_collection: the name of the rng collection that provides PRNG keys.

    Example:
      >>> import dropjax.linen as djl
      >>> layer, x = djl.MultiSampleDropout(0.5), jnp.ones((2, 5))
      >>> y = layer.apply({}, x, deterministic=False, rngs={"dropout": key})
      >>> assert y.shape == (8, 2, 5)
    """

    rate: RateLike
    samples: int = 8
    scaling: Scaling = "inverted"
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
    ) -> Inexact[Array, "samples *shape"]:
        """Drops elements of the inputs with several masks.

        Args:
          inputs: a floating-point or complex array.
          deterministic: if True, nothing is dropped.
          rng: a PRNG key to use instead of one from the collection.
          rate: overrides the attribute; may be a traced value, such as a schedule's.

        Returns:
          An array of shape (samples, *shape), or (1, *shape) if nothing is dropped.
        """
        key, rate, deterministic = resolve(self, rng, rate, deterministic)
        return multi_sample_dropout(
            key,
            inputs,
            rate,
            samples=self.samples,
            scaling=self.scaling,
            deterministic=deterministic,
        )
