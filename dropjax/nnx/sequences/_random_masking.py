"""Random masking: removes tokens, and tells how to restore their order."""

from flax import nnx
from jaxtyping import Array, Num

from dropjax._checks import HOST_RATE, check_host_rate
from dropjax._types import KeyLike
from dropjax.functional.sequences import MaskedTokens, random_masking
from dropjax.nnx._base import Drop, Rngs


class RandomMasking(Drop, nnx.Module):
    """`dropjax.random_masking` as a layer, in front of the encoder of an autoencoder.

    Args:
      rate: the fraction of tokens to drop, a Python number in [0, 1].
      prefix_tokens: the number of tokens at the beginning that are always kept.
      ordered: whether the kept tokens stay in their order.
      deterministic: if True, nothing is dropped.
      rng_collection: the name of the rng stream that provides PRNG keys.
      rngs: the source of PRNG keys; None if every call passes its own.

    Example:
      >>> import dropjax.nnx as djn
      >>> from flax import nnx
      >>> layer = djn.RandomMasking(0.75, rngs=nnx.Rngs(0))
      >>> y, mask, indices, restore = layer(jnp.ones((2, 16, 8)))
      >>> assert (y.shape, restore.shape) == ((2, 4, 8), (2, 16))
    """

    checks = HOST_RATE

    def __init__(
        self,
        rate: float,
        *,
        prefix_tokens: int = 0,
        ordered: bool = True,
        deterministic: bool | None = False,
        rng_collection: str = "dropout",
        rngs: Rngs = None,
    ) -> None:
        self.prefix_tokens = prefix_tokens
        self.ordered = ordered
        self._set_drop(rate, deterministic, rng_collection, rngs)

    def __call__(
        self,
        inputs: Num[Array, "*batch tokens features"],
        *,
        deterministic: bool | None = None,
        rngs: Rngs | KeyLike = None,
        rate: float | None = None,
    ) -> MaskedTokens:
        """Drops tokens from sequences.

        Args:
          inputs: an array of tokens of any numeric dtype.
          deterministic: overrides the attribute.
          rngs: overrides the layer's rngs; may also be a PRNG key.
          rate: overrides the attribute.

        Returns:
          A named tuple of the kept tokens, prefix first, their mask, their indices in
          the inputs, and the indices that restore the order.
        """
        key, share, deterministic = self._resolve(deterministic, rngs, rate)
        return random_masking(
            key,
            inputs,
            check_host_rate(share, "how many tokens are left"),
            prefix_tokens=self.prefix_tokens,
            ordered=self.ordered,
            deterministic=deterministic,
        )
