"""DropHead: drops whole attention heads."""

from collections.abc import Sequence

from jaxtyping import Array, Bool, Float, Inexact, Key

from dropjax._apply import apply_mask, drop_by, nan_seen, redrawn
from dropjax._checks import check_array, check_channel_and_batch, check_shape
from dropjax._masks import draw_mask, keep_mask, mask_shape_along
from dropjax._types import KeyLike, RateLike


def drop_head(
    key: KeyLike,
    x: Inexact[Array, "*shape"],
    rate: RateLike,
    *,
    head_axis: int = -2,
    batch_axis: int | None = 0,
    deterministic: bool = False,
) -> Inexact[Array, "*shape"]:
    r"""Drops whole attention heads, and scales the others by the share of heads kept.

    $$y_{nh} = \frac{H m_{nh}}{\sum_j m_{nj}} x_{nh}, \qquad
      m_{nh} \sim \text{Bernoulli}(1 - rate)$$

    in example n and head h of H. The scale is computed from the number of heads that
    each example keeps instead of from the rate, so that every draw preserves the scale
    of the sum over heads. If all heads of an example are dropped, which happens with
    probability `rate**H`, the output is zero.

    Apply it to the outputs of the heads, before the projection that combines them. For
    a rate that changes during training, pass a traced value.

    Args:
      key: a typed or raw PRNG key. It may be None if nothing is drawn.
      x: a floating-point or complex array, by default (batch, ..., heads, depth).
      rate: the probability of dropping a head, in [0, 1], a number or an array that
        broadcasts to the shape of the mask.
      head_axis: the axis of the heads.
      batch_axis: the axis of the examples, or None if there is none.
      deterministic: if True, nothing is dropped.

    Returns:
      An array of x's shape and dtype; x itself if there is nothing to do.

    Raises:
      ValueError: an axis is out of range, or an axis is repeated; otherwise as for
        `dropout`.
      TypeError: as for `dropout`.

    Example:
      >>> y = drop_head(jax.random.key(0), jnp.ones((8, 5, 4, 2)), 0.1)
      >>> assert jnp.allclose(y.mean(2), 1)

    References:
      Zhou, Ge, Wei, Zhou and Xu, 2020, "Scheduled DropHead: a regularization method
      for transformer models", Findings of EMNLP.
    """
    mask_shape, head_axis = _mask_shape(check_array(x).shape, head_axis, batch_axis)
    return drop_by(
        _drop_head,
        key,
        x,
        rate,
        mask_shape,
        deterministic=deterministic,
        head_axis=head_axis,
    )


def drop_head_mask(
    key: KeyLike,
    shape: Sequence[int],
    rate: RateLike,
    *,
    head_axis: int = -2,
    batch_axis: int | None = 0,
    deterministic: bool = False,
) -> Bool[Array, "..."]:
    """The mask that `drop_head` draws for an array of this shape.

    Args:
      key: a typed or raw PRNG key. It may be None if nothing is drawn.
      shape: the shape of the array to be masked.
      rate: the probability of dropping a head, in [0, 1], a number or an array.
      head_axis: the axis of the heads.
      batch_axis: the axis of the examples, or None if there is none.
      deterministic: if True, the mask is all True.

    Returns:
      A boolean array, True where a head is kept, of size 1 along all axes except those
      of the heads and the examples.

    Raises:
      ValueError: as for `drop_head`.
      TypeError: as for `drop_head`.

    Example:
      >>> mask = drop_head_mask(jax.random.key(0), (8, 5, 4, 2), 0.5)
      >>> assert mask.shape == (8, 1, 4, 1)
    """
    mask_shape, _ = _mask_shape(check_shape(shape), head_axis, batch_axis)
    return keep_mask(key, mask_shape, rate, deterministic=deterministic)


def _mask_shape(
    shape: tuple[int, ...], head_axis: int, batch_axis: int | None
) -> tuple[tuple[int, ...], int]:
    own = check_channel_and_batch(head_axis, batch_axis, len(shape), "head_axis")
    return mask_shape_along(shape, own), own[0]


@redrawn("mask_shape", "head_axis")
def _drop_head(
    key: Key[Array, ""],
    x: Inexact[Array, "*shape"],
    keep: Float[Array, "..."],
    *,
    mask_shape: tuple[int, ...],
    head_axis: int,
) -> Inexact[Array, "*shape"]:
    mask = draw_mask(key, keep, mask_shape, stored=True)
    share = mask.mean(head_axis, keepdims=True, dtype=keep.dtype)
    return apply_mask(x, mask, keep=nan_seen(share, keep))
