"""Uniform noise, and the jitter of routers."""

from flax import nnx
from jaxtyping import Array, Inexact

from dropjax._types import Axes, KeyLike, RateLike
from dropjax.functional.activations import uniform_noise
from dropjax.nnx._base import Drop, Rngs, held


class UniformNoise(Drop, nnx.Module):
    """`dropjax.uniform_noise` as a layer.

    Args:
      amplitude: the largest size of the noise, at least 0.
      multiplicative: whether inputs are multiplied by the noise instead of added to it.
      broadcast_dims: the axes along which elements share one noise value.
      deterministic: if True, no noise is applied.
      rng_collection: the name of the rng stream that provides PRNG keys.
      rngs: the source of PRNG keys; None if every call passes its own.

    Example:
      >>> import dropjax.nnx as djn
      >>> from flax import nnx
      >>> layer = djn.UniformNoise(0.01, multiplicative=True, rngs=nnx.Rngs(0))
      >>> x = jnp.full((10, 10), 3.0)
      >>> y = layer(x)
      >>> assert (abs(y / 3 - 1) < 0.0101).all()
    """

    def __init__(
        self,
        amplitude: RateLike,
        *,
        multiplicative: bool = False,
        broadcast_dims: Axes = (),
        deterministic: bool | None = False,
        rng_collection: str = "dropout",
        rngs: Rngs = None,
    ) -> None:
        self.amplitude = held(amplitude)
        self.multiplicative = multiplicative
        self.broadcast_dims = broadcast_dims
        self._set_noise(deterministic, rng_collection, rngs)

    def __call__(
        self,
        inputs: Inexact[Array, "*shape"],
        *,
        deterministic: bool | None = None,
        rngs: Rngs | KeyLike = None,
        amplitude: RateLike | None = None,
    ) -> Inexact[Array, "*shape"]:
        """Adds uniform noise to the inputs, or multiplies them by it.

        Args:
          inputs: a floating-point or complex array.
          deterministic: overrides the attribute.
          rngs: overrides the layer's rngs; may also be a PRNG key.
          amplitude: overrides the attribute; may be a traced value, such as a
            schedule's.

        Returns:
          An array with the shape and dtype of the inputs.
        """
        amplitude = self.amplitude if amplitude is None else amplitude
        key, deterministic = self._resolve_noise(deterministic, rngs, amplitude)
        return uniform_noise(
            key,
            inputs,
            amplitude,
            multiplicative=self.multiplicative,
            broadcast_dims=self.broadcast_dims,
            deterministic=deterministic,
        )
