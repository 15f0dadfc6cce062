"""Attention dropout: drops the weights that queries give to keys."""

from collections.abc import Sequence

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Inexact, Key

from dropjax._apply import apply_mask, drop, drop_by, nan_where, redrawn, widened
from dropjax._checks import check_array, check_flag, check_rank, check_shape
from dropjax._masks import draw_mask, keep_mask
from dropjax._types import KeyLike, RateLike


def attention_dropout(
    key: KeyLike,
    x: Inexact[Array, "*batch heads queries keys"],
    rate: RateLike,
    *,
    broadcast_dropout: bool = False,
    renormalize: bool = False,
    deterministic: bool = False,
) -> Inexact[Array, "*batch heads queries keys"]:
    r"""Drops attention weights after the softmax.

    $$y_{qk} = \frac{m_{qk}}{1 - rate} x_{qk}, \qquad
      m_{qk} \sim \text{Bernoulli}(1 - rate)$$

    for query q and key k. By default every head of every example has its own mask. With
    `broadcast_dropout=True` all heads and examples share one mask, which is the default
    of flax's attention layers.

    In both cases the weights of a query sum to 1 only on average. With
    `renormalize=True` they sum to 1 exactly, $y_{qk} = m_{qk} x_{qk} / \sum_j m_{qj}
    x_{qj}$, as if the dropped keys had been masked out before the softmax. This is
    DropKey, which sets logits to minus infinity instead of weights to zero: both give
    the same weights and gradients, and neither divides by $1 - rate$. They differ only
    for a query all of whose keys are dropped. Here it gets zeros; the published DropKey
    subtracts $10^{12}$ from dropped logits, so that it gets about the mean of all
    values. DropKey also lets the rate decrease over the layers, which is up to the
    caller.

    Args:
      key: a typed or raw PRNG key. It may be None if nothing is drawn.
      x: attention weights, whose last axis sums to 1.
      rate: the probability of dropping, in [0, 1], a number or an array that broadcasts
        to the shape of the mask.
      broadcast_dropout: whether all heads and examples share one mask.
      renormalize: whether the kept weights are rescaled to a sum of 1.
      deterministic: if True, nothing is dropped.

    Returns:
      An array of x's shape and dtype; x itself if there is nothing to do.

    Raises:
      ValueError: x has fewer than two axes; otherwise as for `dropout`.
      TypeError: as for `dropout`.

    Example:
      >>> x = jax.nn.softmax(jnp.ones((2, 4, 8, 8)))
      >>> y = attention_dropout(jax.random.key(0), x, 0.5, renormalize=True)
      >>> assert jnp.allclose(y.sum(-1), 1)

    References:
      Vaswani et al., 2017, "Attention is all you need", NeurIPS. For the variant that
      renormalizes: Zehui, Liu, Huang, Chen, Qiu and Huang, 2019, "DropAttention: a
      regularization method for fully-connected self-attention networks"; Li, Hu, Nie,
      Han, Jiang, Guo and Liu, 2023, "DropKey for vision transformer", CVPR.
    """
    mask_shape = attention_mask_shape(check_array(x).shape, broadcast_dropout)
    if not check_flag(renormalize, "renormalize"):
        return drop(
            key, x, rate, mask_shape, scaling="inverted", deterministic=deterministic
        )
    return drop_by(_renormalize, key, x, rate, mask_shape, deterministic=deterministic)


def attention_dropout_mask(
    key: KeyLike,
    shape: Sequence[int],
    rate: RateLike,
    *,
    broadcast_dropout: bool = False,
    deterministic: bool = False,
) -> Bool[Array, "..."]:
    """The mask that `attention_dropout` draws for weights of this shape.

    Args:
      key: a typed or raw PRNG key. It may be None if nothing is drawn.
      shape: the shape of the weights, (*batch, heads, queries, keys).
      rate: the probability of dropping, in [0, 1], a number or an array.
      broadcast_dropout: whether all heads and examples share one mask.
      deterministic: if True, the mask is all True.

    Returns:
      A boolean array, True where a weight is kept. If heads and examples share one
      mask, it has size 1 along all axes except the last two.

    Raises:
      ValueError: as for `attention_dropout`.
      TypeError: as for `attention_dropout`.

    Example:
      >>> key, shape = jax.random.key(0), (2, 4, 8, 8)
      >>> mask = attention_dropout_mask(key, shape, 0.5, broadcast_dropout=True)
      >>> assert mask.shape == (1, 1, 8, 8)
    """
    mask_shape = attention_mask_shape(check_shape(shape), broadcast_dropout)
    return keep_mask(key, mask_shape, rate, deterministic=deterministic)


def attention_mask_shape(
    shape: tuple[int, ...], broadcast_dropout: bool
) -> tuple[int, ...]:
    check_rank(shape, 2, "(..., queries, keys)", "attention weights")
    shared = check_flag(broadcast_dropout, "broadcast_dropout")
    return (1,) * (len(shape) - 2) + shape[-2:] if shared else shape


@redrawn("mask_shape")
def _renormalize(
    key: Key[Array, ""],
    x: Inexact[Array, "*shape"],
    keep: Float[Array, "..."],
    *,
    mask_shape: tuple[int, ...],
) -> Inexact[Array, "*shape"]:
    mask = draw_mask(key, keep, mask_shape)
    # Not scaled: where keys have rates of their own, the scaling would not cancel.
    kept = nan_where(keep, apply_mask(widened(x), mask))
    total = kept.sum(-1, keepdims=True)
    share = kept / jnp.where(total == 0, jnp.ones_like(total), total)
    return apply_mask(share.astype(x.dtype), mask)
