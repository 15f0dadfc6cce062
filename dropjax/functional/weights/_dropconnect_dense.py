"""DropConnect of a dense layer: a weight, not an activation, is kept or dropped."""

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
      key: a typed or raw PRNG key. It may be None if nothing is drawn.
      x: the inputs, with the same dtype as W.
      kernel: the weights W.
      rate: the probability of dropping a weight, in [0, 1], a number or an array that
        broadcasts to the kernel's shape's shape.
      bias: the bias b, added after the product, or None for no bias.
      bias_rate: the probability of dropping an element of the bias, or None to keep all
        of it. The paper drops both at one rate.
      mask_per: which examples share a mask: "batch" (all of them), "example" (none), or
        n for n consecutive examples.
      noise: "bernoulli" for masks, or "gaussian".
      scaling: "inverted" or "standard", as in `dropout`.
      precision: of the product, as in `jax.lax.dot_general`.
      preferred_element_type: of the product, as in `jax.lax.dot_general`.
      dot_general: a replacement for `jax.lax.dot_general`. It brings its own backward
        pass, for which the masked kernel is stored.
      deterministic: if True, nothing is dropped.

    Returns:
      An array of shape (*batch, features_out).

    Raises:
      ValueError: a rate is outside [0, 1], shapes do not match, `mask_per` is neither a
        word nor a positive integer, `noise` is unknown, or the key is missing.
      TypeError: x, kernel and bias do not share one floating-point or complex dtype, or
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
    linear = Dense(
        precision=precision,
        preferred_element_type=preferred_element_type,
        function=dot_general,
    )
    operands = linear.operands(x, kernel, bias)
    drops = Drops(rate, bias_rate, scaling, mask_per, noise, deterministic)
    return dropped_product(key, linear, operands, drops)
