"""LayerDrop: a whole layer is skipped, and so is its work."""

from collections.abc import Callable
from typing import Any

import jax
from jax import lax
from jaxtyping import Array, Inexact

from dropjax._apply import nan_where
from dropjax._checks import (
    check_array,
    check_deterministic,
    check_function,
    check_like,
    check_rate,
    check_rate_shape,
)
from dropjax._masks import foregone, keep_mask
from dropjax._types import KeyLike, RateLike


def layer_drop(
    key: KeyLike,
    x: Inexact[Array, "*shape"],
    layer: Callable[[Inexact[Array, "*shape"]], Inexact[Array, "*shape"]],
    rate: RateLike,
    *,
    deterministic: bool = False,
) -> Inexact[Array, "*shape"]:
    r"""Runs a layer, or skips it for the whole batch, and with it the time it takes.

    $$y = \begin{cases} layer(x) & m = 1 \\ x & m = 0 \end{cases}, \qquad
      m \sim \text{Bernoulli}(1 - rate)$$

    One coin is tossed. The layer stands behind a `lax.cond`: where it is dropped,
    neither its forward nor its backward pass is computed. Under `jax.vmap` over keys a
    condition becomes a choice, and both sides are computed. Nothing is scaled, since
    the layer has its skip connection inside; for branches without one, with a coin for
    each example, there is stochastic depth.

    Args:
      key: a PRNG key, typed or raw. None where nothing is drawn.
      x: what the layer takes, an array.
      layer: a function of x that gives an array of x's shape and dtype, as a residual
        block does.
      rate: the probability of dropping the layer, in [0, 1], one number or scalar
        array. It may be traced. No gradient flows into it.
      deterministic: if True, the layer is always run.

    Returns:
      `layer(x)`, or x.

    Raises:
      ValueError: the rate is outside [0, 1] or not one rate, the layer changes the
        shape or dtype, or the key is missing.
      TypeError: x is not floating-point or complex, or an argument has a wrong type.

    Example:
      >>> x = jnp.ones((4, 8))
      >>> keys = jax.random.split(jax.random.key(0), 16)
      >>> means = {float(layer_drop(k, x, jnp.exp, 0.5).mean()) for k in keys}
      >>> assert len(means) == 2

    References:
      Fan, Grave and Joulin, 2020, "Reducing transformer depth on demand with structured
      dropout", ICLR.
    """
    check_array(x)
    check_function(layer, "layer")
    rate = check_rate(rate)
    check_rate_shape(rate, ())
    certain = foregone(rate, check_deterministic(deterministic))

    def run(x: Any) -> Any:
        return check_like(x, layer(x), "layer(x)")

    if certain is not None:
        return run(x) if certain else x
    kept = keep_mask(key, (), rate)
    return lax.cond(kept, lambda x: unless_nan(rate, run(x)), lambda x: x, x)


def unless_nan(rate: RateLike, y: Inexact[Array, "*shape"]) -> Inexact[Array, "*shape"]:
    """Y, or NaN where a traced rate is: it would run the layer, and not be seen."""
    return nan_where(rate, y) if isinstance(rate, jax.Array) else y
