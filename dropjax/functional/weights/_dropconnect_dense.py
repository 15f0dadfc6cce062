"""DropConnect for dense layers: drops weights instead of activations."""

from collections.abc import Callable

from jax import lax
from jax.typing import DTypeLike
from jaxtyping import Array, Inexact

from dropjax._types import KeyLike, MaskPer, Noise, RateLike, Scaling
from dropjax.functional.weights._dense import Dense
from dropjax.functional.weights._dropped import dropped_product
from dropjax.functional.weights._linear import Drops


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
    r"""Applies a dense layer with dropped weights, with masks per batch or per example.

    $$y = x \left(\frac{M \odot W}{1 - rate}\right) + b, \qquad
      M_{ij} \sim \text{Bernoulli}(1 - rate)$$

    with `scaling="inverted"`. With "standard", nothing is scaled in training, and W is
    multiplied by `1 - rate` with `deterministic=True`. The masks are those of
    `dropconnect(key, {"kernel": kernel, "bias": bias}, ...)`. The backward pass stores
    x, W and the key, and redraws and reapplies the mask.

    `mask_per="example"` is the form of the paper: each example, that is each entry
    along the first axis of x, has its own M and its own mask of the bias. The gradients
    of a batch then average over as many sub-networks as there are examples, instead of
    over one. With `mask_per=n`, n consecutive examples share a mask. No array of size
    batch x weights is created: mask values are drawn where they are used, and depend
    only on the key and the indices of the example and the weight. Rates are rounded to
    multiples of 2^-16, and the scale is computed from the rounded rate, so that the
    mean is exact.

    A mask value takes as many random bits as the rate has binary digits, up to 16: a
    rate of 0.5 is the cheapest, and `fast_prng` generates the cheapest bits. If each
    row of x has its own mask, the products are computed elementwise in float32 or
    better, and `precision` is ignored. If rows share a mask (x with three or more axes,
    `mask_per=n`, or your own `dot_general`), they are multiplied by whole masked
    kernels, of which those of one mask in 32 are in memory at a time.

    `noise="gaussian"` draws no masks. Instead, the pre-activations are drawn from
    independent Gaussians with the mean and the variance that masks per example would
    give them (`dropconnect_moments`). It costs two dense products at any rate, and is a
    cheap substitute for masks per example. Unlike with masks, no weight is exactly
    zero, the positions of an example do not share their noise, and for few weights the
    Gaussian is a poor approximation. The backward pass redraws the noise.

    Args:
      key: a typed or raw PRNG key. It may be None if nothing is drawn.
      x: the inputs, with the same dtype as W.
      kernel: the weights W.
      rate: the probability of dropping a weight, in [0, 1], a number or an array that
        broadcasts to the kernel's shape.
      bias: the bias b, added after the product, or None for no bias.
      bias_rate: the probability of dropping an element of the bias, or None to keep all
        of it. The paper drops both at the same rate.
      mask_per: which examples share a mask: "batch" (all of them), "example" (none), or
        n for n consecutive examples.
      noise: "bernoulli" for masks, or "gaussian" for noise in their place.
      scaling: "inverted" or "standard", as in `dropout`.
      precision: the precision of the product, as in `jax.lax.dot_general`.
      preferred_element_type: the accumulation and output dtype of the product, as in
        `jax.lax.dot_general`.
      dot_general: a replacement for `jax.lax.dot_general`. It brings its own backward
        pass, for which the masked kernel is stored.
      deterministic: if True, nothing is dropped.

    Returns:
      An array of shape (*batch, features_out).

    Raises:
      ValueError: a rate is outside [0, 1], shapes do not match, `mask_per` is neither
        one of the two names nor a positive integer, `noise` is unknown, or the key is
        missing.
      TypeError: x, kernel and bias do not share one floating-point or complex dtype, or
        are complex and the noise is Gaussian.

    Example:
      >>> key, x, w = jax.random.key(0), jnp.ones((2, 5)), jnp.ones((5, 3))
      >>> y = dropconnect_dense(key, x, w, 0.5)
      >>> masked = dropjax.dropconnect(key, {"kernel": w}, 0.5)["kernel"]
      >>> assert jnp.array_equal(y, x @ masked)

    References:
      Wan, Zeiler, Zhang, LeCun and Fergus, 2013, "Regularization of neural networks
      using DropConnect", ICML. Its masks are drawn per example.
    """
    linear = Dense(
        precision=precision,
        preferred_element_type=preferred_element_type,
        function=dot_general,
    )
    operands = linear.operands(x, kernel, bias)
    drops = Drops(rate, bias_rate, scaling, mask_per, noise, deterministic)
    return dropped_product(key, linear, operands, drops)
