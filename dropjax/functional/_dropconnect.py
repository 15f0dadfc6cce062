"""DropConnect: a weight, instead of an activation, is kept or dropped."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import DTypeLike
from jaxtyping import Array, Inexact, Key

from dropjax._apply import apply_mask
from dropjax._checks import (
    check_array,
    check_bias,
    check_conv_shapes,
    check_dense_shapes,
    check_key,
    check_mask_per,
    check_rate,
    check_rate_shape,
    check_scaling,
)
from dropjax._masks import is_drawn
from dropjax._random import leaf_keys
from dropjax._types import KeyLike, MaskPer, RateLike, Scaling
from dropjax.functional._conv import Padding, Window, conv, conv_by_patches
from dropjax.functional._dropout import dropout
from dropjax.functional._examples import (
    coins,
    in_groups,
    mask_levels,
    masked_products,
    masked_rows,
    realized_rate,
    weight_words,
)


def dropconnect_dense(
    key: KeyLike,
    x: Inexact[Array, "*batch features_in"],
    kernel: Inexact[Array, "features_in features_out"],
    rate: RateLike,
    *,
    bias: Inexact[Array, " features_out"] | None = None,
    bias_rate: RateLike | None = None,
    mask_per: MaskPer = "batch",
    scaling: Scaling = "inverted",
    precision: lax.PrecisionLike = None,
    preferred_element_type: DTypeLike | None = None,
    dot_general: Callable[..., Array] | None = None,
    deterministic: bool = False,
) -> Inexact[Array, "*batch features_out"]:
    r"""A dense layer whose weights are dropped, for the whole batch or per example.

    $$y = x \left(\frac{M \odot W}{1 - rate}\right) + b, \qquad
      M_{ij} \sim \text{Bernoulli}(1 - rate)$$

    with `scaling="inverted"`; "standard" scales nothing in training and W by
    `1 - rate` with `deterministic=True`. The masks are those of
    `dropconnect(key, {"kernel": kernel, "bias": bias}, ...)`. The backward pass
    keeps x, W and the key, and draws and applies the mask again.

    `mask_per="example"` is the paper's form: every example, that is every entry of x's
    first axis, has an M of its own, and a mask of the bias. The gradients of a batch
    then average over as many sub-networks, where one mask gives them all one.
    `mask_per=n` lets n consecutive examples share a mask. No array of batch x weights
    is made: coins are drawn where they are used, and a coin depends on the key, its
    example's index and its weight's alone. Rates are rounded to multiples of 2^-16, and
    the scaling is by what they became, so that the mean is exact.

    A coin takes as many random bits as the rate has binary places, up to 16: a rate of
    0.5 is the cheapest, and `fast_prng` has the cheapest bits. Rows of x with masks of
    their own are multiplied element by element, in float32 or better, without
    `precision`; where rows share a mask (x of three axes or more, `mask_per=n`, or a
    `dot_general` of your own), masked kernels are multiplied whole, and those of one
    mask in 32 are in memory at a time.

    Args:
      key: a PRNG key, typed or raw. None where nothing is drawn.
      x: the inputs, of W's dtype.
      kernel: the weights W.
      rate: the probability of dropping a weight, in [0, 1], a number or an array that
        broadcasts to the kernel.
      bias: b, added after the product. None for none.
      bias_rate: the probability of dropping an element of the bias; None keeps it
        whole. The paper drops both at one rate.
      mask_per: who shares a mask: "batch", "example", or a number of examples.
      scaling: "inverted" or "standard", as in `dropout`.
      precision: of the product, as in `jax.lax.dot_general`.
      preferred_element_type: of the product, as in `jax.lax.dot_general`.
      dot_general: a replacement for `jax.lax.dot_general`. Its backward pass is its
        own: the masked kernel is then kept for it.
      deterministic: if True, nothing is dropped.

    Returns:
      An array of shape (*batch, features_out).

    Raises:
      ValueError: a rate is outside [0, 1], shapes do not fit, `mask_per` is neither
        a word nor a positive integer, or there is no key.
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

    share = check_mask_per(mask_per)
    rate = _settled(rate, "rate", share)
    redraw = dot_general is None
    if share is None or not is_drawn(rate, deterministic):
        y = _masked_product(
            product, key, x, kernel, rate, redraw, scaling, deterministic
        )
    elif share == 1 and x.ndim <= 2 and redraw:
        y = _streamed_rows(key, x, kernel, rate, scaling, preferred_element_type)
    else:
        y = _own_products(product, key, x, kernel, rate, share, scaling, x.ndim > 1)
    return _add_bias(y, key, bias, bias_rate, share, x.ndim > 1, scaling, deterministic)


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
    scaling: Scaling = "inverted",
    precision: lax.PrecisionLike = None,
    preferred_element_type: DTypeLike | None = None,
    conv_general_dilated: Callable[..., Array] | None = None,
    deterministic: bool = False,
) -> Inexact[Array, "*batch_spatial features_out"]:
    r"""A convolution whose weights are dropped, for the whole batch or per example.

    $$y = x * \left(\frac{M \odot W}{1 - rate}\right) + b, \qquad
      M_i \sim \text{Bernoulli}(1 - rate)$$

    over as many spatial axes as the kernel has (1, 2, 3 or more), channels last. Masks,
    scaling and what the backward pass keeps are as in `dropconnect_dense`.

    With `mask_per="example"` or a number, the patches of each example are multiplied
    with its masked kernel; the patches and kernels of one mask in 32 are in memory at a
    time. On a CPU it takes one to three times as long as a plain convolution. With a
    `conv_general_dilated` of your own, that one is called.

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
      mask_per: who shares a mask: "batch", "example", or a number of examples.
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
    options = {
        "strides": strides,
        "padding": padding,
        "dilation": dilation,
        "input_dilation": input_dilation,
        "feature_group_count": feature_group_count,
        **_given(precision, preferred_element_type),
    }

    def product(x: Array, kernel: Array) -> Array:
        convolve = conv_general_dilated or lax.conv_general_dilated
        return conv(x, kernel, conv_general_dilated=convolve, **options)

    def by_patches(x: Array, kernel: Array) -> Array:
        return conv_by_patches(x, kernel, **options)

    share, batched = check_mask_per(mask_per), x.ndim >= kernel.ndim
    rate = _settled(rate, "rate", share)
    redraw = conv_general_dilated is None
    if share is None or not is_drawn(rate, deterministic):
        y = _masked_product(
            product, key, x, kernel, rate, redraw, scaling, deterministic
        )
    else:
        jax.eval_shape(product, x, kernel)  # What is wrong with it is said as always.
        own = by_patches if redraw else product
        y = _own_products(own, key, x, kernel, rate, share, scaling, batched)
    return _add_bias(y, key, bias, bias_rate, share, batched, scaling, deterministic)


def _masked_product(
    product: Callable[[Array, Array], Array],
    key: KeyLike,
    x: Array,
    kernel: Array,
    rate: RateLike,
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


def _streamed_rows(
    key: KeyLike,
    x: Array,
    kernel: Array,
    rate: RateLike,
    scaling: Scaling,
    preferred_element_type: DTypeLike | None,
) -> Array:
    """Every example's product with its own masked kernel, which is never stored."""
    dtype = jnp.dtype(preferred_element_type or x.dtype)
    wide = dtype if jnp.finfo(dtype).bits >= 32 else jnp.dtype(jnp.float32)
    own = leaf_keys(check_key(key), ["kernel"])[0]
    rows = in_groups(jnp.atleast_2d(x).astype(wide), 1)[:, :, 0]
    weights = _scaled(kernel, rate, scaling).astype(wide)
    y = masked_rows(own, rows, weights, mask_levels(rate)).astype(dtype)
    return y.reshape(-1, y.shape[-1])[: x.size // x.shape[-1]].reshape(
        *x.shape[:-1], -1
    )


