"""Max-drop: only the largest activation of a group may be dropped."""

from collections.abc import Sequence

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Inexact, Key

from dropjax._apply import apply_mask, nan_seen, redrawn, working_dtype
from dropjax._checks import (
    check_array,
    check_axes,
    check_feature_maps,
    check_shape,
)
from dropjax._masks import draw_mask, keep_mask, mask_shape_of, prepare
from dropjax._types import Axes, KeyLike, RateLike


def max_dropout(
    key: KeyLike,
    x: Inexact[Array, "*shape"],
    rate: RateLike,
    *,
    broadcast_dims: Axes | None = None,
    deterministic: bool = False,
) -> Inexact[Array, "*shape"]:
    r"""Drops the largest activation of each group at random, and no other.

    $$y_{gi} = \begin{cases} 0 & x_{gi} = \max_j x_{gj} \text{ and } m_g = 0 \\
      x_{gi} & \text{otherwise} \end{cases}, \qquad
      m_g \sim \text{Bernoulli}(1 - rate)$$

    for element i of group g. The elements of a group share one mask value. By default a
    group is a feature map (all axes except the first and last), in which the strongest
    position is dropped; this is the paper's feature-wise max-drop. With
    `broadcast_dims=-1` a group is a position, at which the strongest channel is dropped
    (channel-wise). Nothing is scaled. All elements equal to the maximum are dropped,
    and so is NaN.

    This is not the MaxDropout of Santos et al., which drops everything above a random
    fraction of the array's maximum.

    Args:
      key: a typed or raw PRNG key. It may be None if nothing is drawn.
      x: a floating-point or complex array, by default (batch, *spatial, channels).
        Complex numbers are compared by their real parts.
      rate: the probability of dropping a group's maximum, in [0, 1], a number or an
        array that broadcasts to the shape of the mask.
      broadcast_dims: the axes of a group; None means all except the first and last.
      deterministic: if True, nothing is dropped.

    Returns:
      An array of x's shape and dtype; x itself if there is nothing to do.

    Raises:
      ValueError: an axis is out of range or repeated, or x has no spatial axis and
        broadcast_dims is None; otherwise as for `dropout`.
      TypeError: as for `dropout`.

    Example:
      >>> x = jnp.arange(6.0).reshape(1, 3, 2)
      >>> y = max_dropout(None, x, 1.0)
      >>> assert y.tolist() == [[[0.0, 1.0], [2.0, 3.0], [0.0, 0.0]]]

    References:
      Park and Kwak, 2016, "Analysis on the dropout effect in convolutional neural
      networks", ACCV.
    """
    x = check_array(x)
    group = _group(x.shape, broadcast_dims)
    mask_shape = mask_shape_of(x.shape, group)
    dtype = working_dtype(x)
    key, keep, certain = prepare(
        key, rate, mask_shape, dtype, deterministic=deterministic
    )
    return x if certain else _max_dropout(key, x, keep, group=group)


def max_dropout_mask(
    key: KeyLike,
    shape: Sequence[int],
    rate: RateLike,
    *,
    broadcast_dims: Axes | None = None,
    deterministic: bool = False,
) -> Bool[Array, "..."]:
    """The mask that `max_dropout` draws: True where a group keeps its maximum.

    Args:
      key: a typed or raw PRNG key. It may be None if nothing is drawn.
      shape: the shape of the array.
      rate: the probability of dropping a maximum, in [0, 1], a number or an array.
      broadcast_dims: the axes of a group; None means all except the first and last.
      deterministic: if True, the mask is all True.

    Returns:
      A boolean array with size 1 along the axes of a group.

    Raises:
      ValueError: as for `max_dropout`.
      TypeError: as for `max_dropout`.

    Example:
      >>> mask = max_dropout_mask(jax.random.key(0), (8, 5, 5, 4), 0.5)
      >>> assert mask.shape == (8, 1, 1, 4)
    """
    shape = check_shape(shape)
    mask_shape = mask_shape_of(shape, _group(shape, broadcast_dims))
    return keep_mask(key, mask_shape, rate, deterministic=deterministic)


def _group(shape: tuple[int, ...], broadcast_dims: Axes | None) -> tuple[int, ...]:
    if broadcast_dims is None:
        check_feature_maps(shape)
        return tuple(range(1, len(shape) - 1))
    return check_axes(broadcast_dims, len(shape), "broadcast_dims")


@redrawn("group")
def _max_dropout(
    key: Key[Array, ""] | None,
    x: Inexact[Array, "*shape"],
    keep: Float[Array, "..."],
    *,
    group: tuple[int, ...],
) -> Inexact[Array, "*shape"]:
    # The maximum of an empty group needs an initial value.
    highest = x.real.max(group, keepdims=True, initial=-jnp.inf)
    spared = ~((x.real == highest) | jnp.isnan(x.real))
    if key is not None:
        spared |= draw_mask(key, keep, highest.shape, stored=True)
    return apply_mask(x, spared, keep=nan_seen(1.0, keep))
