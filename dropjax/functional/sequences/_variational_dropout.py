"""Variational dropout: one mask for all steps of a sequence."""

from collections.abc import Sequence

from jaxtyping import Array, Bool, Inexact

from dropjax._checks import check_array, check_axis, check_shape
from dropjax._types import KeyLike, RateLike, Scaling
from dropjax.functional.activations._dropout import dropout, dropout_mask


def variational_dropout(
    key: KeyLike,
    x: Inexact[Array, "*shape"],
    rate: RateLike,
    *,
    time_axis: int = -2,
    scaling: Scaling = "inverted",
    deterministic: bool = False,
) -> Inexact[Array, "*shape"]:
    r"""Drops features of a sequence with the same mask at every step.

    $$y_{ntc} = \frac{m_{nc}}{1 - rate} x_{ntc}, \qquad
      m_{nc} \sim \text{Bernoulli}(1 - rate)$$

    in example n, step t and feature c. This is `dropout` with
    `broadcast_dims=time_axis`, also known as locked dropout. For sequences of shape
    (batch, steps, features) it equals `spatial_dropout`; the name is the one used for
    sequences. The method that Kingma, Salimans and Welling (2015) call variational
    dropout, Gaussian noise with a learned variance, is a different one.

    Args:
      key: a typed or raw PRNG key. It may be None if nothing is drawn.
      x: a floating-point or complex array, by default (*batch, steps, features).
      rate: the probability of dropping, in [0, 1], a number or an array that broadcasts
        to the shape of the mask.
      time_axis: the axis of the steps; 0 for PyTorch's default layout.
      scaling: "inverted" or "standard", as in `dropout`.
      deterministic: if True, nothing is dropped.

    Returns:
      An array of x's shape and dtype; x itself if there is nothing to do.

    Raises:
      ValueError: as for `dropout`.
      TypeError: as for `dropout`.

    Example:
      >>> x = jnp.ones((8, 20, 32))
      >>> y = variational_dropout(key, x, 0.5)
      >>> assert jnp.array_equal(y, jnp.broadcast_to(y[:, :1], x.shape))

    References:
      Gal and Ghahramani, 2016, "A theoretically grounded application of dropout in
      recurrent neural networks", NeurIPS. Merity, Keskar and Socher, 2018,
      "Regularizing and optimizing LSTM language models", ICLR.
    """
    shared = check_axis(time_axis, check_array(x).ndim, "time_axis")
    return dropout(
        key,
        x,
        rate,
        broadcast_dims=shared,
        scaling=scaling,
        deterministic=deterministic,
    )


def variational_dropout_mask(
    key: KeyLike,
    shape: Sequence[int],
    rate: RateLike,
    *,
    time_axis: int = -2,
    deterministic: bool = False,
) -> Bool[Array, "..."]:
    """The mask that `variational_dropout` draws for an array of this shape.

    Args:
      key: a typed or raw PRNG key. It may be None if nothing is drawn.
      shape: the shape of the array to be masked.
      rate: the probability of dropping, in [0, 1], a number or an array.
      time_axis: the axis of the steps.
      deterministic: if True, the mask is all True.

    Returns:
      A boolean array, True where a feature is kept, of size 1 along the time axis.

    Raises:
      ValueError: as for `variational_dropout`.
      TypeError: as for `variational_dropout`.

    Example:
      >>> assert variational_dropout_mask(key, (8, 20, 32), 0.5).shape == (8, 1, 32)
    """
    shape = check_shape(shape)
    shared = check_axis(time_axis, len(shape), "time_axis")
    return dropout_mask(
        key, shape, rate, broadcast_dims=shared, deterministic=deterministic
    )
