"""Losses that compare passes through a net, each with masks of its own."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from dropjax._apply import working_dtype
from dropjax._checks import check_array, check_axes, check_same_shape
from dropjax._types import Axes

__all__ = ["r_drop"]


def r_drop(
    first: Float[Array, "*shape"], second: Float[Array, "*shape"], *, axis: Axes = -1
) -> Float[Array, "*rest"]:
    r"""R-Drop's consistency loss: how far two passes of one example lie apart.

    $$L = \tfrac{1}{2} \left(KL(P \| Q) + KL(Q \| P)\right)
        = \tfrac{1}{2} \sum_c (p_c - q_c) (\log p_c - \log q_c)$$

    with P and Q the softmax of the two passes' logits. The whole loss adds it, with a
    weight alpha, 0.3 to 5 in the paper, to the cross-entropy of both passes. Both are
    one pass over the batch twice, whose rows have masks of their own:

        logits = apply(params, jnp.concatenate([x, x]))
        first, second = jnp.split(logits, 2)
        labelled = cross_entropy(logits, jnp.concatenate([labels, labels]))
        loss = 2 * labelled.mean() + alpha * r_drop(first, second).mean()

    Every term is computed from the logarithms, without a difference of probabilities:
    none is negative, and none overflows. A class whose logit is -inf in both passes
    counts nothing.

    Args:
      first: the logits of one pass, a real floating-point array.
      second: the logits of the other, of the same shape and dtype.
      axis: the axis of the classes, or several.

    Returns:
      The loss of each example, 0 or more: the logits' shape without the axis, in
      float32 or better.

    Raises:
      ValueError: the shapes or the dtypes differ, or the axis is out of range.
      TypeError: an argument is not a real floating-point array.

    Example:
      >>> from dropjax.losses import r_drop
      >>> logits = jnp.array([[1.0, 2.0, 3.0]])
      >>> assert r_drop(logits, logits + 5).max() < 1e-6
      >>> assert r_drop(logits, -logits)[0] > 1

    References:
      Wu, Li, Wang, Meng, Qin, Chen, Zhang and Liu, 2021, "R-Drop: regularized dropout
      for neural networks", NeurIPS.
    """
    check_same_shape(check_array(first, "first"), check_array(second, "second"))
    axes = check_axes(axis, first.ndim, "axis")
    log_p, log_q = _log_softmax(first, axes), _log_softmax(second, axes)
    nowhere = jnp.isneginf(log_p) & jnp.isneginf(log_q)
    # Each selected first: -inf less -inf is a NaN, of which jax.debug_nans complains.
    difference = jnp.where(nowhere, 0, log_q) - jnp.where(nowhere, 0, log_p)
    # (p - q)(log p - log q) from the larger of the two: the exponent is 0 or less.
    grows = difference > 0
    down = jnp.where(grows, 0, difference)
    up = jnp.where(grows, -difference, 0)
    larger_p = jnp.exp(log_p) * jnp.expm1(down) * down
    larger_q = jnp.exp(log_q) * jnp.expm1(up) * up
    return 0.5 * (larger_p + larger_q).sum(axes)


def _log_softmax(
    logits: Float[Array, "*shape"], axes: tuple[int, ...]
) -> Float[Array, "*shape"]:
    logits = jnp.asarray(logits)
    return jax.nn.log_softmax(logits.astype(working_dtype(logits)), axes)
