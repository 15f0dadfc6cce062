"""Gaussian dropout and Gaussian noise: noise on every element, without a mask."""

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Inexact, Key

from dropjax._apply import are_stored, redrawn, scale, widened, working_dtype
from dropjax._checks import (
    check_array,
    check_broadcasts,
    check_deterministic,
    check_key,
    check_noise_rate,
    check_noise_size,
)
from dropjax._masks import mask_shape_of, prepare
from dropjax._random import normals
from dropjax._types import Axes, KeyLike, RateLike

# The smallest keep probability; the variance grows without bound as it goes to 0.
_LEAST_KEEP = 2.0**-23


def gaussian_dropout(
    key: KeyLike,
    x: Inexact[Array, "*shape"],
    rate: RateLike,
    *,
    broadcast_dims: Axes = (),
    deterministic: bool = False,
) -> Inexact[Array, "*shape"]:
    r"""Multiplies by Gaussian noise with the same mean and variance as dropout.

    $$y_i = x_i (1 + \sigma \epsilon_i), \qquad \epsilon_i \sim N(0, 1), \quad
      \sigma^2 = \frac{rate}{1 - rate}$$

    No element is set to zero, and nothing is scaled after training. The noise is drawn
    in float32 by the formula of `jax.random.normal`. It is never stored; the backward
    pass redraws it from the key. NaN and Inf are propagated, since nothing is dropped.

    Args:
      key: a typed or raw PRNG key. It may be None if nothing is drawn.
      x: a floating-point or complex array of any shape.
      rate: the dropout rate whose noise is imitated, in [0, 1), a number or an array
        that broadcasts to the shape of the noise. Traced values are clipped to
        [0, 1 - 2^-23]; no gradient flows into them.
      broadcast_dims: the axes along which elements share one noise value.
      deterministic: if True, no noise is applied.

    Returns:
      An array of x's shape and dtype; x itself if there is nothing to do.

    Raises:
      ValueError: the rate is outside [0, 1), where the variance is finite; otherwise as
        for `dropout`.
      TypeError: as for `dropout`.

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
    mask_shape = mask_shape_of(x.shape, broadcast_dims)
    dtype = working_dtype(x)
    key, keep, certain = prepare(
        key, rate, mask_shape, dtype, deterministic=deterministic
    )
    return x if certain else _multiply(key, x, keep, mask_shape=mask_shape)


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

    Strictly speaking this is not a member of the drop family, although it is often
    listed with it: the noise does not depend on x, so it has a standard deviation
    instead of a rate. The noise is real even if x is complex.

    Args:
      key: a typed or raw PRNG key. It may be None if nothing is drawn.
      x: a floating-point or complex array of any shape.
      stddev: the standard deviation of the noise, 0 or more, a number or an array that
        broadcasts to the shape of the noise. It may be traced; no gradient flows into
        it.
      broadcast_dims: the axes along which elements share one noise value.
      deterministic: if True, no noise is added.

    Returns:
      An array of x's shape and dtype; x itself if there is nothing to do.

    Raises:
      ValueError: stddev is negative or not finite, or the key is missing.
      TypeError: as for `dropout`.

    Example:
      >>> y = gaussian_noise(key, jnp.zeros((1000, 100)), 0.5)
      >>> assert abs(y.mean()) < 0.01
      >>> assert abs(y.std() - 0.5) < 0.01

    References:
      Bishop, 1995, "Training with noise is equivalent to Tikhonov regularization",
      Neural Computation 7.
    """
    x, stddev = check_array(x), check_noise_size(stddev, "stddev")
    mask_shape = mask_shape_of(x.shape, broadcast_dims)
    check_broadcasts(stddev, mask_shape, "stddev", "the noise's shape")
    if not is_noisy(stddev, check_deterministic(deterministic)):
        return x
    wide = lax.stop_gradient(jnp.asarray(stddev, working_dtype(x)))
    return _add(check_key(key), x, wide, mask_shape=mask_shape)


def is_noisy(stddev: RateLike, deterministic: bool) -> bool:
    """Whether noise is drawn, so that a key is needed."""
    return not deterministic and not (isinstance(stddev, int | float) and stddev == 0)


@redrawn("mask_shape")
def _multiply(
    key: Key[Array, ""],
    x: Inexact[Array, "*shape"],
    keep: Float[Array, "..."],
    *,
    mask_shape: tuple[int, ...],
) -> Inexact[Array, "*shape"]:
    keep = jnp.maximum(keep, jnp.asarray(_LEAST_KEEP, keep.dtype))
    deviation = lax.broadcast_to_rank(jnp.sqrt((1 - keep) / keep), x.ndim)
    noise = normals(key, mask_shape, stored=are_stored(mask_shape, x))
    return scale(x, 1 + deviation * noise.astype(keep.dtype))


@redrawn("mask_shape")
def _add(
    key: Key[Array, ""],
    x: Inexact[Array, "*shape"],
    stddev: Float[Array, "..."],
    *,
    mask_shape: tuple[int, ...],
) -> Inexact[Array, "*shape"]:
    wide, deviation = widened(x), lax.broadcast_to_rank(stddev, x.ndim)
    noise = normals(key, mask_shape, stored=are_stored(mask_shape, x))
    noise = (deviation * noise.astype(stddev.dtype)).astype(wide.dtype)
    return (wide + noise).astype(x.dtype)
