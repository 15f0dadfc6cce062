"""Gaussian dropout and Gaussian noise."""

from flax import nnx
from jaxtyping import Array, Inexact

from dropjax._checks import NOISE_RATE
from dropjax._types import Axes, KeyLike, RateLike
from dropjax.functional.activations import gaussian_dropout, gaussian_noise
from dropjax.nnx._base import Drop, Rngs


class GaussianDropout(Drop, nnx.Module):
    """`dropjax.gaussian_dropout` as a layer.

    Args:
      rate: the rate of the dropout whose noise variance is matched, in [0, 1).
      broadcast_dims: the axes along which elements share one noise value.
      deterministic: if True, nothing is dropped.
      rng_collection: the name of the rng stream that provides PRNG keys.
      rngs: the source of PRNG keys; None if every call passes its own.

    Example:
      >>> import dropjax.nnx as djn
      >>> from flax import nnx
      >>> layer = djn.GaussianDropout(0.2, rngs=nnx.Rngs(0))
      >>> x = jnp.ones((1000, 100))
      >>> y = layer(x)
      >>> assert abs(y.mean() - 1) < 0.01
      >>> assert abs(y.var() - 0.25) < 0.01
    """

    checks = NOISE_RATE

    def __init__(
        self,
        rate: RateLike,
        *,
        broadcast_dims: Axes = (),
        deterministic: bool | None = False,
        rng_collection: str = "dropout",
        rngs: Rngs = None,
    ) -> None:
        self.broadcast_dims = broadcast_dims
        self._set_drop(rate, deterministic, rng_collection, rngs)

    def __call__(
        self,
        inputs: Inexact[Array, "*shape"],
        *,
        deterministic: bool | None = None,
        rngs: Rngs | KeyLike = None,
        rate: RateLike | None = None,
    ) -> Inexact[Array, "*shape"]:
        """Multiplies the inputs by Gaussian noise.

        Args:
          inputs: a floating-point or complex array.
          deterministic: overrides the attribute.
          rngs: overrides the layer's rngs; may also be a PRNG key.
          rate: overrides the attribute; may be a traced value, such as a schedule's.

        Returns:
          An array with the shape and dtype of the inputs.
        """
        key, rate, deterministic = self._resolve(deterministic, rngs, rate)
        return gaussian_dropout(
            key,
            inputs,
            rate,
            broadcast_dims=self.broadcast_dims,
            deterministic=deterministic,
        )


class GaussianNoise(Drop, nnx.Module):
    """`dropjax.gaussian_noise` as a layer.

    Args:
      stddev: the standard deviation of the noise, at least 0.
      broadcast_dims: the axes along which elements share one noise value.
      deterministic: if True, no noise is added.
      rng_collection: the name of the rng stream that provides PRNG keys.
      rngs: the source of PRNG keys; None if every call passes its own.

    Example:
      >>> import dropjax.nnx as djn
      >>> from flax import nnx
      >>> layer = djn.GaussianNoise(0.5, rngs=nnx.Rngs(0))
      >>> x = jnp.zeros((1000, 100))
      >>> y = layer(x)
      >>> assert abs(y.mean()) < 0.01
      >>> assert abs(y.std() - 0.5) < 0.01
    """

    def __init__(
        self,
        stddev: RateLike,
        *,
        broadcast_dims: Axes = (),
        deterministic: bool | None = False,
        rng_collection: str = "dropout",
        rngs: Rngs = None,
    ) -> None:
        self.stddev = stddev
        self.broadcast_dims = broadcast_dims
        self._set_noise(deterministic, rng_collection, rngs)

    def __call__(
        self,
        inputs: Inexact[Array, "*shape"],
        *,
        deterministic: bool | None = None,
        rngs: Rngs | KeyLike = None,
        stddev: RateLike | None = None,
    ) -> Inexact[Array, "*shape"]:
        """Adds Gaussian noise to the inputs.

        Args:
          inputs: a floating-point or complex array.
          deterministic: overrides the attribute.
          rngs: overrides the layer's rngs; may also be a PRNG key.
          stddev: overrides the attribute; may be a traced value, such as a schedule's.

        Returns:
          An array with the shape and dtype of the inputs.
        """
        stddev = self.stddev if stddev is None else stddev
        key, deterministic = self._resolve_noise(deterministic, rngs, stddev)
        return gaussian_noise(
            key,
            inputs,
            stddev,
            broadcast_dims=self.broadcast_dims,
            deterministic=deterministic,
        )
