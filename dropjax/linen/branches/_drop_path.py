"""Drop path."""

import flax.linen as nn

from dropjax._checks import OF_DROP_PATH
from dropjax._types import DropPathMode, DropPathScaling, KeyLike, RateLike, Tree
from dropjax.functional.branches import drop_path
from dropjax.linen._base import Drop, resolve


class DropPath(Drop):
    """`dropjax.drop_path` as a layer, at the end of a residual branch.

    Attributes:
      rate: the probability of dropping the branch, in [0, 1].
      mode: "row" to decide for each example, "batch" for the whole batch at once.
      batch_axis: the axis of the examples.
      scaling: "inverted", "standard", or "none" for no scaling.
      deterministic: if True, nothing is dropped. Set it here or pass it in the call.
      rng_collection: the name of the rng collection that provides PRNG keys.

    Example:
      >>> import dropjax.linen as djl
      >>> layer, x = djl.DropPath(0.5), jnp.ones((64, 8, 3))
      >>> y = layer.apply({}, x, deterministic=False, rngs={"dropout": key})
      >>> assert jnp.array_equal(y, jnp.broadcast_to(y[:, :1, :1], x.shape))
    """

    rate: RateLike
    mode: DropPathMode = "row"
    batch_axis: int = 0
    scaling: DropPathScaling = "inverted"
    deterministic: bool | None = None
    rng_collection: str = "dropout"

    checks = OF_DROP_PATH

    @nn.compact
    def __call__(
        self,
        inputs: Tree,
        deterministic: bool | None = None,
        rng: KeyLike = None,
        *,
        rate: RateLike | None = None,
    ) -> Tree:
        """Drops the branch, for each example or for the whole batch.

        Args:
          inputs: the output of a residual branch, a floating-point or complex array
            or a tree of them.
          deterministic: if True, nothing is dropped.
          rng: a PRNG key to use instead of one from the collection.
          rate: overrides the attribute; may be a traced value, such as a schedule's.

        Returns:
          Arrays with the structure, shapes and dtypes of the inputs.
        """
        key, rate, deterministic = resolve(self, rng, rate, deterministic)
        return drop_path(
            key,
            inputs,
            rate,
            mode=self.mode,
            batch_axis=self.batch_axis,
            scaling=self.scaling,
            deterministic=deterministic,
        )
