"""Drop path."""

from flax import nnx

from dropjax._checks import OF_DROP_PATH
from dropjax._types import DropPathMode, DropPathScaling, KeyLike, RateLike, Tree
from dropjax.functional.branches import drop_path
from dropjax.nnx._base import Drop, Rngs


class DropPath(Drop, nnx.Module):
    """`dropjax.drop_path` as a layer, at the end of a residual branch.

    Args:
      rate: the probability of dropping the branch, in [0, 1].
      mode: "row" to decide for each example, "batch" for the whole batch at once.
      batch_axis: the axis of the examples.
      scaling: "inverted", "standard", or "none" for no scaling.
      deterministic: if True, nothing is dropped.
      rng_collection: the name of the rng stream that provides PRNG keys.
      rngs: the source of PRNG keys; None if every call passes its own.

    Example:
      >>> import dropjax.nnx as djn
      >>> from flax import nnx
      >>> layer = djn.DropPath(0.5, rngs=nnx.Rngs(0))
      >>> x = jnp.ones((64, 8, 3))
      >>> y = layer(x)
      >>> assert jnp.array_equal(y, jnp.broadcast_to(y[:, :1, :1], x.shape))
    """

    checks = OF_DROP_PATH

    def __init__(
        self,
        rate: RateLike,
        *,
        mode: DropPathMode = "row",
        batch_axis: int = 0,
        scaling: DropPathScaling = "inverted",
        deterministic: bool | None = False,
        rng_collection: str = "dropout",
        rngs: Rngs = None,
    ) -> None:
        self.mode = mode
        self.batch_axis = batch_axis
        self.scaling = scaling
        self._set_drop(rate, deterministic, rng_collection, rngs)

    def __call__(
        self,
        inputs: Tree,
        *,
        deterministic: bool | None = None,
        rngs: Rngs | KeyLike = None,
        rate: RateLike | None = None,
    ) -> Tree:
        """Drops the branch, for each example or for the whole batch.

        Args:
          inputs: the output of a residual branch, a floating-point or complex array
            or a tree of them.
          deterministic: overrides the attribute.
          rngs: overrides the layer's rngs; may also be a PRNG key.
          rate: overrides the attribute; may be a traced value, such as a schedule's.

        Returns:
          Arrays with the structure, shapes and dtypes of the inputs.
        """
        key, rate, deterministic = self._resolve(deterministic, rngs, rate)
        return drop_path(
            key,
            inputs,
            rate,
            mode=self.mode,
            batch_axis=self.batch_axis,
            scaling=self.scaling,
            deterministic=deterministic,
        )
