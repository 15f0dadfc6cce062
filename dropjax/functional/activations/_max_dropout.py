"""Max-drop: of a group of activations only the greatest may be dropped."""

from collections.abc import Sequence

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Inexact, Key

from dropjax._apply import apply_mask, nan_seen, redrawn, working_dtype
from dropjax._checks import (
    check_array,
    check_axes,
    check_deterministic,
    check_feature_maps,
    check_key,
    check_rate,
    check_rate_shape,
    check_shape,
)
from dropjax._masks import coin_shape, foregone, keep_mask, keep_probability, toss
from dropjax._types import Axes, KeyLike, RateLike


def max_dropout(
    key: KeyLike,
    x: Inexact[Array, "*shape"],
    rate: RateLike,
    *,
    broadcast_dims: Axes | None = None,
    deterministic: bool = False,
) -> Inexact[Array, "*shape"]:
    r"""Drops the greatest activation of a group, at random, and no other one.

    $$y_{gi} = \begin{cases} 0 & x_{gi} = \max_j x_{gj} \text{ and } m_g = 0 \\
      x_{gi} & \text{otherwise} \end{cases}, \qquad
      m_g \sim \text{Bernoulli}(1 - rate)$$

    for element i of group g. A group is what shares a coin. By default it is a feature
    map, all axes but the first and last, in which the strongest place is dropped (the
    paper's feature-wise max-drop); with `broadcast_dims=-1` it is a position, at which
    the strongest channel is (channel-wise). Nothing is scaled. Elements that are equal
    to the maximum are all dropped, and so is NaN.

    It is not what Santos et al. call MaxDropout, which drops all that is above a
    random share of the array's maximum.

    Args:
      key: a PRNG key, typed or raw. None where nothing is drawn.
      x: a floating-point or complex array, by default (batch, *spatial, channels);
        complex numbers are compared by their real parts.
      rate: the probability of dropping a group's maximum, in [0, 1], a number or an
        array that broadcasts to the coins' shape.
      broadcast_dims: the axes of a group; None is all but the first and last.
      deterministic: if True, nothing is dropped.

    Returns:
      An array of x's shape and dtype; x itself where nothing is to be done.

    Raises:
      ValueError: an axis is out of range or named twice, or x has no spatial axis and
        broadcast_dims is None; else as `dropout`.
      TypeError: as `dropout`.

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
    coins = coin_shape(x.shape, group)
    rate = check_rate(rate)
    check_rate_shape(rate, coins)
    certain = foregone(rate, check_deterministic(deterministic))
    if certain:
        return x
    keep = keep_probability(rate, working_dtype(x))
    own = None if certain is False else check_key(key)
    return _max_dropout(own, x, keep, group=group)


def max_dropout_mask(
    key: KeyLike,
    shape: Sequence[int],
    rate: RateLike,
    *,
    broadcast_dims: Axes | None = None,
    deterministic: bool = False,
) -> Bool[Array, "..."]:
    """The coins that `max_dropout` tosses: True where a group keeps its maximum.

    Args:
      key: a PRNG key, typed or raw. None where nothing is drawn.
      shape: the shape of the array.
      rate: the probability of dropping a maximum, in [0, 1], a number or an array.
      broadcast_dims: the axes of a group; None is all but the first and last.
      deterministic: if True, the mask is all True.

    Returns:
      A boolean array of size 1 along the axes of a group.

    Raises:
      ValueError: as `max_dropout`.
      TypeError: as `max_dropout`.

    Example:
      >>> mask = max_dropout_mask(jax.random.key(0), (8, 5, 5, 4), 0.5)
      >>> assert mask.shape == (8, 1, 1, 4)
    """
    shape = check_shape(shape)
    coins = coin_shape(shape, _group(shape, broadcast_dims))
    return keep_mask(key, coins, rate, deterministic=deterministic)


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
    # The maximum of nothing is anything.
    highest = x.real.max(group, keepdims=True, initial=-jnp.inf)
    spared = ~((x.real == highest) | jnp.isnan(x.real))
    if key is not None:
        spared |= toss(key, keep, highest.shape, stored=True)
    return apply_mask(x, spared, keep=nan_seen(1.0, keep))
