"""Alpha dropout: SELU activations keep their mean and their variance."""

from collections.abc import Sequence

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Inexact, Key

from dropjax._apply import apply_mask, draw_mask_for, drop_by, redrawn, scale, widened
from dropjax._checks import check_array, check_channel_and_batch, check_shape
from dropjax._masks import keep_mask, mask_shape_along, mask_shape_of
from dropjax._types import Axes, KeyLike, RateLike
from dropjax.functional.activations._dropout import dropout_mask

# SELU's limit at minus infinity, -lambda * alpha.
_SATURATED = -1.0507009873554805 * 1.6732632423543772


def alpha_dropout(
    key: KeyLike,
    x: Inexact[Array, "*shape"],
    rate: RateLike,
    *,
    broadcast_dims: Axes = (),
    noise_shape: Sequence[int | None] | None = None,
    deterministic: bool = False,
) -> Inexact[Array, "*shape"]:
    r"""Sets elements to SELU's lower limit, and restores the mean and the variance.

    $$y_i = a \, \text{where}(m_i, x_i, \alpha') + b, \qquad
      m_i \sim \text{Bernoulli}(p), \quad p = 1 - rate$$

    $$\alpha' = -\lambda \alpha = -1.7581, \quad
      a = (p (1 + rate \, \alpha'^2))^{-1/2}, \quad b = -a \, rate \, \alpha'$$

    If x has mean 0 and variance 1, as SELU activations do, so does y; `dropout` would
    preserve only the mean. At a rate of 1, where a diverges, y is 0.

    Args:
      key: a typed or raw PRNG key. It may be None if nothing is drawn.
      x: a floating-point or complex array of any shape.
      rate: the probability of dropping, in [0, 1], a number or an array that broadcasts
        to the shape of the mask.
      broadcast_dims: the axes along which elements share one mask value.
      noise_shape: the same choice written as a shape, as in Keras. Give at most one of
        the two.
      deterministic: if True, nothing is dropped.

    Returns:
      An array of x's shape and dtype; x itself if there is nothing to do.

    Raises:
      ValueError: as for `dropout`.
      TypeError: as for `dropout`.

    Example:
      >>> x = jax.random.normal(jax.random.key(1), (1000, 100))
      >>> y = alpha_dropout(key, x, 0.3)
      >>> assert abs(y.mean()) < 0.02
      >>> assert abs(y.var() - 1) < 0.02

    References:
      Klambauer, Unterthiner, Mayr and Hochreiter, 2017, "Self-normalizing neural
      networks", NeurIPS.
    """
    mask_shape = mask_shape_of(check_array(x).shape, broadcast_dims, noise_shape)
    return drop_by(_restore, key, x, rate, mask_shape, deterministic=deterministic)


def alpha_dropout_mask(
    key: KeyLike,
    shape: Sequence[int],
    rate: RateLike,
    *,
    broadcast_dims: Axes = (),
    noise_shape: Sequence[int | None] | None = None,
    deterministic: bool = False,
) -> Bool[Array, "..."]:
    """The mask that `alpha_dropout` draws for an array of this shape.

    Args:
      key: a typed or raw PRNG key. It may be None if nothing is drawn.
      shape: the shape of the array to be masked.
      rate: the probability of dropping, in [0, 1], a number or an array.
      broadcast_dims: the axes along which elements share one mask value.
      noise_shape: the same choice written as a shape, as in Keras. Give at most one of
        the two.
      deterministic: if True, the mask is all True.

    Returns:
      A boolean array that broadcasts to `shape`, of size 1 along shared axes.

    Raises:
      ValueError: as for `alpha_dropout`.
      TypeError: as for `alpha_dropout`.

    Example:
      >>> mask = alpha_dropout_mask(key, (8, 5), 0.5)
      >>> y = alpha_dropout(key, jnp.full((8, 5), 9.0), 0.5)
      >>> assert jnp.array_equal(y > 0, mask)
    """
    return dropout_mask(
        key,
        shape,
        rate,
        broadcast_dims=broadcast_dims,
        noise_shape=noise_shape,
        deterministic=deterministic,
    )


