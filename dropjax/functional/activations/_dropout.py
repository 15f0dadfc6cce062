"""Dropout: elements, or groups of elements along an axis, are dropped independently."""

from collections.abc import Sequence

from jaxtyping import Array, Bool, Inexact

from dropjax._apply import drop
from dropjax._checks import check_array, check_shape
from dropjax._masks import keep_mask, mask_shape_of
from dropjax._types import Axes, KeyLike, RateLike, Scaling


def dropout(
    key: KeyLike,
    x: Inexact[Array, "*shape"],
    rate: RateLike,
    *,
    broadcast_dims: Axes = (),
    noise_shape: Sequence[int | None] | None = None,
    scaling: Scaling = "inverted",
    deterministic: bool = False,
) -> Inexact[Array, "*shape"]:
    r"""Sets random elements to zero and scales up the others.

    $$y_i = \frac{m_i}{1 - rate} x_i, \qquad m_i \sim \text{Bernoulli}(1 - rate)$$

    with `scaling="inverted"`, so that the mean of `y` over masks is `x` and the
    function is the identity after training. `scaling="standard"` is the original form:
    `m * x` in training, and `(1 - rate) * x` with `deterministic=True`.

    The mask is never stored. It is drawn in the same loop as the product, and the
    backward pass redraws it from the key.

    Args:
      key: a typed or raw PRNG key. It may be None if nothing is drawn.
      x: a floating-point or complex array of any shape.
      rate: the probability of dropping, in [0, 1]: a number, a traced value, or an
        array that broadcasts to the shape of the mask, such as `rates[:, None]` for one
        rate per example. Traced values are clipped; no gradient flows into them.
      broadcast_dims: the axes along which elements share one mask value.
      noise_shape: the same choice written as a shape, as in Keras, with one entry per
        axis: 1 for a shared axis, None or the size of the axis otherwise. Give at most
        one of the two.
      scaling: "inverted" or "standard".
      deterministic: if True, nothing is dropped.

    Returns:
      An array of x's shape and dtype; x itself if there is nothing to do.

    Raises:
      ValueError: the rate is outside [0, 1], an axis is out of range or repeated,
        broadcast_dims and noise_shape are both given or noise_shape does not fit x, or
        the key is missing.
      TypeError: x is not floating-point or complex, or an argument has the wrong type.

    Example:
      >>> x = jnp.ones((1000, 100))
      >>> y = dropout(jax.random.key(0), x, 0.2)
      >>> assert jnp.array_equal(y, jnp.where(y == 0, 0, x * 1.25))
      >>> assert abs(y.mean() - 1) < 0.01

    References:
      Srivastava, Hinton, Krizhevsky, Sutskever and Salakhutdinov, 2014, "Dropout: a
      simple way to prevent neural networks from overfitting", JMLR 15.
    """
    x = check_array(x)
    mask_shape = mask_shape_of(x.shape, broadcast_dims, noise_shape)
    return drop(key, x, rate, mask_shape, scaling=scaling, deterministic=deterministic)


def dropout_mask(
    key: KeyLike,
    shape: Sequence[int],
    rate: RateLike,
    *,
    broadcast_dims: Axes = (),
    noise_shape: Sequence[int | None] | None = None,
    deterministic: bool = False,
) -> Bool[Array, "..."]:
    """The mask that `dropout` draws for an array of this shape; True means keep.

    It equals `jax.random.bernoulli(key, 1 - rate, mask_shape)` bit for bit, where
    `mask_shape` is `shape` with size 1 along the shared axes.

    Args:
      key: a typed or raw PRNG key. It may be None if nothing is drawn.
      shape: the shape of the array to be masked.
      rate: the probability of dropping, in [0, 1], a number or an array.
      broadcast_dims: the axes along which elements share one mask value.
      noise_shape: the same choice written as a shape, as in Keras. Give at most one of
        the two.
      deterministic: if True, the mask is all True.

    Returns:
      A boolean array that broadcasts to `shape`, of size 1 along shared axes.

    Raises:
      ValueError: as for `dropout`.
      TypeError: as for `dropout`.

    Example:
      >>> key = jax.random.key(0)
      >>> mask = dropout_mask(key, (8, 5, 3), 0.5, broadcast_dims=1)
      >>> assert mask.shape == (8, 1, 3)
      >>> x = jnp.ones((8, 5, 3))
      >>> y = dropout(key, x, 0.5, broadcast_dims=1)
      >>> assert jnp.array_equal(y, jnp.where(mask, 2 * x, 0))
    """
    mask_shape = mask_shape_of(check_shape(shape), broadcast_dims, noise_shape)
    return keep_mask(key, mask_shape, rate, deterministic=deterministic)
