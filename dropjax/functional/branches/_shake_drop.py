"""ShakeDrop: scales a residual branch randomly, with other factors for the gradient."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Inexact, Key

from dropjax._apply import are_stored, nan_seen, redrawn, scale, working_dtype
from dropjax._checks import check_array, check_range
from dropjax._masks import draw_mask, mask_shape_of, prepare
from dropjax._random import random_uniform
from dropjax._types import Axes, KeyLike, RateLike


def shake_drop(
    key: KeyLike,
    x: Inexact[Array, "*shape"],
    rate: RateLike,
    *,
    forward_range: tuple[float, float] = (-1.0, 1.0),
    backward_range: tuple[float, float] = (0.0, 1.0),
    broadcast_dims: Axes | None = None,
    deterministic: bool = False,
) -> Inexact[Array, "*shape"]:
    r"""Perturbs a residual branch with different random factors forward and backward.

    $$y = (m + \alpha - m \alpha) \, x, \qquad
      \frac{\partial y}{\partial x} := m + \beta - m \beta, \qquad
      m \sim \text{Bernoulli}(1 - rate)$$

    with $\alpha$ and $\beta$ uniform in `forward_range` and `backward_range`: the
    branch is unchanged where m is 1, and multiplied by a random factor where m is 0.
    After training (`deterministic=True`) the branch is multiplied by the mean of its
    factors, `1 - rate + rate * mean(forward_range)`.

    By default each example has its own m and factors, the image level of the paper.
    `broadcast_dims` gives the axes that share them: all axes for its batch level, and
    none, `()`, for its pixel level. That the derivative is not that of the function is
    the point of the method; forward-mode derivatives use the backward factors too.

    Args:
      key: a typed or raw PRNG key. It may be None if nothing is drawn.
      x: the output of the branch, a floating-point or complex array.
      rate: the probability of perturbing the branch, in [0, 1], a number or an array
        that broadcasts to the shape of the mask. In the paper it grows with depth, up
        to 0.5.
      forward_range: the smallest and largest $\alpha$.
      backward_range: the smallest and largest $\beta$.
      broadcast_dims: the axes along which elements share m and the factors; None means
        all except the first.
      deterministic: if True, the mean of the factors is used.

    Returns:
      An array of x's shape and dtype; x itself at a rate of 0.

    Raises:
      ValueError: the rate is outside [0, 1], a range is not ascending, an axis is out
        of range or repeated, or the key is missing.
      TypeError: as for `dropout`.

    Example:
      >>> x = jnp.ones((8, 4, 4, 3))
      >>> y = shake_drop(jax.random.key(0), x, 0.5)
      >>> assert jnp.array_equal(y, jnp.broadcast_to(y[:, :1, :1, :1], y.shape))
      >>> assert (abs(y) <= 1).all()

    References:
      Yamada, Iwamura, Akiba and Kise, 2019, "ShakeDrop regularization for deep residual
      learning", IEEE Access 7.
    """
    x = check_array(x)
    mask_shape = _mask_shape(x.shape, broadcast_dims)
    ranges = (
        check_range(forward_range, "forward_range"),
        check_range(backward_range, "backward_range"),
    )
    key, keep, certain = prepare(
        key,
        rate,
        mask_shape,
        working_dtype(x),
        deterministic=deterministic,
        draws_at_one=True,
        averages=True,
    )
    if certain:
        return x
    if key is None:
        return _calm(None, x, keep, forward_range=ranges[0])
    return _shake_drop(key, x, keep, mask_shape=mask_shape, ranges=ranges)


def _mask_shape(shape: tuple[int, ...], broadcast_dims: Axes | None) -> tuple[int, ...]:
    if broadcast_dims is None:
        return shape[:1] + (1,) * (len(shape) - 1)
    return mask_shape_of(shape, broadcast_dims)


@redrawn("forward_range")
def _calm(
    key: None,
    x: Inexact[Array, "*shape"],
    keep: Float[Array, "..."],
    *,
    forward_range: tuple[float, float],
) -> Inexact[Array, "*shape"]:
    mean = np.asarray(sum(forward_range) / 2, keep.dtype)
    return scale(x, keep + (1 - keep) * mean)


@redrawn("mask_shape", "ranges")
def _shake_drop(
    key: Key[Array, ""],
    x: Inexact[Array, "*shape"],
    keep: Float[Array, "..."],
    *,
    mask_shape: tuple[int, ...],
    ranges: tuple[tuple[float, float], ...],
) -> Inexact[Array, "*shape"]:
    mask_key, *shakes = jax.random.split(key, 3)
    stored = are_stored(mask_shape, x)
    mask = draw_mask(mask_key, keep, mask_shape, stored=stored)
    one = jnp.asarray(nan_seen(1.0, keep), keep.dtype)
    alpha, beta = (
        jnp.where(
            mask, one, _between(shake, mask_shape, limits, stored).astype(keep.dtype)
        )
        for shake, limits in zip(shakes, ranges, strict=True)
    )
    return _two_faced(x, alpha, beta)


def _between(
    key: Key[Array, ""], shape: Sequence[int], limits: tuple[float, float], stored: bool
) -> Float[Array, "..."]:
    low, high = (np.float32(limit) for limit in limits)
    return low + (high - low) * random_uniform(key, tuple(shape), stored=stored)


@jax.custom_jvp
def _two_faced(
    x: Inexact[Array, "*shape"], alpha: Float[Array, "..."], beta: Float[Array, "..."]
) -> Inexact[Array, "*shape"]:
    """Alpha times x, with beta as its derivative."""
    return scale(x, alpha)


@_two_faced.defjvp
def _two_faced_jvp(
    primals: tuple[Array, Array, Array], tangents: tuple[Array, Array, Array]
) -> tuple[Array, Array]:
    x, alpha, beta = primals
    return _two_faced(x, alpha, beta), _two_faced(tangents[0], beta, beta)
