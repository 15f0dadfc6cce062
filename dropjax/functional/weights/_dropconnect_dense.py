"""DropConnect of a dense layer: a weight, not an activation, is kept or dropped."""

import functools
from collections.abc import Callable

import jax.numpy as jnp
from jax import lax
from jax.typing import DTypeLike
from jaxtyping import Array, Inexact

from dropjax._checks import check_array, check_dense_shapes, check_mask_per, check_noise
from dropjax._masks import is_drawn
from dropjax._types import KeyLike, MaskPer, Noise, RateLike, Scaling
from dropjax.functional.weights._dense import dense, fixed, given
from dropjax.functional.weights._samples import noise_is_drawn
from dropjax.functional.weights._weights import (
    add_bias,
    gaussian_product,
    masked_product,
    own_products,
    settled,
    streamed_rows,
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
    noise: Noise = "bernoulli",
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

    `noise="gaussian"` draws no mask: the pre-activations get Gaussian noise of their
    own, of the mean and the variance that masks per example would give them
    (`dropconnect_moments`). It costs two dense products for any rate, and is for those
    who want noise per example at about that price; what it is not is sparse, or alike
    for the positions and the outputs of one example, and few weights do not add up to
    a Gaussian. The backward pass draws the noise again.

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
      noise: "bernoulli" for masks, or "gaussian".
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
        a word nor a positive integer, `noise` is unknown, or there is no key.
      TypeError: x, kernel and bias are not of one floating-point or complex dtype, or
        complex where the noise is Gaussian.

    Example:
      >>> key, x, w = jax.random.key(0), jnp.ones((2, 5)), jnp.ones((5, 3))
      >>> y = dropconnect_dense(key, x, w, 0.5)
      >>> masked = dropjax.dropconnect(key, {"kernel": w}, 0.5)["kernel"]
      >>> assert jnp.array_equal(y, x @ masked)

    References:
      Wan, Zeiler, Zhang, LeCun and Fergus, 2013, "Regularization of neural networks
      using DropConnect", ICML. Its masks are drawn per example.
    """
    x, kernel = jnp.asarray(check_array(x)), jnp.asarray(check_array(kernel, "kernel"))
    check_dense_shapes(x, kernel, bias)
    options = given(precision, preferred_element_type)
    product = functools.partial(dense, dot_general=dot_general, **options)
    check_noise(noise, mask_per)
    redraw = dot_general is None
    drawn = noise_is_drawn(rate, bias, bias_rate, deterministic)
    if noise == "gaussian" and drawn:
        return gaussian_product(
            product, key, x, kernel, rate, bias, bias_rate, redraw, scaling
        )
    share = check_mask_per(mask_per)
    rate = settled(rate, "rate", share)
    if share is None or not is_drawn(rate, deterministic):
        y = masked_product(
            product, key, x, kernel, rate, redraw, scaling, deterministic
        )
    elif share == 1 and x.ndim <= 2 and redraw:
        y = streamed_rows(key, x, kernel, rate, scaling, preferred_element_type)
    else:
        own = fixed(dense, dot_general=None, **options) if redraw else product
        y = own_products(own, key, x, kernel, rate, share, redraw, scaling, x.ndim > 1)
    return add_bias(y, key, bias, bias_rate, share, x.ndim > 1, scaling, deterministic)
