"""DropConnect of an einsum: a layer with whatever product its equation says."""

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
    r"""An einsum of inputs and weights, of which the weights are dropped.

    $$y = \text{einsum}\left(x, \frac{M \odot W}{1 - rate}\right) + b, \qquad
      M_i \sim \text{Bernoulli}(1 - rate)$$

    as in flax's `Einsum` layers. Masks, scaling and what the backward pass keeps are as
    in `dropconnect_dense`.

    Args:
      key: a typed or raw PRNG key. It may be None if nothing is drawn.
      x: the inputs, with the same dtype as W.
      kernel: the weights W.
      rate: the probability of dropping a weight, in [0, 1], a number or an array that
        broadcasts to the kernel's shape's shape.
      einsum_str: the equation of x and W, as "bti,ihd->bthd" or "...i,io->...o". Each
        axis of x is in the kernel or in the output.
      bias: b, along the axes of the output that are axes of the kernel. None for none.
      bias_rate: the probability of dropping an element of the bias, or None to keep all
        of it.
      mask_per: which examples share a mask: "batch" (all of them), "example" (none), or
        n for n consecutive examples, which are the entries of x's first axis.
      noise: "bernoulli" for masks, or "gaussian", as in `dropconnect_dense`.
      scaling: "inverted" or "standard", as in `dropout`.
      precision: of the product, as in `jax.numpy.einsum`.
      preferred_element_type: of the product, as in `jax.numpy.einsum`.
      einsum_op: a replacement for `jax.numpy.einsum`. It brings its own backward pass,
        for which the masked kernel is stored.
      deterministic: if True, nothing is dropped.

    Returns:
      An array of the shape that the equation says.

    Raises:
      ValueError: a rate is outside [0, 1], the equation is not one of two arrays or
        does not fit their shapes, x's first axis is none of examples where these have
        masks of their own, or the key is missing.
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
