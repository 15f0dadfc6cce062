"""PatchDropout."""

import flax.linen as nn
from jaxtyping import Array, Int32, Num

from dropjax._checks import HOST_RATE, check_host_rate
from dropjax._types import KeyLike
from dropjax.functional.sequences import patch_dropout
from dropjax.linen._base import Drop, resolve


class PatchDropout(Drop):
    """`dropjax.patch_dropout` as a layer: it gives the tokens kept and their indices.

    Attributes:
      rate: the share of the tokens to drop, a Python number in [0, 1].
      prefix_tokens: how many tokens at the beginning are always kept.
      ordered: whether the tokens stay in their order.
      deterministic: if True, nothing is dropped. Give it here or in the call.
      rng_collection: the collection of rngs that the key is taken from.

    Example:
      >>> import dropjax.linen as djl
      >>> layer, x = djl.PatchDropout(0.5, prefix_tokens=1), jnp.ones((2, 17, 8))
      >>> y, indices = layer.apply({}, x, False, rngs={"dropout": key})
      >>> assert (y.shape, indices.shape) == ((2, 9, 8), (2, 9))
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
    ) -> tuple[Num[Array, "*batch kept features"], Int32[Array, "*batch kept"]]:
        """Takes tokens out of sequences.

        Args:
          inputs: an array of tokens, of any numbers.
          deterministic: if True, nothing is dropped.
          rng: a key to use instead of one from the collection.
          rate: overrides the attribute.

        Returns:
          The tokens kept, prefix first, and their indices in the inputs.
        """
        key, share, deterministic = resolve(self, rng, rate, deterministic)
        return patch_dropout(
            key,
            inputs,
            check_host_rate(share, "how many tokens are left"),
            prefix_tokens=self.prefix_tokens,
            ordered=self.ordered,
            deterministic=deterministic,
        )
