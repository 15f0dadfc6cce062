"""Concrete dropout: the rate is learned through a relaxed mask."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Inexact, Key

from dropjax._apply import redrawn, scale, working_dtype
from dropjax._checks import (
    check_array,
    check_count,
    check_deterministic,
    check_kernel,
    check_key,
    check_logit,
    check_positive,
)
from dropjax._masks import mask_shape_of
from dropjax._random import random_words
from dropjax._types import Axes, KeyLike


def concrete_dropout(
    key: KeyLike,
    x: Inexact[Array, "*shape"],
    logit: Float[Array, "..."],
    *,
    temperature: float = 0.1,
    broadcast_dims: Axes = (),
    deterministic: bool = False,
) -> Inexact[Array, "*shape"]:
    r"""Applies dropout with a learnable rate; only here does the rate have a gradient.

    $$y = \frac{1 - z}{1 - rate} x, \qquad
      z = \text{sigmoid}\left(\frac{logit + \log u - \log(1 - u)}{t}\right), \qquad
      rate = \text{sigmoid}(logit)$$

    with u uniform in (0, 1) and t the temperature. The relaxed drop indicator z is
    nearly 0 or 1, and a smooth function of the rate. In the limit of low temperature
    this is `dropout` with the same key and the same mask. The rate is given as its
    logit, which needs no bounds and loses no precision near 0 and 1. Add
    `concrete_dropout_regularizer` to the loss; without it the optimal rate is 0.

    The mask is not stored, but x is, because the gradient with respect to the logit
    needs it. The mask multiplies x instead of selecting from it, so NaN in x stays NaN.

    Args:
      key: a typed or raw PRNG key. It may be None if nothing is drawn.
      x: a floating-point or complex array of any shape.
      logit: log(rate / (1 - rate)), a real array that broadcasts to the shape of the
        mask: a scalar for one rate, or for example `logits[None, :]` for one rate per
        feature.
      temperature: t, a positive number; the paper uses 0.1.
      broadcast_dims: the axes along which elements share one mask value; the spatial
        axes give the spatial form of the paper.
      deterministic: if True, nothing is dropped.

    Returns:
      An array of x's shape and dtype; x itself with `deterministic=True`.

    Raises:
      ValueError: the logit does not broadcast, the temperature is not positive, an axis
        is out of range or repeated, or the key is missing.
      TypeError: x is not floating-point or complex, or an argument has the wrong type.

    Example:
      >>> key, x = jax.random.key(0), jnp.ones((100, 100))
      >>> y = concrete_dropout(key, x, jnp.float32(-2.0))
      >>> assert abs(y.mean() - 1) < 0.02
      >>> loss = lambda logit: (concrete_dropout(key, x, logit) ** 2).mean()
      >>> assert jax.grad(loss)(jnp.float32(-2.0)) > 0

    References:
      Gal, Hron and Kendall, 2017, "Concrete dropout", NeurIPS.
    """
    x = check_array(x)
    mask_shape = mask_shape_of(x.shape, broadcast_dims)
    logit = check_logit(logit, mask_shape)
    temperature = check_positive(temperature, "temperature")
    if check_deterministic(deterministic):
        return x
    options = {"temperature": temperature, "mask_shape": mask_shape}
    return _relax(check_key(key), x, logit, **options)


def concrete_dropout_regularizer(
    logit: Float[Array, ""],
    kernel: Inexact[Array, "*window features_in features_out"],
    examples: int,
    *,
    length_scale: float = 1e-2,
    features: int | None = None,
) -> Float[Array, ""]:
    r"""The cost of a learned rate: how far the masked weights are from their prior.

    $$R = \frac{1}{N} \left(\frac{l^2}{2} \frac{\|W\|^2}{1 - rate} - K H(rate)\right)$$

    for the layer that reads the dropped inputs, with H the entropy of a mask entry in
    nats. Added to the mean negative log-likelihood per example, it gives the objective
    of the paper. The paper writes $(1 - rate) \|M\|^2$ for the weights M of a layer
    whose inputs are not scaled up; with inverted scaling the weights are W = (1 - rate)
    M. If the loss is twice the negative log-likelihood of a Gaussian, add 2 R.

    Args:
      logit: the logit of the rate, a scalar.
      kernel: the weights W, as in Flax's dense layers and convolutions.
      examples: N, the number of examples in the training set.
      length_scale: l, the length scale of the prior over functions, a positive number.
      features: K, the number of input features that are dropped. None takes the size of
        the second-to-last axis of the kernel. That is K / groups for a grouped
        convolution, and an output axis for a `DenseGeneral` with several of these, so
        pass K in these cases.

    Returns:
      A scalar, in the working precision of the logit and the kernel.

    Raises:
      ValueError: logit is not a scalar, kernel has fewer than two axes, examples or
        features is not a positive integer, or length_scale is not positive.
      TypeError: an argument has the wrong type.

    Example:
      >>> kernel = jnp.zeros((3, 5))
      >>> cost = concrete_dropout_regularizer(jnp.float32(0), kernel, 1)
      >>> assert jnp.isclose(cost, -3 * jnp.log(2.0))

    References:
      Gal, Hron and Kendall, 2017, "Concrete dropout", NeurIPS.
    """
    logit = check_logit(logit, ())
    kernel = jnp.asarray(check_kernel(kernel))
    count = check_count(examples, "examples")
    wide = np.promote_types(logit.dtype, working_dtype(kernel))
    logit = logit.astype(wide)
    prior = np.asarray(check_positive(length_scale, "length_scale") ** 2 / 2, wide)
    weights = jnp.square(jnp.abs(kernel).astype(wide)).sum() * prior
    rows = kernel.shape[-2] if features is None else check_count(features, "features")
    entropy = _entropy(logit) * np.asarray(rows, wide)
    return (weights * _inverse_keep(logit) - entropy) / np.asarray(count, wide)


@redrawn("temperature", "mask_shape")
def _relax(
    key: Key[Array, ""],
    x: Inexact[Array, "*shape"],
    logit: Float[Array, "..."],
    *,
    temperature: float,
    mask_shape: tuple[int, ...],
) -> Inexact[Array, "*shape"]:
    dtype = working_dtype(x)
    logit = lax.broadcast_to_rank(logit.astype(dtype), len(mask_shape))
    heads = jax.nn.log_sigmoid(-(logit + _noise(key, mask_shape, dtype)) / temperature)
    # Computed as logarithms, because 1 / (1 - rate) overflows if the rate is close to
    # 1.
    return scale(x, jnp.exp(heads + jax.nn.softplus(logit)))


def _noise(key: Key[Array, ""], mask_shape: tuple[int, ...], dtype: np.dtype) -> Array:
    """`log u - log(1 - u)`; `dropout` keeps an element where u is below 1 - rate."""
    words = random_words(key, mask_shape) >> np.uint32(9)
    u = (words.astype(dtype) + 0.5) * 2.0**-23
    return jnp.log(u) - jnp.log1p(-u)


def _inverse_keep(logit: Float[Array, ""]) -> Float[Array, ""]:
    """`1 / (1 - rate)`, clipped to finite values: weights of 0 cost 0 at any rate."""
    most = np.floor(np.log(np.finfo(logit.dtype).max))
    return 1 + jnp.exp(jnp.minimum(logit, most))


def _entropy(logit: Float[Array, ""]) -> Float[Array, ""]:
    rate = jax.nn.sigmoid(logit)
    return jax.nn.softplus(logit) - rate * logit
