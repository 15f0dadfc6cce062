"""The inference of the paper: activations averaged over Gaussian pre-activations."""

from collections.abc import Callable

from jax import lax
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from dropjax._checks import check_count, check_function, check_key, check_real
from dropjax._types import KeyLike, RateLike, Scaling
from dropjax.functional.weights._conv import Conv, Padding, Window
from dropjax.functional.weights._dense import Dense
from dropjax.functional.weights._linear import Drops, Linear, Operands
from dropjax.functional.weights._moments import moments
from dropjax.functional.weights._samples import gaussian_sample, mean_of_samples


def dropconnect_gaussian(
    key: KeyLike,
    x: Float[Array, "*batch features_in"],
    kernel: Float[Array, "features_in features_out"],
    rate: RateLike,
    activation: Callable[[Array], Array],
    *,
    num_samples: int,
    bias: Float[Array, " features_out"] | None = None,
    bias_rate: RateLike | None = None,
    scaling: Scaling = "inverted",
    precision: lax.PrecisionLike = None,
    preferred_element_type: DTypeLike | None = None,
    dot_general: Callable[..., Array] | None = None,
) -> Float[Array, "..."]:
    r"""Estimates the mean activation of a DropConnect layer, as in the paper.

    $$y = \frac{1}{S} \sum_{s=1}^{S} a(\mu + \sigma \epsilon_s), \qquad
      \epsilon_s \sim \mathcal{N}(0, 1)$$

    with $\mu$ and $\sigma^2$ from `dropconnect_moments`, since a sum of many dropped
    weights is approximately Gaussian. It costs two dense products, regardless of the
    number of samples S, and S evaluations of the activation. One sample at a time is in
    memory, and the backward pass redraws them. For some activations,
    `dropjax.inference` has closed forms.

    Args:
      key: a typed or raw PRNG key. It may be None if nothing is drawn.
      x: the inputs, with the same dtype as W.
      kernel: the weights W.
      rate: the probability of dropping a weight, in [0, 1], a number or an array that
        broadcasts to the kernel's shape.
      activation: a, a function of the pre-activations, (*batch, features_out). Its
        outputs are averaged, and may have another shape.
      num_samples: S, a positive integer.
      bias: the bias b, added after the product, or None for no bias.
      bias_rate: the probability of dropping an element of the bias, or None to keep all
        of it.
      scaling: "inverted" or "standard", as in `dropout`.
      precision: the precision of both products, as in `jax.lax.dot_general`.
      preferred_element_type: the accumulation and output dtype of both products, as in
        `jax.lax.dot_general`.
      dot_general: a replacement for `jax.lax.dot_general`, called twice.

    Returns:
      An array of the activation's shape and dtype, averaged in float32 or better.

    Raises:
      ValueError: a rate is outside [0, 1], shapes do not match, `num_samples` is not
        positive, or the key is missing.
      TypeError: x, kernel and bias do not share one floating-point dtype.

    Example:
      >>> key, x, w = jax.random.key(0), jnp.ones((2, 50)), jnp.ones((50, 3))
      >>> y = dropconnect_gaussian(key, x, w, 0.5, jax.nn.relu, num_samples=1000)
      >>> assert y.shape == (2, 3) and (abs(y - 50) < 2).all()

    References:
      Wan, Zeiler, Zhang, LeCun and Fergus, 2013, "Regularization of neural networks
      using DropConnect", ICML, section 3.2 and algorithm 2.
    """
    linear = Dense(
        precision=precision,
        preferred_element_type=preferred_element_type,
        function=dot_general,
    )
    operands = linear.operands(check_real(x), kernel, bias)
    drops = Drops(rate, bias_rate, scaling)
    return mean_activation(key, linear, operands, drops, activation, num_samples)


def dropconnect_conv_gaussian(
    key: KeyLike,
    x: Float[Array, "*batch_spatial features_in"],
    kernel: Float[Array, "*window features_per_group features_out"],
    rate: RateLike,
    activation: Callable[[Array], Array],
    *,
    num_samples: int,
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
) -> Float[Array, "..."]:
    r"""Estimates the mean activation of a DropConnect convolution, as in the paper.

    $$y = \frac{1}{S} \sum_{s=1}^{S} a(\mu + \sigma \epsilon_s), \qquad
      \epsilon_s \sim \mathcal{N}(0, 1)$$

    with $\mu$ and $\sigma^2$ from `dropconnect_conv_moments`, and otherwise as in
    `dropconnect_gaussian`. Each output position has independent noise. For elementwise
    activations such as ReLU, the mean is the same as with shared weights.

    Args:
      key: a typed or raw PRNG key. It may be None if nothing is drawn.
      x: the inputs, (*batch, *spatial, features_in), with the same dtype as W.
      kernel: the weights W, (*window, features_in / groups, features_out).
      rate: the probability of dropping a weight, in [0, 1], a number or an array that
        broadcasts to the kernel's shape.
      activation: a, a function of the pre-activations, (*batch, *spatial,
        features_out). Its outputs are averaged, and may have another shape.
      num_samples: S, a positive integer.
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
      An array of the activation's shape and dtype, averaged in float32 or better.

    Raises:
      ValueError: a rate is outside [0, 1], shapes or options do not match,
        `num_samples` is not positive, or the key is missing.
      TypeError: x, kernel and bias do not share one floating-point dtype.

    Example:
      >>> key, x, w = jax.random.key(0), jnp.ones((2, 8, 8, 3)), jnp.ones((3, 3, 3, 4))
      >>> y = dropconnect_conv_gaussian(key, x, w, 0.5, jax.nn.relu, num_samples=10)
      >>> assert y.shape == (2, 8, 8, 4)

    References:
      Wan, Zeiler, Zhang, LeCun and Fergus, 2013, "Regularization of neural networks
      using DropConnect", ICML, section 3.2 and algorithm 2.
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
    drops = Drops(rate, bias_rate, scaling)
    return mean_activation(key, linear, operands, drops, activation, num_samples)


def mean_activation(
    key: KeyLike,
    linear: Linear,
    operands: Operands,
    drops: Drops,
    activation: Callable[[Array], Array] | None,
    num_samples: int,
) -> Array:
    """The mean activation over samples, or the activation of a mean that is certain."""
    num_samples = check_count(num_samples, "num_samples")
    activation = check_function(activation, "activation")
    mean, variance = moments(linear, operands, drops)
    if not drops.are_drawn(operands.bias):
        return activation(mean)
    sample = lambda key: activation(gaussian_sample(key, mean, variance))  # noqa: E731
    return mean_of_samples(check_key(key), sample, num_samples)
