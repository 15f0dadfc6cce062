"""Random masking: removes tokens, and tells how to restore their order."""

import flax.linen as nn
from jaxtyping import Array, Num

from dropjax._checks import HOST_RATE, check_host_rate
from dropjax._types import KeyLike
from dropjax.functional.sequences import MaskedTokens, random_masking
from dropjax.linen._base import Drop, resolve


class RandomMasking(Drop):
    """`dropjax.random_masking` as a layer, in front of the encoder of an autoencoder.

    Attributes:
      rate: the fraction of tokens to drop, a Python number in [0, 1].
      prefix_tokens: the number of tokens at the beginning that are always kept.
      ordered: whether the kept tokens stay in their order.
      deterministic: if True, nothing is dropped. Set it here or pass it in the call.
      rng_collection: the name of the rng collection that provides PRNG keys.

    Example:
      >>> import dropjax.linen as djl
      >>> layer, x = djl.RandomMasking(0.75), jnp.ones((2, 16, 8))
      >>> y, mask, indices, restore = layer.apply({}, x, False, rngs={"dropout": key})
      >>> assert (y.shape, restore.shape) == ((2, 4, 8), (2, 16))
    """

    rate: float
    prefix_tokens: int = 0
    ordered: bool = True
    deterministic: bool | None = None
    rng_collection: str = "dropout"

    checks = HOST_RATE
    fixed_rate = True

    @nn.compact
    def __call__(
        self,
        inputs: Num[Array, "*batch tokens features"],
        deterministic: bool | None = None,
        rng: KeyLike = None,
        *,
        rate: float | None = None,
    ) -> MaskedTokens:
        """Drops tokens from sequences.

        Args:
          inputs: an array of tokens of any numeric dtype.
          deterministic: if True, nothing is dropped.
          rng: a PRNG key to use instead of one from the collection.
          rate: overrides the attribute.

        Returns:
          A named tuple of the kept tokens, prefix first, their mask, their indices in
          the inputs, and the indices that restore the order.
        """
        key, share, deterministic = resolve(self, rng, rate, deterministic)
        return random_masking(
            key,
            inputs,
            check_host_rate(share, "how many tokens are left"),
            prefix_tokens=self.prefix_tokens,
            ordered=self.ordered,
            deterministic=deterministic,
        )
