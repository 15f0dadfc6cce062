"""The mean and the variance of DropConnect outputs, computed without a mask."""

from collections.abc import Callable

import jax.numpy as jnp
from jax import lax
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from dropjax._apply import apply_mask, single_or_wider
from dropjax._checks import (
    check_bias_rate,
    check_rate,
    check_rate_shape,
    check_real,
    check_scaling,
)
from dropjax._masks import keep_probability
from dropjax._types import RateLike, Scaling
from dropjax.functional.weights._conv import Conv, Padding, Window
from dropjax.functional.weights._dense import Dense
from dropjax.functional.weights._linear import Drops, Linear, Operands

Moments = tuple[Float[Array, "*outputs"], Float[Array, "*outputs"]]


def dropconnect_moments(
    x: Float[Array, "*batch features_in"],
    kernel: Float[Array, "features_in features_out"],
    rate: RateLike,
    *,
    bias: Float[Array, " features_out"] | None = None,
    bias_rate: RateLike | None = None,
    scaling: Scaling = "inverted",
    precision: lax.PrecisionLike = None,
    preferred_element_type: DTypeLike | None = None,
    dot_general: Callable[..., Array] | None = None,
) -> Moments:
    r"""The mean and the variance of `dropconnect_dense` over its masks.

    $$\mu = x W + b, \qquad \sigma^2 = \frac{rate}{1 - rate} (x \odot x)(W \odot W)$$

    with `scaling="inverted"`. With "standard", $\mu = (1 - rate) x W + b$ and $\sigma^2
    = rate (1 - rate) (x \odot x)(W \odot W)$. A bias dropped at `bias_rate` contributes
    to both in the same way. The cost is two dense products.

    Args:
      x: the inputs, with the same dtype as W.
      kernel: the weights W.
      rate: the probability of dropping a weight, in [0, 1], a number or an array that
        broadcasts to the kernel's shape. At a rate of 1 both moments of the product are
        0.
      bias: the bias b, added after the product, or None for no bias.
      bias_rate: the probability of dropping an element of the bias, or None to keep all
        of it.
      scaling: "inverted" or "standard", as in `dropout`.
      precision: the precision of both products, as in `jax.lax.dot_general`.
      preferred_element_type: the accumulation and output dtype of both products, as in
        `jax.lax.dot_general`.
      dot_general: a replacement for `jax.lax.dot_general`, called twice.

    Returns:
      The mean and the variance, each of shape (*batch, features_out).

    Raises:
      ValueError: a rate is outside [0, 1], or shapes do not match.
      TypeError: x, kernel and bias do not share one floating-point dtype.

    Example:
      >>> x, w = jnp.ones((2, 5)), jnp.ones((5, 3))
      >>> mean, variance = dropconnect_moments(x, w, 0.5)
      >>> assert (mean == 5).all() and (variance == 5).all()

    References:
      Wan, Zeiler, Zhang, LeCun and Fergus, 2013, "Regularization of neural networks
      using DropConnect", ICML, section 3.2.
    """
    linear = Dense(
        precision=precision,
        preferred_element_type=preferred_element_type,
        function=dot_general,
    )
    operands = linear.operands(check_real(x), kernel, bias)
    mean, variance = moments(linear, operands, Drops(rate, bias_rate, scaling))
    return mean, variance.astype(mean.dtype)


