"""Drop path, or stochastic depth: an example skips a residual branch as a whole."""

from collections.abc import Sequence

from jaxtyping import Array, Bool, Inexact

from dropjax._apply import drop
from dropjax._checks import (
    check_array,
    check_axis,
    check_deterministic,
    check_flag,
    check_mode,
    check_shape,
)
from dropjax._masks import coins_along, keep_mask
from dropjax._types import DropPathMode, KeyLike, RateLike, Scaling


def drop_path(
    key: KeyLike,
    x: Inexact[Array, "*shape"],
    rate: RateLike,
    *,
    mode: DropPathMode = "row",
    batch_axis: int = 0,
    scale_by_keep: bool = True,
    deterministic: bool = False,
) -> Inexact[Array, "*shape"]:
    r"""Drops a residual branch, for each example or for the whole batch.

    $$y_n = \frac{m_n}{1 - rate} x_n, \qquad m_n \sim \text{Bernoulli}(1 - rate)$$

    for example n, with one coin m for all of them where `mode="batch"`. It goes between
    a branch and its sum, as in `x + drop_path(key, branch(x), rate)`. The paper calls
    it stochastic depth, as torchvision does; timm calls it DropPath. It has nothing to
    do with DropConnect, whatever EfficientNet's code says. Rates that grow with depth,
    from 0 to `rate * l / L` in layer l of L, are the paper's.

    Args:
      key: a PRNG key, typed or raw. None where nothing is drawn.
      x: a floating-point or complex array, the output of a residual branch.
      rate: the probability of dropping, in [0, 1], a number or an array that
        broadcasts to the coins' shape.
      mode: "row" for a coin per example, "batch" for one coin.
      batch_axis: the axis of the examples.
      scale_by_keep: if False, survivors are not scaled, so that the branch is weaker
        in training than after it.
      deterministic: if True, nothing is dropped.

    Returns:
      An array of x's shape and dtype; x itself where nothing is to be done.

    Raises:
      ValueError: the mode is unknown, the axis or the rate is out of range, or the key
        is missing.
      TypeError: x is not floating-point or complex, or an argument has a wrong type.

    Example:
      >>> x = jnp.ones((64, 8, 8, 3))
      >>> y = drop_path(key, x, 0.5)
      >>> assert jnp.array_equal(y, jnp.broadcast_to(y[:, :1, :1, :1], x.shape))
      >>> assert set(np.unique(y)) == {0.0, 2.0}

    References:
      Huang, Sun, Liu, Sedra and Weinberger, 2016, "Deep networks with stochastic
      depth", ECCV.
    """
    coins = _coins(check_array(x).shape, mode, batch_axis)
    # Unscaled in training is standard scaling, which is scaled after it.
    scaled = check_flag(scale_by_keep, "scale_by_keep")
    unscaled = not scaled and not check_deterministic(deterministic)
    scaling: Scaling = "standard" if unscaled else "inverted"
    return drop(key, x, rate, coins, scaling=scaling, deterministic=deterministic)


def drop_path_mask(
    key: KeyLike,
    shape: Sequence[int],
    rate: RateLike,
    *,
    mode: DropPathMode = "row",
    batch_axis: int = 0,
    deterministic: bool = False,
) -> Bool[Array, "..."]:
    """The mask that `drop_path` draws for an array of this shape.

    Args:
      key: a PRNG key, typed or raw. None where nothing is drawn.
      shape: the shape of the array to be masked.
      rate: the probability of dropping, in [0, 1], a number or an array.
      mode: "row" for a coin per example, "batch" for one coin.
      batch_axis: the axis of the examples.
      deterministic: if True, the mask is all True.

    Returns:
      A boolean array, True where an example is kept, of size 1 along shared axes.

    Raises:
      ValueError: as `drop_path`.
      TypeError: as `drop_path`.

    Example:
      >>> assert drop_path_mask(key, (64, 8, 8, 3), 0.5).shape == (64, 1, 1, 1)
      >>> assert drop_path_mask(key, (64, 3), 0.5, mode="batch").shape == (1, 1)
    """
    coins = _coins(check_shape(shape), mode, batch_axis)
    return keep_mask(key, coins, rate, deterministic=deterministic)


def _coins(
    shape: tuple[int, ...], mode: DropPathMode, batch_axis: int
) -> tuple[int, ...]:
    check_mode(mode)
    own = check_axis(batch_axis, len(shape), "batch_axis") if mode == "row" else ()
    return coins_along(shape, own)
