"""Losses that compare several passes through a network, each with its own masks."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from dropjax._apply import working_dtype
from dropjax._checks import check_axes, check_like, check_real
from dropjax._types import Axes

__all__ = ["r_drop"]


def r_drop(
    first: Float[Array, "*shape"], second: Float[Array, "*shape"], *, axis: Axes = -1
) -> Float[Array, "*rest"]:
    r"""Computes R-Drop's consistency loss: how much two passes of an example differ.

    $$L = \tfrac{1}{2} \left(KL(P \| Q) + KL(Q \| P)\right)
        = \tfrac{1}{2} \sum_c (p_c - q_c) (\log p_c - \log q_c)$$

    with P and Q the softmax of the logits of the two passes. The total loss adds it to
    the cross-entropy of both passes with a weight alpha, which is 0.3 to 5 in the
    paper. To compute both in one pass, repeat the batch, whose rows have independent
    masks:

        logits = apply(params, jnp.concatenate([x, x]))
        first, second = jnp.split(logits, 2)
        labelled = cross_entropy(logits, jnp.concatenate([labels, labels]))
        loss = 2 * labelled.mean() + alpha * r_drop(first, second).mean()

    Every term is computed from the logarithms, without a difference of probabilities,
    so that none is negative and none overflows. A class whose logit is -inf in both
    passes does not contribute.

    Args:
      first: the logits of one pass, a real floating-point array.
      second: the logits of the other pass, of the same shape and dtype.
      axis: the axis or axes of the classes.

    Returns:
      The loss of each example, 0 or more, with the shape of the logits without the
      class axes, in float32 or better.

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
    check_like(check_real(first, "first"), second, "second", "first")
    axes = check_axes(axis, first.ndim, "axis")
    log_p, log_q = _log_softmax(first, axes), _log_softmax(second, axes)
    nowhere = jnp.isneginf(log_p) & jnp.isneginf(log_q)
    # Select before subtracting: -inf minus -inf is NaN, which jax.debug_nans reports.
    difference = jnp.where(nowhere, 0, log_q) - jnp.where(nowhere, 0, log_p)
    # (p - q)(log p - log q) from the larger of the two, so that the exponent is at most
    # 0.
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
