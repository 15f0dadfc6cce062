"""Modality dropout: whole modalities of an example."""

from flax import nnx

from dropjax._checks import OF_MODALITIES
from dropjax._types import KeyLike, PyTree, RateLike
from dropjax.functional.inputs import modality_dropout
from dropjax.nnx._base import Drop, Rngs, held, values


class ModalityDropout(Drop, nnx.Module):
    """`dropjax.modality_dropout` as a layer.

    Args:
      rate: the probability of dropping before one is kept, in [0, 1], one for all
        modalities, or a tree prefix of the inputs.
      fill: what replaces a modality: a number or an array, or a tree prefix of the
        inputs. To learn it, pass an `nnx.Param`.
      keep_one: whether at least one modality of each example is kept.
      batch_axis: the axis of the examples.
      deterministic: if True, nothing is dropped.
      rng_collection: the name of the rng stream that provides PRNG keys.
      rngs: the source of PRNG keys; None if every call passes its own.

    Example:
      >>> import dropjax.nnx as djn
      >>> from flax import nnx
      >>> x = {"audio": jnp.ones((8, 4)), "video": jnp.ones((8, 9, 16))}
      >>> layer = djn.ModalityDropout(0.5, rngs=nnx.Rngs(0))
      >>> y, present = layer(x)
      >>> assert jnp.array_equal(y["audio"].any(1), present["audio"])
    """

    checks = OF_MODALITIES

    def __init__(
        self,
        rate: RateLike | PyTree,
        *,
        fill: PyTree = 0.0,
        keep_one: bool = True,
        batch_axis: int = 0,
        deterministic: bool | None = False,
        rng_collection: str = "dropout",
        rngs: Rngs = None,
    ) -> None:
        self.fill = held(fill)
        self.keep_one = keep_one
        self.batch_axis = batch_axis
        self._set_drop(rate, deterministic, rng_collection, rngs)

    def __call__(
        self,
        inputs: PyTree,
        *,
        deterministic: bool | None = None,
        rngs: Rngs | KeyLike = None,
        rate: RateLike | PyTree | None = None,
        fill: PyTree = None,
    ) -> tuple[PyTree, PyTree]:
        """Leaves out modalities of some examples.

        Args:
          inputs: a tree of arrays of numbers or booleans, one for each modality.
          deterministic: overrides the attribute.
          rngs: overrides the layer's rngs; may also be a PRNG key.
          rate: overrides the attribute; may be a traced value, such as a schedule's.
          fill: overrides the attribute.

        Returns:
          Arrays with the structure, shapes and dtypes of the inputs, and a tree that
          tells which of them are present.
        """
        key, rate, deterministic = self._resolve(deterministic, rngs, rate)
        return modality_dropout(
            key,
            inputs,
            rate,
            fill=values(self.fill if fill is None else fill),
            keep_one=self.keep_one,
            batch_axis=self.batch_axis,
            deterministic=deterministic,
        )
