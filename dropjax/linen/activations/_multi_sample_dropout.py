"""Multi-sample dropout."""

import flax.linen as nn
from jaxtyping import Array, Inexact

from dropjax._types import KeyLike, RateLike, Scaling
from dropjax.functional.activations import multi_sample_dropout
from dropjax.linen._base import Drop, resolve


class MultiSampleDropout(Drop):
    """`dropjax.multi_sample_dropout` as a layer, in front of a net's head.

    Attributes:
      rate: the probability of dropping, in [0, 1].
      samples: the number of masks.
      scaling: "inverted" or "standard".
      deterministic: if True, nothing is dropped, and there is one sample. Give it here
        or in the call.
      rng_collection: the collection of rngs that the key is taken from.

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
        """Drops elements of the inputs, several times over.

        Args:
          inputs: a floating-point or complex array.
          deterministic: if True, nothing is dropped.
          rng: a key to use instead of one from the collection.
          rate: overrides the attribute; it may be traced, as from a schedule.

        Returns:
          An array of shape (samples, *shape), or (1, *shape) where nothing is dropped.
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