def feature_alpha_dropout(
    key: KeyLike,
    x: Inexact[Array, "*shape"],
    rate: RateLike,
    *,
    channel_axis: int = -1,
    batch_axis: int | None = 0,
    deterministic: bool = False,
) -> Inexact[Array, "*shape"]:
    r"""Applies alpha dropout to whole feature maps.

    $$y_{nsc} = a \, \text{where}(m_{nc}, x_{nsc}, \alpha') + b, \qquad
      m_{nc} \sim \text{Bernoulli}(1 - rate)$$

    in example n, position s and channel c, with a, b and alpha' as in `alpha_dropout`.
    It is to `alpha_dropout` what `spatial_dropout` is to `dropout`.

    Args:
      key: a typed or raw PRNG key. It may be None if nothing is drawn.
      x: a floating-point or complex array, by default (batch, *spatial, channels).
      rate: the probability of dropping a map, in [0, 1], a number or an array that
        broadcasts to the shape of the mask.
      channel_axis: the axis of the feature maps; 1 for PyTorch's layout.
      batch_axis: the axis of the examples, or None if there is none.
      deterministic: if True, nothing is dropped.

    Returns:
      An array of x's shape and dtype; x itself if there is nothing to do.

    Raises:
      ValueError: as for `spatial_dropout`.
      TypeError: as for `spatial_dropout`.

    Example:
      >>> x = jnp.ones((4, 6, 6, 32))
      >>> y = feature_alpha_dropout(key, x, 0.5)
      >>> assert jnp.array_equal(y, jnp.broadcast_to(y[:, :1, :1], x.shape))

    References:
      Klambauer, Unterthiner, Mayr and Hochreiter, 2017, "Self-normalizing neural
      networks", NeurIPS. Tompson, Goroshin, Jain, LeCun and Bregler, 2015, "Efficient
      object localization using convolutional networks", CVPR.
    """
    mask_shape = _maps(check_array(x).shape, channel_axis, batch_axis)
    return drop_by(_restore, key, x, rate, mask_shape, deterministic=deterministic)


def feature_alpha_dropout_mask(
    key: KeyLike,
    shape: Sequence[int],
    rate: RateLike,
    *,
    channel_axis: int = -1,
    batch_axis: int | None = 0,
    deterministic: bool = False,
) -> Bool[Array, "..."]:
    """The mask that `feature_alpha_dropout` draws for an array of this shape.

    Args:
      key: a typed or raw PRNG key. It may be None if nothing is drawn.
      shape: the shape of the array to be masked.
      rate: the probability of dropping a map, in [0, 1], a number or an array.
      channel_axis: the axis of the feature maps.
      batch_axis: the axis of the examples, or None if there is none.
      deterministic: if True, the mask is all True.

    Returns:
      A boolean array, True where a map is kept, of size 1 along the spatial axes.

    Raises:
      ValueError: as for `feature_alpha_dropout`.
      TypeError: as for `feature_alpha_dropout`.

    Example:
      >>> mask = feature_alpha_dropout_mask(key, (4, 6, 6, 32), 0.5)
      >>> assert mask.shape == (4, 1, 1, 32)
    """
    mask_shape = _maps(check_shape(shape), channel_axis, batch_axis)
    return keep_mask(key, mask_shape, rate, deterministic=deterministic)


def _maps(
    shape: tuple[int, ...], channel_axis: int, batch_axis: int | None
) -> tuple[int, ...]:
    own = check_channel_and_batch(channel_axis, batch_axis, len(shape))
    return mask_shape_along(shape, own)


@redrawn("mask_shape")
def _restore(
    key: Key[Array, ""],
    x: Inexact[Array, "*shape"],
    keep: Float[Array, "..."],
    *,
    mask_shape: tuple[int, ...],
) -> Inexact[Array, "*shape"]:
    masked = apply_mask(
        widened(x), draw_mask_for(x, key, keep, mask_shape), fill=_SATURATED
    )
    # At keep = 0 multiply by 0, and at a NaN rate by NaN.
    gain = jnp.where(keep == 0, 0, _gain(jnp.where(keep == 0, 1, keep)))
    shift = -gain * (1 - keep) * _SATURATED
    shift = jnp.broadcast_to(shift, mask_shape).astype(masked.dtype)
    return (scale(masked, gain) + jnp.broadcast_to(shift, x.shape)).astype(x.dtype)


def _gain(keep: Float[Array, "..."]) -> Float[Array, "..."]:
    return (keep * (1 + (1 - keep) * _SATURATED**2)) ** -0.5
