"""Gaussian dropout and Gaussian noise: no coin, but noise on every element."""

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Inexact, Key

from dropjax._apply import are_stored, redrawn, scale, widened, working_dtype
from dropjax._checks import (
    check_array,
    check_deterministic,
    check_key,
    check_noise_rate,
    check_rate_shape,
    check_stddev,
    check_stddev_shape,
)
from dropjax._masks import coin_shape, foregone, keep_probability
from dropjax._random import normals
from dropjax._types import Axes, KeyLike, RateLike

# Below it a rate's variance has no bound.
_LEAST_KEEP = 2.0**-23


def gaussian_dropout(
    key: KeyLike,
    x: Inexact[Array, "*shape"],
    rate: RateLike,
    *,
    broadcast_dims: Axes = (),
    deterministic: bool = False,
) -> Inexact[Array, "*shape"]:
    r"""Multiplies by Gaussian noise with the mean and variance of dropout's.

    $$y_i = x_i (1 + \sigma \epsilon_i), \qquad \epsilon_i \sim N(0, 1), \quad
      \sigma^2 = \frac{rate}{1 - rate}$$

    Nothing becomes zero and nothing is to be scaled after training. The noise is drawn
    in float32, by `jax.random.normal`'s formula, and never stored: the backward pass
    draws it again from the key. NaN and Inf stay, as nothing is dropped.

    Args:
      key: a PRNG key, typed or raw. None where nothing is drawn.
      x: a floating-point or complex array of any shape.
      rate: the probability of dropping whose noise is imitated, in [0, 1), a number
        or an array that broadcasts to the noise's shape. Traced values are clipped to
        [0, 1 - 2^-23]; no gradient flows into them.
      broadcast_dims: the axes along which elements share their noise.
      deterministic: if True, there is no noise.

    Returns:
      An array of x's shape and dtype; x itself where nothing is to be done.

    Raises:
      ValueError: the rate is outside [0, 1), where the variance is finite; else as
        `dropout`.
      TypeError: as `dropout`.

    Example:
      >>> x = jnp.full((1000, 100), 3.0)
      >>> y = gaussian_dropout(key, x, 0.2)
      >>> assert abs(y.mean() - 3) < 0.02
      >>> assert abs(y.var() - 9 * 0.2 / 0.8) < 0.05

    References:
      Srivastava, Hinton, Krizhevsky, Sutskever and Salakhutdinov, 2014, "Dropout: a
      simple way to prevent neural networks from overfitting", JMLR 15, section 10.
    """
    x, rate = check_array(x), check_noise_rate(rate)
    coins = coin_shape(x.shape, broadcast_dims)
    check_rate_shape(rate, coins)
    if foregone(rate, check_deterministic(deterministic)):
        return x
    keep = keep_probability(rate, working_dtype(x))
    return _multiply(check_key(key), x, keep, coins=coins)


def gaussian_noise(
    key: KeyLike,
    x: Inexact[Array, "*shape"],
    stddev: RateLike,
    *,
    broadcast_dims: Axes = (),
    deterministic: bool = False,
) -> Inexact[Array, "*shape"]:
    r"""Adds Gaussian noise.

    $$y_i = x_i + stddev \, \epsilon_i, \qquad \epsilon_i \sim N(0, 1)$$

    It stands beside the family, which it is often taken for a part of: it does not
    depend on x, and so has a standard deviation instead of a rate. To a complex array
    real noise is added.

    Args:
      key: a PRNG key, typed or raw. None where nothing is drawn.
      x: a floating-point or complex array of any shape.
      stddev: the noise's standard deviation, 0 or more, a number or an array that
        broadcasts to the noise's shape. It may be traced, and no gradient flows into
        it.
      broadcast_dims: the axes along which elements share their noise.
      deterministic: if True, there is no noise.

    Returns:
      An array of x's shape and dtype; x itself where nothing is to be done.

    Raises:
      ValueError: stddev is negative or not finite, or the key is missing.
      TypeError: as `dropout`.

    Example:
      >>> y = gaussian_noise(key, jnp.zeros((1000, 100)), 0.5)
      >>> assert abs(y.mean()) < 0.01
      >>> assert abs(y.std() - 0.5) < 0.01

    References:
      Bishop, 1995, "Training with noise is equivalent to Tikhonov regularization",
      Neural Computation 7.
    """
    x, stddev = check_array(x), check_stddev(stddev)
    coins = coin_shape(x.shape, broadcast_dims)
    check_stddev_shape(stddev, coins)
    if not is_noisy(stddev, check_deterministic(deterministic)):
        return x
    wide = lax.stop_gradient(jnp.asarray(stddev, working_dtype(x)))
    return _add(check_key(key), x, wide, coins=coins)


def is_noisy(stddev: RateLike, deterministic: bool) -> bool:
    """Whether noise must be drawn, so that a key is needed."""
    return not deterministic and not (isinstance(stddev, int | float) and stddev == 0)


@redrawn("coins")
def _multiply(
    key: Key[Array, ""],
    x: Inexact[Array, "*shape"],
    keep: Float[Array, "..."],
    *,
    coins: tuple[int, ...],
) -> Inexact[Array, "*shape"]:
    keep = jnp.maximum(keep, jnp.asarray(_LEAST_KEEP, keep.dtype))
    deviation = lax.broadcast_to_rank(jnp.sqrt((1 - keep) / keep), x.ndim)
    noise = normals(key, coins, stored=are_stored(coins, x))
    return scale(x, 1 + deviation * noise.astype(keep.dtype))


@redrawn("coins")
def _add(
    key: Key[Array, ""],
    x: Inexact[Array, "*shape"],
    stddev: Float[Array, "..."],
    *,
    coins: tuple[int, ...],
) -> Inexact[Array, "*shape"]:
    wide, deviation = widened(x), lax.broadcast_to_rank(stddev, x.ndim)
    noise = normals(key, coins, stored=are_stored(coins, x)).astype(stddev.dtype)
    return (wide + (deviation * noise).astype(wide.dtype)).astype(x.dtype)
