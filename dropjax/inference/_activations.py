"""The mean of an activation whose input is Gaussian."""

import jax.numpy as jnp
import numpy as np
from jax import nn
from jax.scipy.stats import norm
from jaxtyping import Array, Float

Moment = Float[Array, "*shape"]


def relu_mean(mean: Moment, variance: Moment) -> Moment:
    r"""The mean of ReLU, exactly: $\mu \Phi(\mu / s) + s \phi(\mu / s)$.

    Args:
      mean: of the activation's input.
      variance: of the activation's input, 0 or more.

    Returns:
      The mean of the activation; ReLU of the mean where the variance is 0.

    Example:
      >>> y = relu_mean(jnp.zeros(3), jnp.ones(3))
      >>> assert jnp.allclose(y, 1 / jnp.sqrt(2 * jnp.pi))

    References:
      Wan, Zeiler, Zhang, LeCun and Fergus, 2013, "Regularization of neural networks
      using DropConnect", ICML.
    """
    # Double `where`: the square root has no gradient at 0.
    spread = variance > 0
    deviation = jnp.sqrt(jnp.where(spread, variance, jnp.ones_like(variance)))
    ratio = mean / deviation
    smooth = mean * norm.cdf(ratio) + deviation * norm.pdf(ratio)
    return jnp.where(spread, smooth, nn.relu(mean))


def leaky_relu_mean(
    mean: Moment, variance: Moment, *, negative_slope: float = 0.01
) -> Moment:
    r"""The mean of leaky ReLU, exactly: $a \mu + (1 - a) E[\text{ReLU}]$.

    Args:
      mean: of the activation's input.
      variance: of the activation's input, 0 or more.
      negative_slope: a, the slope below 0; 1 makes it the identity.

    Returns:
      The mean of the activation.

    Example:
      >>> y = leaky_relu_mean(jnp.ones(3), jnp.ones(3), negative_slope=1.0)
      >>> assert jnp.allclose(y, 1)
    """
    rest = (1 - negative_slope) * relu_mean(mean, variance)
    return negative_slope * mean + rest


def gelu_mean(mean: Moment, variance: Moment) -> Moment:
    r"""The mean of the erf form of GELU, exactly.

    $$E = \mu \Phi(\mu / t) + \frac{\sigma^2}{t} \phi(\mu / t), \qquad
      t = \sqrt{1 + \sigma^2}$$

    Args:
      mean: of the activation's input.
      variance: of the activation's input, 0 or more.

    Returns:
      The mean of `jax.nn.gelu(x, approximate=False)`.

    Example:
      >>> y = gelu_mean(jnp.ones(3), jnp.zeros(3))
      >>> assert jnp.allclose(y, jax.nn.gelu(jnp.ones(3), approximate=False))
    """
    wide = jnp.sqrt(1 + variance)
    ratio = mean / wide
    return mean * norm.cdf(ratio) + variance / wide * norm.pdf(ratio)


def sigmoid_mean(mean: Moment, variance: Moment) -> Moment:
    r"""The mean of the sigmoid, by MacKay's probit approximation.

    $$E \approx \text{sigmoid}\left(\mu / \sqrt{1 + \pi \sigma^2 / 8}\right)$$

    It is exact without variance and at $\mu = 0$; its error stays below 0.02.

    Args:
      mean: of the activation's input.
      variance: of the activation's input, 0 or more.

    Returns:
      The mean of the activation.

    Example:
      >>> assert jnp.allclose(sigmoid_mean(jnp.zeros(3), jnp.ones(3)), 0.5)

    References:
      MacKay, 1992, "The evidence framework applied to classification networks",
      Neural Computation 4.
    """
    return nn.sigmoid(mean / jnp.sqrt(1 + np.pi / 8 * variance))


def tanh_mean(mean: Moment, variance: Moment) -> Moment:
    r"""The mean of tanh, from that of the sigmoid: $2 E[\text{sigmoid}(2 x)] - 1$.

    Exact without variance and at $\mu = 0$; its error stays below 0.04.

    Args:
      mean: of the activation's input.
      variance: of the activation's input, 0 or more.

    Returns:
      The mean of the activation.

    Example:
      >>> assert jnp.allclose(tanh_mean(jnp.zeros(3), jnp.ones(3)), 0)
    """
    return 2 * sigmoid_mean(2 * mean, 4 * variance) - 1
