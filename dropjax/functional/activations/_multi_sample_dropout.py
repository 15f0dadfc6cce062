"""Multi-sample dropout: several masks of the same features in one pass."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Inexact

from dropjax._apply import drop
from dropjax._checks import (
    check_array,
    check_count,
    check_deterministic,
    check_rate,
    check_rate_shape,
    check_shape,
)
from dropjax._masks import keep_mask
from dropjax._types import KeyLike, RateLike, Scaling


def multi_sample_dropout(
    key: KeyLike,
    x: Inexact[Array, "*shape"],
    rate: RateLike,
    *,
    samples: int = 8,
    scaling: Scaling = "inverted",
    deterministic: bool = False,
) -> Inexact[Array, "samples *shape"]:
    r"""Drops elements of x several times, with an independent mask for each sample.

    $$y_{k,i} = \frac{m_{k,i}}{1 - rate} x_i, \qquad k = 1, ..., samples$$

    The expensive part of a network runs once, its head runs on every sample, and the
    losses of the samples are averaged:

        features = multi_sample_dropout(key, body(x), 0.5)
        losses = cross_entropy(head(features), jnp.broadcast_to(labels, (8, batch)))
        loss = losses.mean()

    Layers act on the last axes, so the head needs no change. After training there is a
    single sample, x, and code that averages over the first axis needs no change either.

    Args:
      key: a typed or raw PRNG key. It may be None if nothing is drawn.
      x: a floating-point or complex array of any shape.
      rate: the probability of dropping, in [0, 1], a number or an array that broadcasts
        to (samples, *shape).
      samples: the number of masks, 1 or more.
      scaling: "inverted" or "standard".
      deterministic: if True, nothing is dropped, and there is a single sample.

    Returns:
      An array of shape (samples, *shape), or (1, *shape) with `deterministic=True`, and
      of x's dtype.

    Raises:
      ValueError: the rate is outside [0, 1], samples is not a positive integer, or the
        key is missing.
      TypeError: x is not floating-point or complex, or an argument has the wrong type.

    Example:
      >>> x = jnp.ones((20, 30))
      >>> y = multi_sample_dropout(jax.random.key(0), x, 0.5, samples=4)
      >>> assert y.shape == (4, 20, 30)
      >>> assert not jnp.array_equal(y[0], y[1])

    References:
      Inoue, 2019, "Multi-sample dropout for accelerated training and better
      generalization", arXiv:1905.09788.
    """
    x = check_array(x)
    shape, rate = _shape_and_rate(x.shape, rate, samples, deterministic)
    copies = jnp.broadcast_to(x, shape)
    return drop(key, copies, rate, shape, scaling=scaling, deterministic=deterministic)


def multi_sample_dropout_mask(
    key: KeyLike,
    shape: Sequence[int],
    rate: RateLike,
    *,
    samples: int = 8,
    deterministic: bool = False,
) -> Bool[Array, "samples *shape"]:
    """The masks that `multi_sample_dropout` draws for this shape; True means keep.

    Args:
      key: a typed or raw PRNG key. It may be None if nothing is drawn.
      shape: the shape of the array to be masked.
      rate: the probability of dropping, in [0, 1], a number or an array.
      samples: the number of masks, 1 or more.
      deterministic: if True, there is a single mask, all True.

    Returns:
      A boolean array of shape (samples, *shape), or (1, *shape).

    Raises:
      ValueError: as for `multi_sample_dropout`.
      TypeError: as for `multi_sample_dropout`.

    Example:
      >>> key, x = jax.random.key(0), jnp.ones((20, 30))
      >>> mask = multi_sample_dropout_mask(key, x.shape, 0.5)
      >>> y = multi_sample_dropout(key, x, 0.5)
      >>> assert jnp.array_equal(y, jnp.where(mask, 2, 0))
    """
    own = check_shape(shape)
    whole, rate = _shape_and_rate(own, rate, samples, deterministic)
    return keep_mask(key, whole, rate, deterministic=deterministic)


def _shape_and_rate(
    shape: tuple[int, ...], rate: RateLike, samples: int, deterministic: bool
) -> tuple[tuple[int, ...], RateLike]:
    """The shape and rate of all samples; after training of one, at their mean rate."""
    whole = (check_count(samples, "samples"), *shape)
    rate = check_rate(rate)
    check_rate_shape(rate, whole)
    if not check_deterministic(deterministic):
        return whole, rate
    if isinstance(rate, jax.Array | np.ndarray) and rate.ndim == len(whole):
        rate = rate.mean(0, keepdims=True)
    return (1, *shape), rate
