"""Samples from Gaussians with given moments, and means over samples."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Inexact, Key

from dropjax._apply import redrawn, single_or_wider, working_dtype
from dropjax._loops import scan


@redrawn()
def gaussian_sample(
    key: Key[Array, ""], mean: Float[Array, "*shape"], variance: Float[Array, "*shape"]
) -> Float[Array, "*shape"]:
    """One sample per element, redrawn by the backward pass."""
    wide = working_dtype(mean)
    noise = deviation(variance.astype(wide)) * jax.random.normal(key, mean.shape, wide)
    return (mean.astype(wide) + noise).astype(mean.dtype)


def deviation(variance: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """The square root, without a gradient where the variance is 0."""
    spread = variance != 0
    root = jnp.sqrt(jnp.where(spread, variance, jnp.ones_like(variance)))
    return jnp.where(spread, root, jnp.zeros_like(variance))


def averaged_dtype(dtype: Any) -> Any:
    """The dtype in which numbers of this dtype are averaged: float32 or better."""
    if not jnp.issubdtype(dtype, jnp.inexact):
        return jnp.dtype(jnp.float32)
    return single_or_wider(dtype)


def mean_of_samples(
    key: Key[Array, ""],
    sample: Callable[[Key[Array, ""]], Inexact[Array, "*shape"]],
    num_samples: int,
) -> Inexact[Array, "*shape"]:
    """The mean of samples drawn one by one; the backward pass redraws them."""
    keys = jax.random.split(key, num_samples)
    like = jax.eval_shape(sample, jax.ShapeDtypeStruct((), keys.dtype))
    wide = averaged_dtype(like.dtype)

    def step(mean: Array, turn: tuple[Array, Array]) -> tuple[Array, None]:
        count, key = turn
        y = jax.checkpoint(sample, prevent_cse=False)(key)
        return _running_mean(mean, y, count), None

    counts = 1 + jnp.arange(num_samples, dtype=jnp.finfo(wide).dtype)
    mean, _ = scan(step, jnp.zeros_like(like, wide), (counts, keys))
    return mean.astype(like.dtype)


@jax.jit
def _running_mean(mean: Array, y: Array, count: Array) -> Array:
    """Updates a mean by one more sample; a sum might overflow or lose precision."""
    count = count.astype(mean.dtype)
    return mean * (1 - 1 / count) + y.astype(mean.dtype) / count
