"""PatchDropout."""

import flax.linen as nn
from jaxtyping import Array, Int32, Num

from dropjax._checks import HOST_RATE, check_host_rate
from dropjax._types import KeyLike
from dropjax.functional.sequences import patch_dropout
from dropjax.linen._base import Drop, resolve


class PatchDropout(Drop):
    """`dropjax.patch_dropout` as a layer: returns the kept tokens and their indices.

    Attributes:
      rate: the fraction of tokens to drop, a Python number in [0, 1].
      prefix_tokens: the number of tokens at the beginning that are always kept.
      ordered: whether the kept tokens stay in their order.
      deterministic: if True, nothing is dropped. Set it here or pass it in the call.
      rng_collection: the name of the rng collection that provides PRNG keys.

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
        """Drops tokens from sequences.

        Args:
          inputs: an array of tokens of any numeric dtype.
          deterministic: if True, nothing is dropped.
          rng: a PRNG key to use instead of one from the collection.
          rate: overrides the attribute.

        Returns:
          The kept tokens, prefix first, and their indices in the inputs.
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
