"""Condition dropout: the conditions of an example."""

from flax import nnx

from dropjax._checks import OF_CONDITION
from dropjax._types import KeyLike, PyTree, RateLike
from dropjax.functional.inputs import condition_dropout
from dropjax.nnx._base import Drop, Rngs, held, values


class ConditionDropout(Drop, nnx.Module):
    """`dropjax.condition_dropout` as a layer.

    Args:
      rate: the probability of dropping the conditions of an example, in [0, 1].
      fill: the null condition: a number or an array, or a tree prefix of the inputs. To
        learn it, pass an `nnx.Param`.
      batch_axis: the axis of the examples.
      return_mask: whether to return the mask too.
      deterministic: if True, nothing is dropped.
      rng_collection: the name of the rng stream that provides PRNG keys.
      rngs: the source of PRNG keys; None if every call passes its own.

    Example:
      >>> import dropjax.nnx as djn
      >>> from flax import nnx
      >>> null = nnx.Param(jnp.zeros(16))
      >>> layer = djn.ConditionDropout(0.5, fill=null, rngs=nnx.Rngs(0))
      >>> y = layer(jnp.ones((8, 5, 16)))
      >>> assert jnp.array_equal(y, jnp.broadcast_to(y[:, :1, :1], y.shape))
    """

    checks = OF_CONDITION

    def __init__(
        self,
        rate: RateLike,
        fill: PyTree,
        *,
        batch_axis: int = 0,
        return_mask: bool = False,
        deterministic: bool | None = False,
        rng_collection: str = "dropout",
        rngs: Rngs = None,
    ) -> None:
        self.fill = held(fill)
        self.batch_axis = batch_axis
        self.return_mask = return_mask
        self._set_drop(rate, deterministic, rng_collection, rngs)

    def __call__(
        self,
        inputs: PyTree,
        *,
        deterministic: bool | None = None,
        rngs: Rngs | KeyLike = None,
        rate: RateLike | None = None,
        fill: PyTree = None,
    ) -> PyTree:
        """Replaces all conditions of some examples.

        Args:
          inputs: an array or a tree of arrays of numbers or booleans.
          deterministic: overrides the attribute.
          rngs: overrides the layer's rngs; may also be a PRNG key.
          rate: overrides the attribute; may be a traced value, such as a schedule's.
          fill: overrides the attribute.

        Returns:
          Arrays with the structure, shapes and dtypes of the inputs; with
          `return_mask=True`, a pair of these and the mask.
        """
        key, rate, deterministic = self._resolve(deterministic, rngs, rate)
        return condition_dropout(
            key,
            inputs,
            rate,
            fill=values(self.fill if fill is None else fill),
            batch_axis=self.batch_axis,
            return_mask=self.return_mask,
            deterministic=deterministic,
        )
