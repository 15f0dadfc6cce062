"""NEFTune: noise on embedded tokens, smaller for longer sequences."""

import math

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Inexact, Int

from dropjax._apply import working_dtype
from dropjax._checks import (
    check_array,
    check_broadcasts,
    check_channel_and_batch,
    check_deterministic,
    check_key,
    check_lengths,
    check_noise_size,
)
from dropjax._masks import mask_shape_along
from dropjax._types import KeyLike, RateLike
from dropjax.functional.activations._gaussian_dropout import is_noisy
from dropjax.functional.activations._uniform_noise import add_uniform


def neftune(
    key: KeyLike,
    x: Inexact[Array, "*shape"],
    alpha: RateLike,
    *,
    seq_lengths: Int[Array, "..."] | None = None,
    time_axis: int = -2,
    batch_axis: int | None = 0,
    deterministic: bool = False,
) -> Inexact[Array, "*shape"]:
    r"""Adds uniform noise to embedded tokens, scaled by the length of the sequence.

    $$y_{ntc} = x_{ntc} + \frac{\alpha}{\sqrt{L d}} u_{ntc}, \qquad
      u_{ntc} \sim U(-1, 1)$$

    in example n, token t and feature c, with L tokens of d features. The expected norm
    of the noise of a sequence is $\alpha / \sqrt{3}$, however long it is. The method
    fine-tunes language models, on the output of the embedding.

    Without `seq_lengths`, L is the size of the axis, padding included, as in the
    published code and in Hugging Face's trainers. With it, the noise of an example does
    not depend on what it is padded to. Padding gets noise in both cases.

    Args:
      key: a typed or raw PRNG key. It may be None if nothing is drawn.
      x: a floating-point or complex array, by default (batch, tokens, features).
      alpha: the scale of the noise, 0 or more, a number or an array with one scale for
        each example, of size 1 along all other axes. The paper uses 5 to 15. It may be
        traced; no gradient flows into it.
      seq_lengths: the number of tokens of each example that are not padding, integers
        of shape (batch,), or a scalar if there is no batch; at most the size of the
        axis counts.
      time_axis: the axis of the tokens.
      batch_axis: the axis of the examples, or None if there is none.
      deterministic: if True, no noise is added.

    Returns:
      An array of x's shape and dtype; x itself if there is nothing to do.

    Raises:
      ValueError: alpha is negative or not finite, an axis is out of range or repeated,
        seq_lengths has another shape, or the key is missing.
      TypeError: as for `dropout`, or seq_lengths is not an array of integers.

    Example:
      >>> x = jnp.zeros((8, 256, 64))
      >>> y = neftune(key, x, 5.0)
      >>> assert abs(y).max() <= 5 / (256 * 64) ** 0.5
      >>> norms = jnp.sqrt((y**2).sum((1, 2)))
      >>> assert (abs(norms - 5 / 3**0.5) < 0.1).all()

    References:
      Jain, Chiang, Wen, Kirchenbauer, Chu, Somepalli, Bartoldson, Kailkhura,
      Schwarzschild, Saha, Goldblum, Geiping and Goldstein, 2024, "NEFTune: noisy
      embeddings improve instruction finetuning", ICLR.
    """
    x, alpha = check_array(x), check_noise_size(alpha, "alpha")
    time, *batch = check_channel_and_batch(time_axis, batch_axis, x.ndim, "time_axis")
    examples = mask_shape_along(x.shape, tuple(batch))
    lengths = check_lengths(
        seq_lengths, tuple(x.shape[axis] for axis in batch), "seq_lengths"
    )
    check_broadcasts(alpha, examples, "alpha", "the shape of one scale per example,")
    if not is_noisy(alpha, check_deterministic(deterministic)):
        return x
    dtype = working_dtype(x)
    others = (n for axis, n in enumerate(x.shape) if axis not in (time, *batch))
    steps = jnp.asarray(x.shape[time], jnp.int32)
    if lengths is not None:
        steps = jnp.clip(lengths.reshape(examples), 0, steps)
    numbers = steps.astype(dtype) * jnp.asarray(math.prod(others), dtype)
    amplitude = jnp.asarray(alpha, dtype) / jnp.sqrt(jnp.maximum(numbers, 1))
    key = check_key(key)
    return add_uniform(key, x, lax.stop_gradient(amplitude), mask_shape=x.shape)
