"""Drop-Activation: drops nonlinearities instead of activations."""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Inexact, Key

from dropjax._apply import redrawn, working_dtype
from dropjax._checks import check_array, check_function, check_like
from dropjax._masks import draw_mask, prepare
from dropjax._types import KeyLike, RateLike
from dropjax.functional.sequences._zoneout import zoneout, zoneout_mask


def drop_activation(
    key: KeyLike,
    x: Inexact[Array, "*shape"],
    rate: RateLike,
    *,
    activation: Callable[[Array], Array] = jax.nn.relu,
    deterministic: bool = False,
) -> Inexact[Array, "*shape"]:
    r"""Applies an activation function, and skips it for random elements.

    $$y_i = m_i f(x_i) + (1 - m_i) x_i, \qquad m_i \sim \text{Bernoulli}(1 - rate)$$

    After training (`deterministic=True`) the output is the mean over masks,
    `(1 - rate) * f(x) + rate * x`. For ReLU this is a leaky ReLU of slope `rate`. The
    function replaces the activation function in the network: a rate of 0 gives f(x),
    and a rate of 1 gives x.

    Args:
      key: a typed or raw PRNG key. It may be None if nothing is drawn.
      x: a floating-point or complex array of any shape.
      rate: the probability of dropping the nonlinearity, in [0, 1], a number or an
        array that broadcasts to the shape of x. The paper uses 0.05.
      activation: f, an elementwise function.
      deterministic: if True, the mean over masks is returned.

    Returns:
      An array of x's shape and dtype.

    Raises:
      ValueError: as for `dropout`.
      TypeError: as for `dropout`.

    Example:
      >>> x = -jnp.ones((100, 100))
      >>> y = drop_activation(jax.random.key(0), x, 0.05)
      >>> assert set(np.unique(y)) == {-1.0, 0.0}
      >>> leaky = drop_activation(None, x, 0.05, deterministic=True)
      >>> assert jnp.allclose(leaky, -0.05)

    References:
      Liang, Khoo and Yang, 2018, "Drop-Activation: implicit parameter reduction and
      harmonious regularization".
    """
    x, activation = check_array(x), check_function(activation, "activation")
    key, keep, certain = prepare(
        key, rate, x.shape, working_dtype(x), deterministic=deterministic, averages=True
    )
    seen = x
    if certain is None:
        # These are the same bits as zoneout's. The clone keeps jax.debug_key_reuse from
        # reporting two uses.
        own = None if key is None else jax.random.clone(key)
        seen = _seen_where_kept(own, jnp.asarray(x), keep)
    y = check_like(x, activation(seen), "activation(x)")
    return zoneout(key, y, x, rate, deterministic=deterministic)


@redrawn()
def _seen_where_kept(
    key: Key[Array, ""] | None, x: Inexact[Array, "*shape"], keep: Float[Array, "..."]
) -> Inexact[Array, "*shape"]:
    """X, but with a gradient only where the activation is kept.

    Elsewhere the activation may have an infinite slope, and 0 times that is NaN.
    """
    if key is None:
        kept = jnp.broadcast_to(keep != 0, x.shape)
    else:
        kept = draw_mask(key, keep, x.shape)
    return lax.select(kept, x, lax.stop_gradient(x))


def drop_activation_mask(
    key: KeyLike, shape: Sequence[int], rate: RateLike, *, deterministic: bool = False
) -> Bool[Array, "*shape"]:
    """The mask that `drop_activation` draws: True where the nonlinearity is kept.

    Args:
      key: a typed or raw PRNG key. It may be None if nothing is drawn.
      shape: the shape of the array.
      rate: the probability of dropping a nonlinearity, a number or an array.
      deterministic: if True, the mask is all True.

    Returns:
      A boolean array of the given shape.

    Raises:
      ValueError: as for `drop_activation`.
      TypeError: as for `drop_activation`.

    Example:
      >>> mask = drop_activation_mask(jax.random.key(0), (100, 100), 0.05)
      >>> assert abs(mask.mean() - 0.95) < 0.02
    """
    return zoneout_mask(key, shape, rate, deterministic=deterministic)
