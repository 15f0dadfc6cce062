"""DropConnect for dense layers over any axes, such as attention projections."""

from collections.abc import Callable

import jax.numpy as jnp
from jax import lax
from jax.typing import DTypeLike
from jaxtyping import Array, Inexact

from dropjax._checks import check_array
from dropjax._types import Axes, KeyLike, MaskPer, Noise, RateLike, Scaling
from dropjax.functional.weights._dense import DenseGeneral
from dropjax.functional.weights._dropped import dropped_product
from dropjax.functional.weights._linear import Drops


def dropconnect_dense_general(
    key: KeyLike,
    x: Inexact[Array, "*inputs"],
    kernel: Inexact[Array, "*batch_features_in_features_out"],
    rate: RateLike,
    *,
    axis: Axes = -1,
    batch_dims: Axes = (),
    bias: Inexact[Array, "*batch_features_out"] | None = None,
    bias_rate: RateLike | None = None,
    mask_per: MaskPer = "batch",
    noise: Noise = "bernoulli",
    scaling: Scaling = "inverted",
    precision: lax.PrecisionLike = None,
    preferred_element_type: DTypeLike | None = None,
    dot_general: Callable[..., Array] | None = None,
    deterministic: bool = False,
) -> Inexact[Array, "*outputs"]:
    r"""Applies a dense layer over any axes with dropped weights.

    $$y = x \cdot \left(\frac{M \odot W}{1 - rate}\right) + b, \qquad
      M_i \sim \text{Bernoulli}(1 - rate)$$

    where the product sums over `axis`. Flax's attention projections are such layers,
    `DenseGeneral` and `LinearGeneral`: from (batch, length, features) to (batch,
    length, heads, depth), and back. Masks, scaling and the residuals of the backward
    pass are as in `dropconnect_dense`.

    Args:
      key: a typed or raw PRNG key. It may be None if nothing is drawn.
      x: the inputs, with the same dtype as W.
      kernel: the weights W, of shape (*batch, *features_in, *features_out): the sizes
        of x along `batch_dims` and along `axis`, followed by those of the output
        features.
      rate: the probability of dropping a weight, in [0, 1], a number or an array that
        broadcasts to the kernel's shape.
      axis: the axis or axes of x to contract, in increasing order, as in Flax.
      batch_dims: the leading axes of x, such as (0,), whose entries have separate
        weights.
      bias: the bias b, of shape (*batch, *features_out), added after the product, or
        None for no bias.
      bias_rate: the probability of dropping an element of the bias, or None to keep all
        of it.
      mask_per: which examples share a mask: "batch" (all of them), "example" (none), or
        n for n consecutive examples. The examples are the entries along the first axis
        of x.
      noise: "bernoulli" for masks, or "gaussian" for noise in their place, as in
        `dropconnect_dense`.
      scaling: "inverted" or "standard", as in `dropout`.
      precision: the precision of the product, as in `jax.lax.dot_general`.
      preferred_element_type: the accumulation and output dtype of the product, as in
        `jax.lax.dot_general`.
      dot_general: a replacement for `jax.lax.dot_general`. It brings its own backward
        pass, for which the masked kernel is stored.
      deterministic: if True, nothing is dropped.

    Returns:
      An array with the `batch_dims` axes of x, its other axes that are not contracted,
      and the output features.

    Raises:
      ValueError: a rate is outside [0, 1], shapes or axes do not match, the first axis
        of x is contracted or in `batch_dims` although masks are not shared by the
        batch, or the key is missing.
      TypeError: x, kernel and bias do not share one floating-point or complex dtype.

    Example:
      >>> key, x = jax.random.key(0), jnp.ones((2, 7, 6))
      >>> w = jnp.ones((6, 4, 5))
      >>> y = dropconnect_dense_general(key, x, w, 0.5)
      >>> assert y.shape == (2, 7, 4, 5)
      >>> flat = dropjax.dropconnect_dense(key, x, w.reshape(6, 20), 0.5)
      >>> assert jnp.array_equal(y.reshape(2, 7, 20), flat)

    References:
      Wan, Zeiler, Zhang, LeCun and Fergus, 2013, "Regularization of neural networks
      using DropConnect", ICML.
    """
    linear = DenseGeneral.over(
        axis,
        batch_dims,
        jnp.ndim(check_array(x)),
        precision=precision,
        preferred_element_type=preferred_element_type,
        function=dot_general,
    )
    operands = linear.operands(x, kernel, bias)
    drops = Drops(rate, bias_rate, scaling, mask_per, noise, deterministic)
    return dropped_product(key, linear, operands, drops)
