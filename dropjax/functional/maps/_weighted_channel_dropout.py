"""Weighted channel dropout: the more active a channel, the more likely it is kept."""

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Inexact, Key

from dropjax._apply import apply_mask, nan_seen, redrawn, working_dtype
from dropjax._checks import (
    check_array,
    check_channel_and_batch,
    check_deterministic,
    check_key,
    check_rate,
    check_rate_shape,
)
from dropjax._masks import draw_mask, foregone, keep_probability, mask_shape_along
from dropjax._random import random_uniform
from dropjax._types import KeyLike, RateLike


def weighted_channel_dropout(
    key: KeyLike,
    x: Inexact[Array, "*shape"],
    rate: RateLike,
    *,
    selected_rate: RateLike = 0.0,
    channel_axis: int = -1,
    batch_axis: int | None = 0,
    deterministic: bool = False,
) -> Inexact[Array, "*shape"]:
    r"""Keeps an exact number of channels, preferring the more active ones.

    $$y_{nsc} = \frac{\sum_j w_{nj}}{\sum_{j \in S_n} w_{nj}} x_{nsc}
      \text{ if } c \in S_n, \text{ else } 0, \qquad
      w_{nc} = \max(\text{mean}_s(x_{nsc}), 0)$$

    in example n, position s and channel c. The set $S_n$ has `(1 - rate) * channels`
    members, rounded to the nearest integer, which are drawn without replacement with
    probabilities proportional to their weights w. A selected channel is still dropped
    with probability `selected_rate`, for which nothing is scaled. The method is meant
    for nonnegative activations, such as the outputs of ReLU.

    The paper calls `1 - rate` wrs_ratio (0.8 in most of its experiments), and
    `1 - selected_rate` q (0.9). No gradient flows into the weights.

    Args:
      key: a typed or raw PRNG key. It may be None if nothing is drawn.
      x: a floating-point or complex array, by default (batch, *spatial, channels). For
        complex numbers, w is computed from the real part.
      rate: the share of channels to drop, in [0, 1], a number or an array with one rate
        per example. It may be traced.
      selected_rate: the probability of dropping a selected channel, in [0, 1].
      channel_axis: the axis of the channels.
      batch_axis: the axis of the examples, or None if there is none.
      deterministic: if True, nothing is dropped.

    Returns:
      An array of x's shape and dtype; x itself if there is nothing to do.

    Raises:
      ValueError: a rate is outside [0, 1], an axis is out of range or repeated, or the
        key is missing.
      TypeError: as for `dropout`.

    Example:
      >>> x = jnp.ones((2, 5, 5, 8))
      >>> y = weighted_channel_dropout(jax.random.key(0), x, 0.25)
      >>> assert (y[:, 0, 0] > 0).sum(-1).tolist() == [6, 6]
      >>> assert jnp.allclose(y.mean(-1), 1)

    References:
      Hou and Wang, 2019, "Weighted channel dropout for regularization of deep
      convolutional neural network", AAAI.
    """
    x = check_array(x)
    own = check_channel_and_batch(channel_axis, batch_axis, x.ndim)
    mask_shape = mask_shape_along(x.shape, own)
    rates = check_rate(rate), check_rate(selected_rate, "selected_rate")
    one_each = tuple(1 if axis == own[0] else n for axis, n in enumerate(mask_shape))
    check_rate_shape(rates[0], one_each)
    check_rate_shape(rates[1], mask_shape, "selected_rate")
    deterministic = check_deterministic(deterministic)
    certain = [foregone(each, deterministic) for each in rates]
    if False in certain:
        return jnp.zeros_like(x)
    if certain == [True, True]:
        return x
    keeps = (keep_probability(each, working_dtype(x)) for each in rates)
    return _drop(check_key(key), x, *keeps, mask_shape=mask_shape, channel_axis=own[0])


@redrawn("mask_shape", "channel_axis", forgetful=False)
def _drop(
    key: Key[Array, ""],
    x: Inexact[Array, "*shape"],
    keep: Float[Array, "..."],
    selected_keep: Float[Array, "..."],
    *,
    mask_shape: tuple[int, ...],
    channel_axis: int,
) -> Inexact[Array, "*shape"]:
    race_key, mask_key = jax.random.split(key)
    shared = tuple(
        axis for axis, size in enumerate(mask_shape) if size != x.shape[axis]
    )
    size = lax.stop_gradient(x.real).astype(keep.dtype)
    weights = size.mean(shared, keepdims=True)
    weights = jnp.maximum(weights, jnp.zeros_like(weights))
    selected = _select(race_key, weights, keep, channel_axis)
    held = jnp.where(selected, weights, jnp.zeros_like(weights))
    share = held.sum(channel_axis, keepdims=True)
    share = share / weights.sum(channel_axis, keepdims=True)
    share = jnp.where(share > 0, share, jnp.ones_like(share))
    mask = draw_mask(mask_key, selected_keep, mask_shape, stored=True)
    seen = nan_seen(nan_seen(share, keep), selected_keep)
    # Keeps the mask and the share from being stored at the size of x.
    scale = jax.checkpoint(
        lambda mask, share: apply_mask(x, mask, keep=share), prevent_cse=False
    )
    return scale(selected & mask, seen)


def _select(
    key: Key[Array, ""],
    weights: Float[Array, "..."],
    keep: Float[Array, "..."],
    axis: int,
) -> Bool[Array, "..."]:
    """Selects channels by a race: those with larger weights tend to arrive earlier."""
    uniform = random_uniform(key, weights.shape, stored=True).astype(weights.dtype)
    times = -jnp.log1p(-uniform) / weights
    places = jnp.argsort(jnp.argsort(times, axis), axis)
    count = jnp.round(jnp.nan_to_num(keep, nan=1.0) * weights.shape[axis])
    return places < lax.broadcast_to_rank(count, weights.ndim).astype(places.dtype)
