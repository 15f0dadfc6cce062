"""Drop path."""

from flax import nnx
from jaxtyping import Array, Inexact

from dropjax._checks import BATCH_OF_ROWS
from dropjax._types import DropPathMode, KeyLike, RateLike
from dropjax.functional import drop_path
from dropjax.nnx._base import Drop, Rngs


class DropPath(Drop, nnx.Module):
    """`dropjax.drop_path` as a layer, at the end of a residual branch.

    Args:
      rate: the probability of dropping the branch, in [0, 1].
      mode: "row" for a coin per example, "batch" for one coin.
      batch_axis: the axis of the examples.
      scale_by_keep: if False, survivors are not scaled.
      deterministic: if True, nothing is dropped.
      rng_collection: the stream of rngs that the keys are taken from.
      rngs: the source of keys; None if every call brings its own.

    Example:
      >>> import dropjax.nnx as djn
      >>> from flax import nnx
      >>> layer = djn.DropPath(0.5, rngs=nnx.Rngs(0))
      >>> x = jnp.ones((64, 8, 3))
      >>> y = layer(x)
      >>> assert jnp.array_equal(y, jnp.broadcast_to(y[:, :1, :1], x.shape))
    """

    checks = BATCH_OF_ROWS

    def __init__(
        self,
        rate: RateLike,
        *,
        mode: DropPathMode = "row",
        batch_axis: int = 0,
        scale_by_keep: bool = True,
        deterministic: bool | None = False,
        rng_collection: str = "dropout",
        rngs: Rngs = None,
    ) -> None:
        self.mode = mode
        self.batch_axis = batch_axis
        self.scale_by_keep = scale_by_keep
        self._set_drop(rate, deterministic, rng_collection, rngs)

    def __call__(
        self,
        inputs: Inexact[Array, "*shape"],
        *,
        deterministic: bool | None = None,
        rngs: Rngs | KeyLike = None,
        rate: RateLike | None = None,
    ) -> Inexact[Array, "*shape"]:
        """Drops the branch, for each example or for the batch.

        Args:
          inputs: a floating-point or complex array, the output of a residual branch.
          deterministic: overrides the attribute.
          rngs: overrides the layer's; it may also be a key.
          rate: overrides the attribute; it may be traced, as from a schedule.

        Returns:
          An array of the inputs' shape and dtype.
        """
        key, rate, deterministic = self._resolve(deterministic, rngs, rate)
        return drop_path(
            key,
            inputs,
            rate,
            mode=self.mode,
            batch_axis=self.batch_axis,
            scale_by_keep=self.scale_by_keep,
            deterministic=deterministic,
        )
