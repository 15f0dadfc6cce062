"""Zoneout: elements of a recurrent state keep their previous value."""

from collections.abc import Sequence

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Inexact, Key

from dropjax._apply import apply_mask, nan_seen, redrawn, widened, working_dtype
from dropjax._checks import check_array, check_like, check_shape
from dropjax._masks import draw_mask, keep_mask, prepare
from dropjax._types import KeyLike, RateLike


def zoneout(
    key: KeyLike,
    x: Inexact[Array, "*shape"],
    old: Inexact[Array, "*shape"],
    rate: RateLike,
    *,
    deterministic: bool = False,
) -> Inexact[Array, "*shape"]:
    r"""Randomly replaces elements of the new state by those of the old state.

    $$y_i = m_i x_i + (1 - m_i) old_i, \qquad m_i \sim \text{Bernoulli}(1 - rate)$$

    Nothing is scaled. After training (`deterministic=True`) the state is the mean over
    masks, `(1 - rate) * x + rate * old`.

    Args:
      key: a typed or raw PRNG key. It may be None if nothing is drawn.
      x: the new state, a floating-point or complex array of any shape.
      old: the previous state, of the same shape and dtype.
      rate: the probability that an element keeps its old value, in [0, 1], a number or
        an array that broadcasts to the shape of x. No gradient flows into it.
      deterministic: if True, the mean over masks is returned.

    Returns:
      An array of x's shape and dtype; x itself at a rate of 0, and `old` at a rate of
      1.

    Raises:
      ValueError: old and x differ in shape or dtype; otherwise as for `dropout`.
      TypeError: as for `dropout`.

    Example:
      >>> x, old = jnp.ones((100, 100)), jnp.zeros((100, 100))
      >>> y = zoneout(jax.random.key(0), x, old, 0.1)
      >>> assert abs(y.mean() - 0.9) < 0.02

    References:
      Krueger et al., 2017, "Zoneout: regularizing RNNs by randomly preserving hidden
      activations", ICLR.
    """
    old = check_like(check_array(x), old, "old")
    key, keep, certain = prepare(
        key, rate, x.shape, working_dtype(x), deterministic=deterministic, averages=True
    )
    if certain is not None:
        return x if certain else old
    return (_mean if key is None else _zoneout)(key, x, keep, old)


def zoneout_mask(
    key: KeyLike, shape: Sequence[int], rate: RateLike, *, deterministic: bool = False
) -> Bool[Array, "*shape"]:
    """The mask that `zoneout` draws for a state of this shape; True means new.

    Args:
      key: a typed or raw PRNG key. It may be None if nothing is drawn.
      shape: the shape of the state.
      rate: the probability that an element keeps its old value, in [0, 1], a number or
        an array.
      deterministic: if True, the mask is all True.

    Returns:
      A boolean array of the given shape, True where the new state is taken.

    Raises:
      ValueError: as for `zoneout`.
      TypeError: as for `zoneout`.

    Example:
      >>> mask = zoneout_mask(jax.random.key(0), (100, 100), 0.1)
      >>> assert abs(mask.mean() - 0.9) < 0.02
    """
    return keep_mask(key, check_shape(shape), rate, deterministic=deterministic)


@redrawn()
def _zoneout(
    key: Key[Array, ""],
    x: Inexact[Array, "*shape"],
    keep: Float[Array, "..."],
    old: Inexact[Array, "*shape"],
) -> Inexact[Array, "*shape"]:
    mask = draw_mask(key, keep, x.shape)
    return apply_mask(x, mask, keep=nan_seen(1.0, keep), fill=old)


@redrawn()
def _mean(
    key: None,
    x: Inexact[Array, "*shape"],
    keep: Float[Array, "..."],
    old: Inexact[Array, "*shape"],
) -> Inexact[Array, "*shape"]:
    """The state after training: its mean over masks."""
    wide = widened(x)
    share = jnp.broadcast_to(keep, x.shape).astype(wide.dtype)
    mean = (wide * share + widened(old) * (1 - share)).astype(x.dtype)
    # At a share of 0 or 1, the other state does not contribute, even if it is NaN or
    # Inf.
    return jnp.where(share == 1, x, jnp.where(share == 0, old, mean))
