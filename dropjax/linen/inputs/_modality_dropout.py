"""Modality dropout: whole modalities of an example."""

import flax.linen as nn

from dropjax._checks import OF_MODALITIES
from dropjax._types import KeyLike, PyTree, RateLike
from dropjax.functional.inputs import modality_dropout
from dropjax.linen._base import Drop, resolve


class ModalityDropout(Drop):
    """`dropjax.modality_dropout` as a layer.

    Attributes:
      rate: the probability of dropping before one is kept, in [0, 1], one for all
        modalities, or a tree prefix of the inputs.
      fill: what replaces a modality: a number or an array, or a tree prefix of the
        inputs. To learn it, pass a parameter in the call.
      keep_one: whether at least one modality of each example is kept.
      batch_axis: the axis of the examples.
      deterministic: if True, nothing is dropped. Set it here or pass it in the call.
      rng_collection: the name of the rng collection that provides PRNG keys.

    Example:
      >>> import dropjax.linen as djl
      >>> x = {"audio": jnp.ones((8, 4)), "video": jnp.ones((8, 9, 16))}
      >>> layer = djl.ModalityDropout(0.5)
      >>> y, present = layer.apply({}, x, False, rngs={"dropout": key})
      >>> assert jnp.array_equal(y["audio"].any(1), present["audio"])
    """

    rate: RateLike | PyTree
    fill: PyTree = 0.0
    keep_one: bool = True
    batch_axis: int = 0
    deterministic: bool | None = None
    rng_collection: str = "dropout"

    checks = OF_MODALITIES

    @nn.compact
    def __call__(
        self,
        inputs: PyTree,
        deterministic: bool | None = None,
        rng: KeyLike = None,
        *,
        rate: RateLike | PyTree | None = None,
        fill: PyTree = None,
    ) -> tuple[PyTree, PyTree]:
        """Leaves out modalities of some examples.

        Args:
          inputs: a tree of arrays of numbers or booleans, one for each modality.
          deterministic: if True, nothing is dropped.
          rng: a PRNG key to use instead of one from the collection.
          rate: overrides the attribute; may be a traced value, such as a schedule's.
          fill: overrides the attribute; may be a parameter.

        Returns:
          Arrays with the structure, shapes and dtypes of the inputs, and a tree that
          tells which of them are present.
        """
        key, rate, deterministic = resolve(self, rng, rate, deterministic)
        return modality_dropout(
            key,
            inputs,
            rate,
            fill=self.fill if fill is None else fill,
            keep_one=self.keep_one,
            batch_axis=self.batch_axis,
            deterministic=deterministic,
        )
