"""Spatial dropout: drops whole feature maps."""

from collections.abc import Sequence

from jaxtyping import Array, Bool, Inexact

from dropjax._checks import check_array, check_shape
from dropjax._masks import spatial_axes
from dropjax._types import KeyLike, RateLike, Scaling
from dropjax.functional.activations._dropout import dropout, dropout_mask


def spatial_dropout(
    key: KeyLike,
    x: Inexact[Array, "*shape"],
    rate: RateLike,
    *,
    channel_axis: int = -1,
    batch_axis: int | None = 0,
    scaling: Scaling = "inverted",
    deterministic: bool = False,
) -> Inexact[Array, "*shape"]:
    r"""Drops whole feature maps: all positions of a channel share one mask value.

    $$y_{nsc} = \frac{m_{nc}}{1 - rate} x_{nsc}, \qquad
      m_{nc} \sim \text{Bernoulli}(1 - rate)$$

    in example n, position s and channel c. This is `dropout` with `broadcast_dims` set
    to all axes except those of the batch and the channels, for any number of spatial
    axes; only one mask value per map is drawn. Keras calls it SpatialDropout1D to 3D;
    PyTorch, with channels first, Dropout1d to 3d.

    Args:
      key: a typed or raw PRNG key. It may be None if nothing is drawn.
      x: a floating-point or complex array, by default (batch, *spatial, channels).
      rate: the probability of dropping a map, in [0, 1], a number or an array that
        broadcasts to the shape of the mask.
      channel_axis: the axis of the feature maps; 1 for PyTorch's layout.
      batch_axis: the axis of the examples, or None if there is none.
      scaling: "inverted" or "standard", as in `dropout`.
      deterministic: if True, nothing is dropped.

    Returns:
      An array of x's shape and dtype; x itself if there is nothing to do.

    Raises:
      ValueError: an axis is out of range, or an axis is repeated; otherwise as for
        `dropout`.
      TypeError: as for `dropout`.

    Example:
      >>> x = jnp.ones((4, 6, 6, 32))
      >>> y = spatial_dropout(jax.random.key(0), x, 0.5)
      >>> assert jnp.array_equal(y, jnp.broadcast_to(y[:, :1, :1, :], y.shape))

    References:
      Tompson, Goroshin, Jain, LeCun and Bregler, 2015, "Efficient object localization
      using convolutional networks", CVPR.
    """
    shared = spatial_axes(check_array(x).ndim, channel_axis, batch_axis)
    return dropout(
        key,
        x,
        rate,
        broadcast_dims=shared,
        scaling=scaling,
        deterministic=deterministic,
    )


def spatial_dropout_mask(
    key: KeyLike,
    shape: Sequence[int],
    rate: RateLike,
    *,
    channel_axis: int = -1,
    batch_axis: int | None = 0,
    deterministic: bool = False,
) -> Bool[Array, "..."]:
    """The mask that `spatial_dropout` draws for an array of this shape.

    Args:
      key: a typed or raw PRNG key. It may be None if nothing is drawn.
      shape: the shape of the array to be masked.
      rate: the probability of dropping a map, in [0, 1], a number or an array.
      channel_axis: the axis of the feature maps.
      batch_axis: the axis of the examples, or None if there is none.
      deterministic: if True, the mask is all True.

    Returns:
      A boolean array, True where a map is kept, of size 1 along the spatial axes.

    Raises:
      ValueError: as for `spatial_dropout`.
      TypeError: as for `spatial_dropout`.

    Example:
      >>> mask = spatial_dropout_mask(jax.random.key(0), (4, 6, 6, 32), 0.5)
      >>> assert mask.shape == (4, 1, 1, 32)
    """
    shape = check_shape(shape)
    shared = spatial_axes(len(shape), channel_axis, batch_axis)
    return dropout_mask(
        key, shape, rate, broadcast_dims=shared, deterministic=deterministic
    )