def _own_products(
    product: Callable[[Array, Array], Array],
    key: KeyLike,
    x: Array,
    kernel: Array,
    rate: RateLike,
    share: int,
    scaling: Scaling,
    batched: bool,
) -> Array:
    """The products of so many examples each with their masked kernels."""

    def forward(key: Key[Array, ""], x: Array, kernel: Array) -> Array:
        examples = in_groups(x if batched else x[None], share)
        weights = _scaled(kernel, rate, scaling)
        y = masked_products(product, key, examples, weights, mask_levels(rate))
        y = y.reshape(-1, *y.shape[3:])
        return y[: x.shape[0]] if batched else y[0]

    own = leaf_keys(check_key(key), ["kernel"])[0]
    return jax.checkpoint(forward)(own, x, kernel)


def _scaled(weights: Array, rate: RateLike, scaling: Scaling) -> Array:
    """The weights as they are where they are kept."""
    check_rate_shape(rate, weights.shape)
    check_scaling(scaling)
    whole = jnp.ones_like(weights, bool)
    return apply_mask(weights, whole, keep=1 - rate if scaling == "inverted" else 1.0)


def _settled(rate: RateLike, name: str, share: int | None) -> RateLike:
    """The rate that is met: for masks of their own, to 16 bits."""
    rate = check_rate(rate, name)
    return rate if share is None else realized_rate(rate)


def _add_bias(
    y: Array,
    key: KeyLike,
    bias: Array | None,
    rate: RateLike | None,
    share: int | None,
    batched: bool,
    scaling: Scaling,
    deterministic: bool,
) -> Array:
    if bias is None:
        return y
    check_bias(bias, y.shape[-1])
    if rate is not None:
        rate = _settled(rate, "bias_rate", share)
        own = _own_key(key, "bias", rate, deterministic)
        if share is not None and own is not None:
            examples = y.shape[0] if batched else 1
            biases = _own_biases(own, bias, rate, scaling, examples, share)
            between = (1,) * (y.ndim - (2 if batched else 1))
            biases = biases.reshape(*biases.shape[: int(batched)], *between, -1)
            return y + biases.astype(y.dtype)
        bias = dropout(own, bias, rate, scaling=scaling, deterministic=deterministic)
    return y + bias.astype(y.dtype).reshape((1,) * (y.ndim - 1) + (-1,))


def _own_biases(
    key: Key[Array, ""],
    bias: Array,
    rate: RateLike,
    scaling: Scaling,
    examples: int,
    share: int,
) -> Inexact[Array, "examples features_out"]:
    masks = -(-examples // share)
    words = weight_words(key, mask_levels(rate), -(-masks // 32), bias.shape)
    mask = coins(words, 32).reshape(-1, bias.size)
    mask = jnp.repeat(mask, share, axis=0)[:examples]
    scaled = jnp.broadcast_to(_scaled(bias, rate, scaling), mask.shape)
    return apply_mask(scaled, mask)


def _own_key(
    key: KeyLike, name: str, rate: RateLike, deterministic: bool
) -> Key[Array, ""] | None:
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
