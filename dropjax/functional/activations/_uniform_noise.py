"""Uniform noise, added to or multiplied with every element."""

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Inexact, Key

from dropjax._apply import are_stored, redrawn, scale, widened, working_dtype
from dropjax._checks import (
    check_array,
    check_broadcasts,
    check_deterministic,
    check_flag,
    check_key,
    check_noise_size,
)
from dropjax._masks import mask_shape_of
from dropjax._random import random_signed
from dropjax._types import Axes, KeyLike, RateLike
from dropjax.functional.activations._gaussian_dropout import is_noisy


def uniform_noise(
    key: KeyLike,
    x: Inexact[Array, "*shape"],
    amplitude: RateLike,
    *,
    multiplicative: bool = False,
    broadcast_dims: Axes = (),
    deterministic: bool = False,
) -> Inexact[Array, "*shape"]:
    r"""Adds uniform noise, or multiplies by uniform noise around 1.

    $$y_i = x_i + amplitude \, u_i \quad \text{or} \quad
      y_i = x_i (1 + amplitude \, u_i), \qquad u_i \sim U(-1, 1)$$

    With `multiplicative=True` this is the jitter of the routers of mixtures of experts:
    the inputs of a router are multiplied by noise in [1 - amplitude, 1 + amplitude], in
    Switch Transformer with an amplitude of 0.01. `neftune` adds noise whose amplitude
    depends on the length of the sequence.

    The noise is drawn in float32, is real even if x is complex, and has a mean of
    exactly 0. It is never stored; the backward pass redraws multiplicative noise from
    the key, and needs no additive noise. NaN and Inf are propagated.

    Args:
      key: a typed or raw PRNG key. It may be None if nothing is drawn.
      x: a floating-point or complex array of any shape.
      amplitude: the largest size of the noise, 0 or more, a number or an array that
        broadcasts to the shape of the noise. It may be traced; no gradient flows into
        it.
      multiplicative: whether x is multiplied by the noise instead of added to it.
      broadcast_dims: the axes along which elements share one noise value.
      deterministic: if True, no noise is applied.

    Returns:
      An array of x's shape and dtype; x itself if there is nothing to do.

    Raises:
      ValueError: the amplitude is negative or not finite, or the key is missing.
      TypeError: as for `dropout`, or `multiplicative` is not a bool.

    Example:
      >>> tokens = jnp.full((1000, 100), 3.0)
      >>> y = uniform_noise(key, tokens, 0.01, multiplicative=True)
      >>> assert (abs(y / 3 - 1) < 0.0101).all()
      >>> assert abs(y.std() - 0.03 / 3**0.5) < 1e-3

    References:
      Fedus, Zoph and Shazeer, 2022, "Switch Transformers: scaling to trillion parameter
      models with simple and efficient sparsity", JMLR 23, for the jitter.
    """
    x, amplitude = check_array(x), check_noise_size(amplitude, "amplitude")
    multiplicative = check_flag(multiplicative, "multiplicative")
    mask_shape = mask_shape_of(x.shape, broadcast_dims)
    check_broadcasts(amplitude, mask_shape, "amplitude", "the noise's shape")
    if not is_noisy(amplitude, check_deterministic(deterministic)):
        return x
    wide = lax.stop_gradient(jnp.asarray(amplitude, working_dtype(x)))
    apply = _multiply if multiplicative else add_uniform
    return apply(check_key(key), x, wide, mask_shape=mask_shape)


@redrawn("mask_shape")
def add_uniform(
    key: Key[Array, ""],
    x: Inexact[Array, "*shape"],
    amplitude: Float[Array, "..."],
    *,
    mask_shape: tuple[int, ...],
) -> Inexact[Array, "*shape"]:
    """Adds noise of an amplitude that has already been checked."""
    wide = widened(x)
    noise = _noise(key, x, amplitude, mask_shape).astype(wide.dtype)
    return (wide + noise).astype(x.dtype)


@redrawn("mask_shape")
def _multiply(
    key: Key[Array, ""],
    x: Inexact[Array, "*shape"],
    amplitude: Float[Array, "..."],
    *,
    mask_shape: tuple[int, ...],
) -> Inexact[Array, "*shape"]:
    return scale(x, 1 + _noise(key, x, amplitude, mask_shape))


def _noise(
    key: Key[Array, ""],
    x: Inexact[Array, "*shape"],
    amplitude: Float[Array, "..."],
    mask_shape: tuple[int, ...],
) -> Float[Array, "..."]:
    numbers = random_signed(key, mask_shape, stored=are_stored(mask_shape, x))
    return lax.broadcast_to_rank(amplitude, x.ndim) * numbers.astype(amplitude.dtype)
