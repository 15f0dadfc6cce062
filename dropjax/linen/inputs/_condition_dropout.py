"""Condition dropout: the conditions of an example."""

import flax.linen as nn

from dropjax._checks import OF_CONDITION
from dropjax._types import KeyLike, PyTree, RateLike
from dropjax.functional.inputs import condition_dropout
from dropjax.linen._base import Drop, resolve


class ConditionDropout(Drop):
    """`dropjax.condition_dropout` as a layer.

    Attributes:
      rate: the probability of dropping the conditions of an example, in [0, 1].
      fill: the null condition: a number or an array, or a tree prefix of the inputs. To
        learn it, pass a parameter in the call.
      batch_axis: the axis of the examples.
      return_mask: whether to return the mask too.
      deterministic: if True, nothing is dropped. Set it here or pass it in the call.
      rng_collection: the name of the rng collection that provides PRNG keys.

    Example:
      >>> import dropjax.linen as djl
      >>> layer, x = djl.ConditionDropout(0.5, fill=1000), jnp.arange(8)
      >>> y = layer.apply({}, x, deterministic=False, rngs={"dropout": key})
      >>> assert ((y == x) | (y == 1000)).all()
    """

    rate: RateLike
    fill: PyTree
    batch_axis: int = 0
    return_mask: bool = False
    deterministic: bool | None = None
    rng_collection: str = "dropout"

    checks = OF_CONDITION

    @nn.compact
    def __call__(
        self,
        inputs: PyTree,
        deterministic: bool | None = None,
        rng: KeyLike = None,
        *,
        rate: RateLike | None = None,
        fill: PyTree = None,
    ) -> PyTree:
        """Replaces all conditions of some examples.

        Args:
          inputs: an array or a tree of arrays of numbers or booleans.
          deterministic: if True, nothing is dropped.
          rng: a PRNG key to use instead of one from the collection.
          rate: overrides the attribute; may be a traced value, such as a schedule's.
          fill: overrides the attribute; may be a parameter.

        Returns:
          Arrays with the structure, shapes and dtypes of the inputs; with
          `return_mask=True`, a pair of these and the mask.
        """
        key, rate, deterministic = resolve(self, rng, rate, deterministic)
        return condition_dropout(
            key,
            inputs,
            rate,
            fill=self.fill if fill is None else fill,
            batch_axis=self.batch_axis,
            return_mask=self.return_mask,
            deterministic=deterministic,
        )
