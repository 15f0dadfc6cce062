"""Dropout."""

from collections.abc import Sequence

from flax import nnx
from jaxtyping import Array, Inexact

from dropjax._types import Axes, KeyLike, RateLike, Scaling
from dropjax.functional.activations import dropout
from dropjax.nnx._base import Drop, Rngs


class Dropout(Drop, nnx.Dropout):  # type: ignore[misc]  # The rate may be an array.
    """`dropjax.dropout` as a layer, a drop-in replacement for `flax.nnx.Dropout`.

    It is a subclass of `flax.nnx.Dropout`, so that filters find it too, as in
    `model.set_attributes(nnx.Dropout, deterministic=True)`. For the same rngs it drops
    the same elements in every dtype, and returns the same bits in float32.

    Args:
      rate: the probability of dropping, in [0, 1].
      broadcast_dims: the axes along which elements share one mask value.
      noise_shape: the same choice written as a shape, as in Keras. Give at most one of
        the two.
      scaling: "inverted" or "standard".
      deterministic: if True, nothing is dropped.
      rng_collection: the name of the rng stream that provides PRNG keys.
      rngs: the source of PRNG keys; None if every call passes its own.

    Example:
      >>> import dropjax.nnx as djn
      >>> from flax import nnx
      >>> layer, x = djn.Dropout(0.5, rngs=nnx.Rngs(0)), jnp.ones((100, 100))
      >>> assert set(np.unique(layer(x))) == {0.0, 2.0}
      >>> layer.eval()
      >>> assert layer(x) is x
    """

    def __init__(
        self,
        rate: RateLike,
        *,
        broadcast_dims: Axes = (),
        noise_shape: Sequence[int | None] | None = None,
        scaling: Scaling = "inverted",
        deterministic: bool | None = False,
        rng_collection: str = "dropout",
        rngs: Rngs = None,
    ) -> None:
        self.broadcast_dims = broadcast_dims  # type: ignore[assignment]
        self.noise_shape = noise_shape
        self.scaling = scaling
        self._set_drop(rate, deterministic, rng_collection, rngs)

    def __call__(
        self,
        inputs: Inexact[Array, "*shape"],
        *,
        deterministic: bool | None = None,
        rngs: Rngs | KeyLike = None,
        rate: RateLike | None = None,
    ) -> Inexact[Array, "*shape"]:
        """Drops elements of the inputs.

        Args:
          inputs: a floating-point or complex array.
          deterministic: overrides the attribute.
          rngs: overrides the layer's rngs; may also be a PRNG key.
          rate: overrides the attribute; may be a traced value, such as a schedule's.

        Returns:
          An array with the shape and dtype of the inputs.
        """
        key, rate, deterministic = self._resolve(deterministic, rngs, rate)
        return dropout(
            key,
            inputs,
            rate,
            broadcast_dims=self.broadcast_dims,
            noise_shape=self.noise_shape,
            scaling=self.scaling,
            deterministic=deterministic,
        )
