"""Gaussian dropout and Gaussian noise."""

import flax.linen as nn
from jaxtyping import Array, Inexact

from dropjax._checks import NOISE_RATE
from dropjax._types import Axes, KeyLike, RateLike
from dropjax.functional.activations import gaussian_dropout, gaussian_noise
from dropjax.linen._base import Drop, resolve, resolve_noise


class GaussianDropout(Drop):
    """`dropjax.gaussian_dropout` as a layer.

    Attributes:
      rate: the rate of the dropout whose noise variance is matched, in [0, 1).
      broadcast_dims: the axes along which elements share one noise value.
      deterministic: if True, nothing is dropped. Set it here or pass it in the call.
      rng_collection: the name of the rng collection that provides PRNG keys.

    Example:
      >>> import dropjax.linen as djl
      >>> layer, x = djl.GaussianDropout(0.2), jnp.ones((1000, 100))
      >>> y = layer.apply({}, x, deterministic=False, rngs={"dropout": key})
      >>> assert abs(y.mean() - 1) < 0.01
      >>> assert abs(y.var() - 0.25) < 0.01
    """

    rate: RateLike
    broadcast_dims: Axes = ()
    deterministic: bool | None = None
    rng_collection: str = "dropout"

    checks = NOISE_RATE

    @nn.compact
    def __call__(
        self,
        inputs: Inexact[Array, "*shape"],
        deterministic: bool | None = None,
        rng: KeyLike = None,
        *,
        rate: RateLike | None = None,
    ) -> Inexact[Array, "*shape"]:
        """Multiplies the inputs by Gaussian noise.

        Args:
          inputs: a floating-point or complex array.
          deterministic: if True, nothing is dropped.
          rng: a PRNG key to use instead of one from the collection.
          rate: overrides the attribute; may be a traced value, such as a schedule's.

        Returns:
          An array with the shape and dtype of the inputs.
        """
        key, rate, deterministic = resolve(self, rng, rate, deterministic)
        return gaussian_dropout(
            key,
            inputs,
            rate,
            broadcast_dims=self.broadcast_dims,
            deterministic=deterministic,
        )


class GaussianNoise(Drop):
    """`dropjax.gaussian_noise` as a layer.

    Attributes:
      stddev: the standard deviation of the noise, at least 0.
      broadcast_dims: the axes along which elements share one noise value.
      deterministic: if True, no noise is added. Set it here or pass it in the call.
      rng_collection: the name of the rng collection that provides PRNG keys.

    Example:
      >>> import dropjax.linen as djl
      >>> layer, x = djl.GaussianNoise(0.5), jnp.zeros((1000, 100))
      >>> y = layer.apply({}, x, deterministic=False, rngs={"dropout": key})
      >>> assert abs(y.mean()) < 0.01
      >>> assert abs(y.std() - 0.5) < 0.01
    """

    stddev: RateLike
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
        stddev: RateLike | None = None,
    ) -> Inexact[Array, "*shape"]:
        """Adds Gaussian noise to the inputs.

        Args:
          inputs: a floating-point or complex array.
          deterministic: if True, no noise is added.
          rng: a PRNG key to use instead of one from the collection.
          stddev: overrides the attribute; may be a traced value, such as a schedule's.

        Returns:
          An array with the shape and dtype of the inputs.
        """
        stddev = self.stddev if stddev is None else stddev
        key, deterministic = resolve_noise(self, rng, stddev, deterministic)
        return gaussian_noise(
            key,
            inputs,
            stddev,
            broadcast_dims=self.broadcast_dims,
            deterministic=deterministic,
        )
