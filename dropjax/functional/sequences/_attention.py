"""Attention dropout: drops the weights that queries give to keys."""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import DTypeLike
from jaxtyping import Array, ArrayLike, Bool, Float, Inexact, Key

from dropjax._apply import apply_mask, drop, drop_by, redrawn, widened, working_dtype
from dropjax._checks import (
    check_array,
    check_attention,
    check_attention_bias,
    check_attention_mask,
    check_flag,
    check_key,
    check_own_einsum,
    check_rank,
    check_rate,
    check_rate_shape,
    check_shape,
    check_sower,
)
from dropjax._masks import draw_mask, is_drawn, keep_mask
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
    x_{qj}$, as if the dropped keys had been masked out before the softmax. A query all
    of whose keys are dropped gets zeros.

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
      regularization method for fully-connected self-attention networks".
    """
    mask_shape = _mask_shape(check_array(x).shape, broadcast_dropout)
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
    mask_shape = _mask_shape(check_shape(shape), broadcast_dropout)
    return keep_mask(key, mask_shape, rate, deterministic=deterministic)


def dot_product_attention(
    query: Float[Array, "*batch queries heads depth"],
    key: Float[Array, "*batch keys kv_heads depth"],
    value: Float[Array, "*batch keys kv_heads width"],
    *,
    bias: Float[Array, "..."] | None = None,
    mask: ArrayLike | None = None,
    broadcast_dropout: bool = False,
    dropout_rng: KeyLike = None,
    dropout_rate: RateLike = 0.0,
    renormalize: bool = False,
    deterministic: bool = False,
    dtype: DTypeLike | None = None,
    precision: lax.PrecisionLike = None,
    module: Any = None,
    is_causal: bool = False,
    qk_attn_weights_einsum: None = None,
    attn_weights_value_einsum: None = None,
) -> Float[Array, "*batch queries heads width"]:
    r"""Computes attention with dropped weights, without storing a mask.

    $$Y = D(\text{softmax}(Q K^\top / \sqrt{d} + B)) \, V$$

    with D for `attention_dropout`. This is an `attention_fn` for flax's attention
    layers and therefore uses flax's argument names, such as `dropout_rng` and
    `dropout_rate`. Note that these layers pass `broadcast_dropout=True`, so that all
    heads and examples share one mask, unless they are created with
    `broadcast_dropout=False`. For the same arguments, the same weights are dropped as
    by flax's function.

    If there are fewer heads of keys and values than of queries, groups of query heads
    share them. Like `jax.nn.dot_product_attention`, the function computes the softmax
    in float32 or better, regardless of flax's `force_fp32_for_softmax`. The backward
    pass stores the exponentials of the softmax once, and redraws the mask.

    Args:
      query: the queries, a floating-point array.
      key: the keys, with the same dtype and depth as query; their number of heads
        divides that of query.
      value: the values, with the same dtype and shape as key except for the last axis.
      bias: an array that is added to the logits; it broadcasts to (*batch, heads,
        queries, keys).
      mask: True, or nonzero, where a query attends to a key; it broadcasts likewise.
      broadcast_dropout: whether all heads and examples share one mask.
      dropout_rng: a typed or raw PRNG key. It may be None if nothing is drawn.
      dropout_rate: the probability of dropping a weight, in [0, 1].
      renormalize: whether the kept weights are rescaled to a sum of 1.
      deterministic: if True, nothing is dropped.
      dtype: the dtype of the computation; None takes that of query.
      precision: the precision of the products, as in `jax.lax.dot_general`.
      module: a flax module (Linen or NNX) into which the weights before dropout are
        sown as "attention_weights", in the collection "intermediates". Flax's layers
        pass themselves if called with `sow_weights=True`. The weights are then stored.
      is_causal: whether a query attends only to keys at or before its position.
      qk_attn_weights_einsum: flax's replacement for the first product, for example for
        quantized training. Only None is accepted, since this function does its own
        products.
      attn_weights_value_einsum: likewise for the second product.

    Returns:
      An array of shape (*batch, queries, heads, width).

    Raises:
      ValueError: shapes do not match, or an einsum is given; otherwise as for
        `attention_dropout`.
      TypeError: query, key, value or bias is not a real array, the first three have
        different dtypes, or module has no `sow`; otherwise as for `attention_dropout`.

    Example:
      >>> x = jax.random.normal(jax.random.key(0), (2, 8, 4, 16))
      >>> y = dot_product_attention(x, x, x, dropout_rng=key, dropout_rate=0.1)
      >>> assert y.shape == x.shape
      >>> y = dot_product_attention(x, x, x)
      >>> assert jnp.allclose(y, jax.nn.dot_product_attention(x, x, x), atol=1e-5)

    References:
      Vaswani et al., 2017, "Attention is all you need", NeurIPS.
    """
    check_sower(module)
    check_own_einsum(qk_attn_weights_einsum, "qk_attn_weights_einsum")
    check_own_einsum(attn_weights_value_einsum, "attn_weights_value_einsum")
    rate = check_rate(dropout_rate, "dropout_rate")
    if dtype is not None:
        arrays = {"query": query, "key": key, "value": value}
        query, key, value = (
            check_array(x, name).astype(dtype) for name, x in arrays.items()
        )
    check_attention(query, key, value)
    if is_drawn(rate, deterministic):
        dropout_rng = check_key(dropout_rng, "dropout_rng")
    query, key, value = jnp.asarray(query), jnp.asarray(key), jnp.asarray(value)
    exponentials = _exponentials(query, key, bias, mask, is_causal, precision)
    mask_shape = _mask_shape(exponentials.shape, broadcast_dropout)
    check_rate_shape(rate, mask_shape, "dropout_rate")
    if module is not None:
        weights = exponentials / exponentials.sum(-1, keepdims=True)
        module.sow("intermediates", "attention_weights", weights.astype(value.dtype))

    # The exponentials, which their own backward pass stores, are all that this one
    # needs.
    @functools.partial(jax.checkpoint, prevent_cse=False)
    def weigh(exponentials: Array, value: Array) -> Array:
        weights = exponentials / exponentials.sum(-1, keepdims=True)
        dropped = attention_dropout(
            dropout_rng,
            weights.astype(value.dtype),
            rate,
            broadcast_dropout=broadcast_dropout,
            renormalize=renormalize,
            deterministic=deterministic,
        )
        return _weigh(dropped, value, precision)

    return weigh(exponentials, value)


def _mask_shape(shape: tuple[int, ...], broadcast_dropout: bool) -> tuple[int, ...]:
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
    # The scaling cancels, but it makes a NaN rate visible.
    kept = apply_mask(widened(x), mask, keep=keep)
    total = kept.sum(-1, keepdims=True)
    share = kept / jnp.where(total == 0, jnp.ones_like(total), total)
    return apply_mask(share.astype(x.dtype), mask)


def _exponentials(
    query: Array,
    key: Array,
    bias: Array | None,
    mask: ArrayLike | None,
    is_causal: bool,
    precision: lax.PrecisionLike,
) -> Float[Array, "*batch heads queries keys"]:
    """The numerators of the softmax, in float32 or better."""
    wide = working_dtype(query)
    # Put heads before queries, so that the queries are transposed and not all the
    # weights.
    grouped = _grouped(jnp.swapaxes(query, -2, -3), key.shape[-2], -3)
    if precision is None and query.dtype != wide:
        logits = _wide_logits(grouped, key)
    else:
        logits = _compare(grouped, key, wide, precision)
    logits = logits.reshape(*logits.shape[:-4], query.shape[-2], *logits.shape[-2:])
    logits = logits * jnp.asarray(query.shape[-1] ** -0.5, wide)
    if bias is not None:
        bias = check_attention_bias(bias, logits.shape)
        logits = logits + jnp.broadcast_to(bias.astype(wide), logits.shape)
    seen = _seen(mask, is_causal, logits.shape)
    if seen is not None:
        logits = jnp.where(seen, logits, jnp.full_like(logits, jnp.finfo(wide).min))
    highest = lax.stop_gradient(logits.max(-1, keepdims=True, initial=-jnp.inf))
    return jnp.exp(logits - highest)


def _compare(
    query: Array, key: Array, dtype: DTypeLike, precision: lax.PrecisionLike = None
) -> Float[Array, "*batch kv_heads group queries keys"]:
    return jnp.einsum(
        "...kgqd,...skd->...kgqs",
        query,
        key,
        precision=precision,
        preferred_element_type=dtype,
    )


@jax.custom_jvp
def _wide_logits(
    query: Array, key: Array
) -> Float[Array, "*batch kv_heads group queries keys"]:
    """Logits in float32, whose derivatives are products in the dtype of query.

    JAX's own rule would compute float32 products. A precision that names an algorithm
    would avoid that too, but older GPUs and CPUs do not support some of these
    algorithms.
    """
    return _compare(query, key, working_dtype(query))


@_wide_logits.defjvp
def _push_logits(
    primals: tuple[Array, Array], tangents: tuple[Array, Array]
) -> tuple[Array, Array]:
    (query, key), (query_dot, key_dot) = primals, tangents
    logits = _wide_logits(query, key)
    pushed = _compare(query_dot, key, query.dtype)
    pushed = pushed + _compare(query, key_dot, query.dtype)
    return logits, pushed.astype(logits.dtype)


def _seen(
    mask: ArrayLike | None, is_causal: bool, shape: tuple[int, ...]
) -> Bool[Array, "*batch heads queries keys"] | None:
    """Where a query attends to a key; None if all queries attend to all keys."""
    one_way = check_flag(is_causal, "is_causal")
    causal = jnp.tri(shape[-2], shape[-1], dtype=bool) if one_way else None
    if mask is None:
        return None if causal is None else jnp.broadcast_to(causal, shape)
    seen = jnp.asarray(check_attention_mask(mask, shape)).astype(bool)
    seen = jnp.broadcast_to(seen, shape)
    return seen if causal is None else seen & jnp.broadcast_to(causal, shape)


def _weigh(
    weights: Array, value: Array, precision: lax.PrecisionLike
) -> Float[Array, "*batch queries heads width"]:
    """The sums of the values, weighted for each query."""
    heads, groups = weights.shape[-3], _grouped(weights, value.shape[-2], -3)
    y = jnp.einsum("...kgqs,...skd->...kgqd", groups, value, precision=precision)
    return jnp.swapaxes(y.reshape(*y.shape[:-4], heads, *y.shape[-2:]), -2, -3)


def _grouped(x: Array, groups: int, axis: int) -> Array:
    """Groups the heads along a negative axis by the key-value head that they share."""
    heads = x.shape[axis]
    shape = (*x.shape[:axis], groups, heads // (groups or 1), *x.shape[axis + 1 :])
    return x.reshape(shape)
