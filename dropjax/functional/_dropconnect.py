"""DropConnect: a weight, instead of an activation, is kept or dropped."""

from collections.abc import Callable
from typing import Any

import jax
from jax import lax
from jax.typing import DTypeLike
from jaxtyping import Array, Inexact

from dropjax._checks import (
    check_array,
    check_bias,
    check_conv_shapes,
    check_dense_shapes,
    check_key,
    check_rate,
)
from dropjax._masks import is_drawn
from dropjax._random import leaf_keys
from dropjax._types import KeyLike, RateLike, Scaling
from dropjax.functional._conv import Padding, Window, conv
from dropjax.functional._dropout import dropout


def dropconnect_dense(
    key: KeyLike,
    x: Inexact[Array, "*batch features_in"],
    kernel: Inexact[Array, "features_in features_out"],
    rate: RateLike,
    *,
    bias: Inexact[Array, " features_out"] | None = None,
    bias_rate: RateLike | None = None,
    scaling: Scaling = "inverted",
    precision: lax.PrecisionLike = None,
    preferred_element_type: DTypeLike | None = None,
    dot_general: Callable[..., Array] | None = None,
    deterministic: bool = False,
) -> Inexact[Array, "*batch features_out"]:
    r"""A dense layer whose weights are dropped: one mask for the whole batch.

    $$y = x \left(\frac{M \odot W}{1 - rate}\right) + b, \qquad
      M_{ij} \sim \text{Bernoulli}(1 - rate)$$

    with `scaling="inverted"`; "standard" scales nothing in training and W by
    `1 - rate` with `deterministic=True`. The masks are those of
    `dropconnect(key, {"kernel": kernel, "bias": bias}, ...)`. The backward pass
    keeps x, W and the key, and draws and applies the mask again.

    Args:
      key: a PRNG key, typed or raw. None where nothing is drawn.
      x: the inputs, of W's dtype.
      kernel: the weights W.
      rate: the probability of dropping a weight, in [0, 1], a number or an array that
        broadcasts to the kernel.
      bias: b, added after the product. None for none.
      bias_rate: the probability of dropping an element of the bias; None keeps it
        whole. The paper drops both at one rate.
      scaling: "inverted" or "standard", as in `dropout`.
      precision: of the product, as in `jax.lax.dot_general`.
      preferred_element_type: of the product, as in `jax.lax.dot_general`.
      dot_general: a replacement for `jax.lax.dot_general`. Its backward pass is its
        own: the masked kernel is then kept for it.
      deterministic: if True, nothing is dropped.

    Returns:
      An array of shape (*batch, features_out).

    Raises:
      ValueError: a rate is outside [0, 1], shapes do not fit, or there is no key.
      TypeError: x, kernel and bias are not of one floating-point or complex dtype.

    Example:
      >>> key, x, w = jax.random.key(0), jnp.ones((2, 5)), jnp.ones((5, 3))
      >>> y = dropconnect_dense(key, x, w, 0.5)
      >>> masked = dropjax.dropconnect(key, {"kernel": w}, 0.5)["kernel"]
      >>> assert jnp.array_equal(y, x @ masked)

    References:
      Wan, Zeiler, Zhang, LeCun and Fergus, 2013, "Regularization of neural networks
      using DropConnect", ICML. Its masks are drawn per example.
    """
    check_dense_shapes(check_array(x), check_array(kernel, "kernel"))
    contract = (((x.ndim - 1,), (0,)), ((), ()))
    options = _given(precision, preferred_element_type)

    def product(x: Array, kernel: Array) -> Array:
        return (dot_general or lax.dot_general)(x, kernel, contract, **options)

    y = _masked_product(
        product,
        key,
        x,
        kernel,
        rate,
        redraw=dot_general is None,
        scaling=scaling,
        deterministic=deterministic,
    )
    return _add_bias(
        y, key, bias, bias_rate, scaling=scaling, deterministic=deterministic
    )


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
    scaling: Scaling = "inverted",
    precision: lax.PrecisionLike = None,
    preferred_element_type: DTypeLike | None = None,
    conv_general_dilated: Callable[..., Array] | None = None,
    deterministic: bool = False,
) -> Inexact[Array, "*batch_spatial features_out"]:
    r"""A convolution whose weights are dropped: one mask for the whole batch.

    $$y = x * \left(\frac{M \odot W}{1 - rate}\right) + b, \qquad
      M_i \sim \text{Bernoulli}(1 - rate)$$

    over as many spatial axes as the kernel has (1, 2, 3 or more), channels last. Masks,
    scaling and what the backward pass keeps are as in `dropconnect_dense`.

    Args:
      key: a PRNG key, typed or raw. None where nothing is drawn.
      x: the inputs, (*batch, *spatial, features_in), of W's dtype; the batch axes may
        be none, one or several.
      kernel: the weights W, (*window, features_in / groups, features_out).
      rate: the probability of dropping a weight, in [0, 1], a number or an array that
        broadcasts to the kernel.
      bias: b, added after the convolution. None for none.
      bias_rate: the probability of dropping an element of the bias; None keeps it
        whole.
      strides: the window's steps, one number or one per spatial axis.
      padding: "SAME", "VALID", "CIRCULAR", "REFLECT", "CAUSAL" (one spatial axis), a
        number, or one number or (low, high) pair per spatial axis.
      dilation: the kernel's, one number or one per spatial axis.
      input_dilation: the input's; d makes a transposed convolution of stride d.
      feature_group_count: the number of groups of features.
      scaling: "inverted" or "standard", as in `dropout`.
      precision: as in `jax.lax.conv_general_dilated`.
      preferred_element_type: as in `jax.lax.conv_general_dilated`.
      conv_general_dilated: a replacement for `jax.lax.conv_general_dilated`. Its
        backward pass is its own: the masked kernel is then kept for it.
      deterministic: if True, nothing is dropped.

    Returns:
      An array of shape (*batch, *spatial, features_out).

    Raises:
      ValueError: a rate is outside [0, 1], shapes, strides, dilations or padding do
        not fit, or there is no key.
      TypeError: x, kernel and bias are not of one floating-point or complex dtype.

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
    check_conv_shapes(
        check_array(x), check_array(kernel, "kernel"), feature_group_count
    )
    options = _given(precision, preferred_element_type)

    def product(x: Array, kernel: Array) -> Array:
        return conv(
            x,
            kernel,
            strides=strides,
            padding=padding,
            dilation=dilation,
            input_dilation=input_dilation,
            feature_group_count=feature_group_count,
            conv_general_dilated=conv_general_dilated or lax.conv_general_dilated,
            **options,
        )

    y = _masked_product(
        product,
        key,
        x,
        kernel,
        rate,
        redraw=conv_general_dilated is None,
        scaling=scaling,
        deterministic=deterministic,
    )
    return _add_bias(
        y, key, bias, bias_rate, scaling=scaling, deterministic=deterministic
    )


def _masked_product(
    product: Callable[[Array, Array], Array],
    key: KeyLike,
    x: Array,
    kernel: Array,
    rate: RateLike,
    *,
    redraw: bool,
    scaling: Scaling,
    deterministic: bool,
) -> Array:
    """The product with the masked kernel, which `redraw` makes anew to go back."""

    def forward(key: KeyLike, x: Array, kernel: Array) -> Array:
        masked = dropout(
            key, kernel, rate, scaling=scaling, deterministic=deterministic
        )
        return product(x, masked)

    own = _own_key(key, "kernel", rate, deterministic)
    # The barrier is wanted here: without it CSE keeps the masked kernel after all.
    return (jax.checkpoint(forward) if redraw else forward)(own, x, kernel)


def _add_bias(
    y: Array,
    key: KeyLike,
    bias: Array | None,
    rate: RateLike | None,
    *,
    scaling: Scaling,
    deterministic: bool,
) -> Array:
    if bias is None:
        return y
    check_bias(bias, y.shape[-1])
    if rate is not None:
        check_rate(rate, "bias_rate")
        own = _own_key(key, "bias", rate, deterministic)
        bias = dropout(own, bias, rate, scaling=scaling, deterministic=deterministic)
    return y + bias.astype(y.dtype).reshape((1,) * (y.ndim - 1) + (-1,))


def _own_key(key: KeyLike, name: str, rate: RateLike, deterministic: bool) -> KeyLike:
    """The key with which `dropconnect` drops the leaf of that name, where one is."""
    drawn = is_drawn(rate, deterministic)
    return leaf_keys(check_key(key), [name])[0] if drawn else None


def _given(
    precision: lax.PrecisionLike, preferred_element_type: DTypeLike | None
) -> dict[str, Any]:
    """The options of a product: some replacements do not know the second."""
    options: dict[str, Any] = {"precision": precision}
    if preferred_element_type is not None:
        options["preferred_element_type"] = preferred_element_type
    return options
