"""DropConnect for convolutions: drops weights instead of activations."""

from collections.abc import Callable

from jax import lax
from jax.typing import DTypeLike
from jaxtyping import Array, Inexact

from dropjax._types import KeyLike, MaskPer, Noise, RateLike, Scaling
from dropjax.functional.weights._conv import Conv, Padding, Window
from dropjax.functional.weights._dropped import dropped_product
from dropjax.functional.weights._linear import Drops


def dropconnect_conv(
    key: KeyLike,
    x: Inexact[Array, "*batch_spatial features_in"],
    kernel: Inexact[Array, "*window features_per_group features_out"],
    rate: RateLike,
    *,
    bias: Inexact[Array, " features_out"] | None = None,
    bias_rate: RateLike | None = None,
    strides: Window = 1,
    padding: Padding = "SAME",
    dilation: Window = 1,
    input_dilation: Window = 1,
    feature_group_count: int = 1,
    mask_per: MaskPer = "batch",
    noise: Noise = "bernoulli",
    scaling: Scaling = "inverted",
    precision: lax.PrecisionLike = None,
    preferred_element_type: DTypeLike | None = None,
    conv_general_dilated: Callable[..., Array] | None = None,
    deterministic: bool = False,
) -> Inexact[Array, "*batch_spatial features_out"]:
    r"""Applies a convolution with dropped weights, with masks per batch or per example.

    $$y = x * \left(\frac{M \odot W}{1 - rate}\right) + b, \qquad
      M_i \sim \text{Bernoulli}(1 - rate)$$

    over as many spatial axes as the kernel has (1, 2, 3 or more), channels last. Masks,
    scaling and the residuals of the backward pass are as in `dropconnect_dense`.

    With `mask_per="example"` or a number, the patches of each example are multiplied by
    its masked kernel. Patches and kernels of one mask in 32 are in memory at a time. On
    CPUs this takes one to three times as long as a plain convolution. A custom
    `conv_general_dilated` is called instead of the product with patches.

    `noise="gaussian"` costs two convolutions, and gives each output position
    independent noise.

    Args:
      key: a typed or raw PRNG key. It may be None if nothing is drawn.
      x: the inputs, (*batch, *spatial, features_in), with the same dtype as W. There
        may be any number of batch axes, including none.
      kernel: the weights W, (*window, features_in / groups, features_out).
      rate: the probability of dropping a weight, in [0, 1], a number or an array that
        broadcasts to the kernel's shape.
      bias: the bias b, added after the convolution, or None for no bias.
      bias_rate: the probability of dropping an element of the bias, or None to keep all
        of it.
      strides: the strides of the window, one number or one per spatial axis.
      padding: "SAME", "VALID", "CIRCULAR", "REFLECT", "CAUSAL" (one spatial axis), a
        number, or one number or (low, high) pair per spatial axis. With an
        input_dilation only numbers are allowed, since a name would be ambiguous.
      dilation: the dilation of the kernel, one number or one per spatial axis.
      input_dilation: the dilation of the input; d gives a transposed convolution of
        stride d.
      feature_group_count: the number of feature groups.
      mask_per: which examples share a mask: "batch" (all of them), "example" (none), or
        n for n consecutive examples.
      noise: "bernoulli" for masks, or "gaussian" for noise in their place, as in
        `dropconnect_dense`.
      scaling: "inverted" or "standard", as in `dropout`.
      precision: as in `jax.lax.conv_general_dilated`.
      preferred_element_type: as in `jax.lax.conv_general_dilated`.
      conv_general_dilated: a replacement for `jax.lax.conv_general_dilated`. It brings
        its own backward pass, for which the masked kernel is stored.
      deterministic: if True, nothing is dropped.

    Returns:
      An array of shape (*batch, *spatial, features_out).

    Raises:
      ValueError: a rate is outside [0, 1], shapes, strides, dilations or padding do not
        match, or the key is missing.
      TypeError: x, kernel and bias do not share one floating-point or complex dtype.

    Example:
      >>> key, x, w = jax.random.key(0), jnp.ones((2, 8, 8, 3)), jnp.ones((3, 3, 3, 4))
      >>> y = dropconnect_conv(key, x, w, 0.5, strides=2)
      >>> assert y.shape == (2, 4, 4, 4)
      >>> whole = dropconnect_conv(None, x, w, 0.5, strides=2, deterministic=True)
      >>> assert abs(y.mean() / whole.mean() - 1) < 0.3

    References:
      Wan, Zeiler, Zhang, LeCun and Fergus, 2013, "Regularization of neural networks
      using DropConnect", ICML.
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
    operands = linear.operands(x, kernel, bias)
    drops = Drops(rate, bias_rate, scaling, mask_per, noise, deterministic)
    return dropped_product(key, linear, operands, drops)