def dropconnect_conv_moments(
    x: Float[Array, "*batch_spatial features_in"],
    kernel: Float[Array, "*window features_per_group features_out"],
    rate: RateLike,
    *,
    bias: Float[Array, " features_out"] | None = None,
    bias_rate: RateLike | None = None,
    strides: Window = 1,
    padding: Padding = "SAME",
    dilation: Window = 1,
    input_dilation: Window = 1,
    feature_group_count: int = 1,
    scaling: Scaling = "inverted",
    precision: lax.PrecisionLike = None,
    preferred_element_type: DTypeLike | None = None,
    conv_general_dilated: Callable[..., Array] | None = None,
) -> Moments:
    r"""The mean and the variance of `dropconnect_conv` over its masks.

    $$\mu = x * W + b, \qquad
      \sigma^2 = \frac{rate}{1 - rate} (x \odot x) * (W \odot W)$$

    with `scaling="inverted"`, and otherwise as in `dropconnect_moments`. The positions
    of an example share weights, so that their outputs are correlated; these are the
    moments of each output by itself.

    Args:
      x: the inputs, (*batch, *spatial, features_in), with the same dtype as W.
      kernel: the weights W, (*window, features_in / groups, features_out).
      rate: the probability of dropping a weight, in [0, 1], a number or an array that
        broadcasts to the kernel's shape.
      bias: the bias b, added after the convolution, or None for no bias.
      bias_rate: the probability of dropping an element of the bias, or None to keep all
        of it.
      strides: the strides of the window, as in `dropconnect_conv`.
      padding: as in `dropconnect_conv`.
      dilation: the dilation of the kernel, as in `dropconnect_conv`.
      input_dilation: the dilation of the input, as in `dropconnect_conv`.
      feature_group_count: the number of feature groups.
      scaling: "inverted" or "standard", as in `dropout`.
      precision: the precision of both convolutions, as in
        `jax.lax.conv_general_dilated`.
      preferred_element_type: the accumulation and output dtype of both convolutions, as
        in `jax.lax.conv_general_dilated`.
      conv_general_dilated: a replacement for `jax.lax.conv_general_dilated`, called
        twice.

    Returns:
      The mean and the variance, each of shape (*batch, *spatial, features_out).

    Raises:
      ValueError: a rate is outside [0, 1], or shapes or options do not match.
      TypeError: x, kernel and bias do not share one floating-point dtype.

    Example:
      >>> x, w = jnp.ones((2, 8, 8, 3)), jnp.ones((3, 3, 3, 4))
      >>> mean, variance = dropconnect_conv_moments(x, w, 0.5, padding="VALID")
      >>> assert (mean == 27).all() and (variance == 27).all()

    References:
      Wan, Zeiler, Zhang, LeCun and Fergus, 2013, "Regularization of neural networks
      using DropConnect", ICML, section 3.2.
    """
    linear = Conv(
        strides=strides,
        padding=padding,
        dilation=dilation,
        input_dilation=input_dilation,
        feature_group_count=feature_group_count,
        precision=precision,
        preferred_element_type=preferred_element_type,
        function=conv_general_dilated,
    )
    operands = linear.operands(check_real(x), kernel, bias)
    mean, variance = moments(linear, operands, Drops(rate, bias_rate, scaling))
    return mean, variance.astype(mean.dtype)


def moments(linear: Linear, operands: Operands, drops: Drops) -> Moments:
    """The mean and the variance of a layer's outputs, the variance before rounding.

    Squares of float16 numbers exceed its range, and are computed in float32.
    """
    x, kernel, _ = operands
    wide = jnp.dtype(jnp.float32 if x.dtype == jnp.float16 else x.dtype)
    own, spread = _weight_moments(kernel, drops.rate, "rate", drops.scaling)
    mean = linear(x, own.astype(kernel.dtype))
    variance = linear(x.astype(wide) ** 2, spread.astype(wide))
    return _add_bias(mean, variance, linear, operands, drops)


def _weight_moments(
    weights: Float[Array, "*shape"], rate: RateLike, name: str, scaling: Scaling
) -> tuple[Float[Array, "*shape"], Float[Array, "*shape"]]:
    """The mean and the variance of dropped weights, in float32 or better."""
    rate = check_rate(rate, name)
    check_rate_shape(rate, weights.shape, name)
    check_scaling(scaling)
    wide = single_or_wider(weights.dtype)
    keep = jnp.asarray(keep_probability(rate, wide))
    left = jnp.broadcast_to(keep != 0, weights.shape)
    if scaling == "standard":
        mean, spread = keep, keep * (1 - keep)
    else:
        mean = jnp.ones_like(keep)
        spread = (1 - keep) / jnp.where(keep == 0, jnp.ones_like(keep), keep)
    values = weights.astype(wide)
    factors = (lax.broadcast_to_rank(f, weights.ndim) for f in (mean, spread))
    moments = (value * f for value, f in zip((values, values**2), factors, strict=True))
    first, second = (apply_mask(m, left) for m in moments)
    return first, second


def _add_bias(
    mean: Array, variance: Array, linear: Linear, operands: Operands, drops: Drops
) -> Moments:
    bias, rate = operands.bias, check_bias_rate(drops.bias_rate)
    if bias is None:
        return mean, variance
    if rate is None:
        return mean + linear.placed(bias, operands, mean), variance
    own, spread = _weight_moments(bias, rate, "bias_rate", drops.scaling)
    shifted = mean + linear.placed(own, operands, mean)
    return shifted, variance + linear.placed(spread, operands, variance)
