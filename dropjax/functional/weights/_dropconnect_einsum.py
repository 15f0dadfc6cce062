"""DropConnect for einsums: drops the weights of any product given by an equation."""

from collections.abc import Callable

from jax import lax
from jax.typing import DTypeLike
from jaxtyping import Array, Inexact

from dropjax._types import KeyLike, MaskPer, Noise, RateLike, Scaling
from dropjax.functional.weights._dropped import dropped_product
from dropjax.functional.weights._einsum import Einsum
from dropjax.functional.weights._linear import Drops


def dropconnect_einsum(
    key: KeyLike,
    x: Inexact[Array, "*inputs"],
    kernel: Inexact[Array, "*weights"],
    rate: RateLike,
    *,
    einsum_str: str,
    bias: Inexact[Array, "*features_out"] | None = None,
    bias_rate: RateLike | None = None,
    mask_per: MaskPer = "batch",
    noise: Noise = "bernoulli",
    scaling: Scaling = "inverted",
    precision: lax.PrecisionLike = None,
    preferred_element_type: DTypeLike | None = None,
    einsum_op: Callable[..., Array] | None = None,
    deterministic: bool = False,
) -> Inexact[Array, "*outputs"]:
    r"""Computes an einsum of inputs and dropped weights.

    $$y = \text{einsum}\left(x, \frac{M \odot W}{1 - rate}\right) + b, \qquad
      M_i \sim \text{Bernoulli}(1 - rate)$$

    as in flax's `Einsum` layers. Masks, scaling and the residuals of the backward pass
    are as in `dropconnect_dense`.

    Args:
      key: a typed or raw PRNG key. It may be None if nothing is drawn.
      x: the inputs, with the same dtype as W.
      kernel: the weights W.
      rate: the probability of dropping a weight, in [0, 1], a number or an array that
        broadcasts to the kernel's shape.
      einsum_str: the equation of x and W, such as "bti,ihd->bthd" or "...i,io->...o".
        Each axis of x must be an axis of the kernel or of the output.
      bias: the bias b, along those output axes that are axes of the kernel, added after
        the einsum; or None for no bias.
      bias_rate: the probability of dropping an element of the bias, or None to keep all
        of it.
      mask_per: which examples share a mask: "batch" (all of them), "example" (none), or
        n for n consecutive examples. The examples are the entries along the first axis
        of x.
      noise: "bernoulli" for masks, or "gaussian" for noise in their place, as in
        `dropconnect_dense`.
      scaling: "inverted" or "standard", as in `dropout`.
      precision: the precision of the product, as in `jax.numpy.einsum`.
      preferred_element_type: the accumulation and output dtype of the product, as in
        `jax.numpy.einsum`.
      einsum_op: a replacement for `jax.numpy.einsum`. It brings its own backward pass,
        for which the masked kernel is stored.
      deterministic: if True, nothing is dropped.

    Returns:
      An array of the shape given by the equation.

    Raises:
      ValueError: a rate is outside [0, 1], the equation does not have two operands or
        does not match their shapes, the first axis of x is not an axis of examples
        although masks are not shared by the batch, or the key is missing.
      TypeError: x, kernel and bias do not share one floating-point or complex dtype.

    Example:
      >>> key, x, w = jax.random.key(0), jnp.ones((2, 7, 6)), jnp.ones((6, 4, 5))
      >>> y = dropconnect_einsum(key, x, w, 0.5, einsum_str="bti,ihd->bthd")
      >>> assert jnp.array_equal(y, dropjax.dropconnect_dense_general(key, x, w, 0.5))

    References:
      Wan, Zeiler, Zhang, LeCun and Fergus, 2013, "Regularization of neural networks
      using DropConnect", ICML.
    """
    linear = Einsum(
        equation=einsum_str,
        precision=precision,
        preferred_element_type=preferred_element_type,
        function=einsum_op,
    )
    operands = linear.operands(x, kernel, bias)
    drops = Drops(rate, bias_rate, scaling, mask_per, noise, deterministic)
    return dropped_product(key, linear, operands, drops)
