"""Drop path."""

import flax.linen as nn
from jaxtyping import Array, Inexact

from dropjax._checks import BATCH_OF_ROWS
from dropjax._types import DropPathMode, KeyLike, RateLike
from dropjax.functional import drop_path
from dropjax.linen._base import Drop, resolve


class DropPath(Drop):
    """`dropjax.drop_path` as a layer, at the end of a residual branch.

    Attributes:
      rate: the probability of dropping the branch, in [0, 1].
      mode: "row" for a coin per example, "batch" for one coin.
      batch_axis: the axis of the examples.
      scale_by_keep: if False, survivors are not scaled.
      deterministic: if True, nothing is dropped. Give it here or in the call.
      rng_collection: the collection of rngs that the key is taken from.

    Example:
      >>> import dropjax.linen as djl
      >>> layer, x = djl.DropPath(0.5), jnp.ones((64, 8, 3))
      >>> y = layer.apply({}, x, deterministic=False, rngs={"dropout": key})
      >>> assert jnp.array_equal(y, jnp.broadcast_to(y[:, :1, :1], x.shape))
    """

    rate: RateLike
    mode: DropPathMode = "row"
    batch_axis: int = 0
    scale_by_keep: bool = True
    deterministic: bool | None = None
    rng_collection: str = "dropout"

    checks = BATCH_OF_ROWS

    @nn.compact
    def __call__(
        self,
        inputs: Inexact[Array, "*shape"],
        deterministic: bool | None = None,
        rng: KeyLike = None,
        *,
        rate: RateLike | None = None,
    ) -> Inexact[Array, "*shape"]:
        """Drops the branch, for each example or for the batch.

        Args:
          inputs: a floating-point or complex array, the output of a residual branch.
          deterministic: if True, nothing is dropped.
          rng: a key to use instead of one from the collection.
          rate: overrides the attribute; it may be traced, as from a schedule.

        Returns:
          An array of the inputs' shape and dtype.
        """
        key, rate, deterministic = resolve(self, rng, rate, deterministic)
        return drop_path(
            key,
            inputs,
            rate,
            mode=self.mode,
            batch_axis=self.batch_axis,
            scale_by_keep=self.scale_by_keep,
            deterministic=deterministic,
        )
