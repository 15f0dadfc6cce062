"""The mean of activation functions of a Gaussian input."""

import jax.numpy as jnp
import numpy as np
from jax import nn
from jax.scipy.stats import norm
from jaxtyping import Array, Bool, Float

from dropjax._apply import single_or_wider
from dropjax._checks import check_like, check_real

Moment = Float[Array, "*shape"]

_FAR = 40
"""This many deviations away the density and its integral are 0, even in float64."""


def relu_mean(mean: Moment, variance: Moment) -> Moment:
    r"""The exact mean of ReLU: $\mu \Phi(\mu / s) + s \phi(\mu / s)$.

    Like the other means, it is computed in float32 or better and rounded once.

    Args:
      mean: the mean of the input, a real floating-point array.
      variance: the variance of the input, 0 or more, with the shape and dtype of the
        mean.

    Returns:
      The mean of the activation; where the variance is 0, ReLU of the mean.

    Raises:
      ValueError: mean and variance differ in shape or dtype.
      TypeError: mean or variance is not a real floating-point array.

    Example:
      >>> y = relu_mean(jnp.zeros(3), jnp.ones(3))
      >>> assert jnp.allclose(y, 1 / jnp.sqrt(2 * jnp.pi))

    References:
      Wan, Zeiler, Zhang, LeCun and Fergus, 2013, "Regularization of neural networks
      using DropConnect", ICML.
    """
    mean, variance, dtype = _widened(mean, variance)
    return _relu_mean(mean, variance).astype(dtype)


def leaky_relu_mean(
    mean: Moment, variance: Moment, *, negative_slope: float = 0.01
) -> Moment:
    r"""The exact mean of leaky ReLU: $a \mu + (1 - a) E[\text{ReLU}]$.

    Args:
      mean: the mean of the input.
      variance: the variance of the input, 0 or more.
      negative_slope: a, the slope below 0; 1 gives the identity.

    Returns:
      The mean of the activation.

    Raises:
      ValueError: as for `relu_mean`.
      TypeError: as for `relu_mean`.

    Example:
      >>> y = leaky_relu_mean(jnp.ones(3), jnp.ones(3), negative_slope=1.0)
      >>> assert jnp.allclose(y, 1)
    """
    mean, variance, dtype = _widened(mean, variance)
    rest = (1 - negative_slope) * _relu_mean(mean, variance)
    return (negative_slope * mean + rest).astype(dtype)


def gelu_mean(mean: Moment, variance: Moment) -> Moment:
    r"""The exact mean of the erf form of GELU.

    $$E = \mu \Phi(\mu / t) + \frac{\sigma^2}{t} \phi(\mu / t), \qquad
      t = \sqrt{1 + \sigma^2}$$

    Args:
      mean: the mean of the input.
      variance: the variance of the input, 0 or more.

    Returns:
      The mean of `jax.nn.gelu(x, approximate=False)`.

    Raises:
      ValueError: as for `relu_mean`.
      TypeError: as for `relu_mean`.

    Example:
      >>> y = gelu_mean(jnp.ones(3), jnp.zeros(3))
      >>> assert jnp.allclose(y, jax.nn.gelu(jnp.ones(3), approximate=False))
    """
    mean, variance, dtype = _widened(mean, variance)
    wide = jnp.sqrt(1 + variance)
    one_sided = _is_far(mean, wide)
    near = jnp.where(one_sided, 0, mean)
    ratio = near / wide
    smooth = near * norm.cdf(ratio) + variance / wide * norm.pdf(ratio)
    return jnp.where(one_sided, nn.relu(mean), smooth).astype(dtype)


def sigmoid_mean(mean: Moment, variance: Moment) -> Moment:
    r"""The mean of the sigmoid, by MacKay's probit approximation.

    $$E \approx \text{sigmoid}\left(\mu / \sqrt{1 + \pi \sigma^2 / 8}\right)$$

    It is exact if $\sigma = 0$ or $\mu = 0$; the error is below 0.02.

    Args:
      mean: the mean of the input.
      variance: the variance of the input, 0 or more.

    Returns:
      The mean of the activation.

    Raises:
      ValueError: as for `relu_mean`.
      TypeError: as for `relu_mean`.

    Example:
      >>> assert jnp.allclose(sigmoid_mean(jnp.zeros(3), jnp.ones(3)), 0.5)

    References:
      MacKay, 1992, "The evidence framework applied to classification networks",
      Neural Computation 4.
    """
    mean, variance, dtype = _widened(mean, variance)
    return nn.sigmoid(mean / jnp.sqrt(1 + np.pi / 8 * variance)).astype(dtype)


def tanh_mean(mean: Moment, variance: Moment) -> Moment:
    r"""The mean of tanh, from that of the sigmoid: $2 E[\text{sigmoid}(2 x)] - 1$.

    $$E \approx \tanh\left(\mu / \sqrt{1 + \pi \sigma^2 / 2}\right)$$

    It is exact if $\sigma = 0$ or $\mu = 0$; the error is below 0.04.

    Args:
      mean: the mean of the input.
      variance: the variance of the input, 0 or more.

    Returns:
      The mean of the activation.

    Raises:
      ValueError: as for `relu_mean`.
      TypeError: as for `relu_mean`.

    Example:
      >>> assert jnp.allclose(tanh_mean(jnp.zeros(3), jnp.ones(3)), 0)
    """
    mean, variance, dtype = _widened(mean, variance)
    return jnp.tanh(mean / jnp.sqrt(1 + np.pi / 2 * variance)).astype(dtype)


def _widened(mean: Moment, variance: Moment) -> tuple[Moment, Moment, np.dtype]:
    """The moments in float32 or better, and the dtype to round to."""
    check_like(check_real(mean, "mean"), variance, "variance", "mean")
    mean, variance = jnp.asarray(mean), jnp.asarray(variance)
    wide = single_or_wider(mean.dtype)
    return mean.astype(wide), variance.astype(wide), mean.dtype


def _relu_mean(mean: Moment, variance: Moment) -> Moment:
    # Double `where`: at a variance of 0 or close to it, the root has no finite
    # gradient.
    flat = variance < jnp.finfo(variance.dtype).tiny
    deviation = jnp.sqrt(jnp.where(flat, 1, variance))
    one_sided = flat | _is_far(mean, deviation)
    near = jnp.where(one_sided, 0, mean)
    ratio = near / deviation
    smooth = near * norm.cdf(ratio) + deviation * norm.pdf(ratio)
    return jnp.where(one_sided, nn.relu(mean), smooth)


def _is_far(mean: Moment, deviation: Moment) -> Bool[Array, "*shape"]:
    """Where the Gaussian lies on one side of 0, so that the ratio might overflow."""
    return jnp.abs(mean) > _FAR * deviation
