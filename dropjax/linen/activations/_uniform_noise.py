"""Uniform noise, and the jitter of routers."""

import flax.linen as nn
from jaxtyping import Array, Inexact

from dropjax._types import Axes, KeyLike, RateLike
from dropjax.functional.activations import uniform_noise
from dropjax.linen._base import Drop, resolve_noise


class UniformNoise(Drop):
    """`dropjax.uniform_noise` as a layer.

    Attributes:
      amplitude: the largest size of the noise, at least 0.
      multiplicative: whether inputs are multiplied by the noise instead of added to it.
      broadcast_dims: the axes along which elements share one noise value.
      deterministic: if True, no noise is applied. Set it here or pass it in the call.
      rng_collection: the name of the rng collection that provides PRNG keys.

    Example:
      >>> import dropjax.linen as djl
      >>> layer = djl.UniformNoise(0.01, multiplicative=True)
      >>> x = jnp.full((10, 10), 3.0)
      >>> y = layer.apply({}, x, deterministic=False, rngs={"dropout": key})
      >>> assert (abs(y / 3 - 1) < 0.0101).all()
    """

    amplitude: RateLike
    multiplicative: bool = False
    broadcast_dims: Axes = ()
    deterministic: bool | None = None
    rng_collection: str = "dropout"

    @nn.compact
    def __call__(
        self,
        inputs: Inexact[Array, "*shape"],
        deterministic: bool | None = None,
        rng: KeyLike = None,
        *,
        amplitude: RateLike | None = None,
    ) -> Inexact[Array, "*shape"]:
        """Adds uniform noise to the inputs, or multiplies them by it.

        Args:
          inputs: a floating-point or complex array.
          deterministic: if True, no noise is applied.
          rng: a PRNG key to use instead of one from the collection.
          amplitude: overrides the attribute; may be a traced value, such as a
            schedule's.

        Returns:
          An array with the shape and dtype of the inputs.
        """
        amplitude = self.amplitude if amplitude is None else amplitude
        key, deterministic = resolve_noise(self, rng, amplitude, deterministic)
        return uniform_noise(
            key,
            inputs,
            amplitude,
            multiplicative=self.multiplicative,
            broadcast_dims=self.broadcast_dims,
            deterministic=deterministic,
        )
