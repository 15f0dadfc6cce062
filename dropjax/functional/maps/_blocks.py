"""Blocks of a map: how often a seed must be tossed, and whom it drops."""

import functools

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Key

from dropjax._checks import check_known
from dropjax._masks import toss

# Six of Newton's steps reach float32's limit for every rate and block that was tried.
_STEPS = 8


def draw(
    key: Key[Array, ""],
    keep: Float[Array, "..."],
    *,
    shape: tuple[int, ...],
    window: tuple[int, ...],
    maps: tuple[int, ...],
    gamma_scale: float,
) -> Bool[Array, "..."]:
    """True where no block that covers the position has a seed."""
    sizes = list(zip(maps, shape, window, strict=True))
    places = tuple(n - side + 1 if side else m for m, n, side in sizes)
    seedless = solve_seedless(keep, *covers(shape, window))
    if gamma_scale != 1:
        seedless = jnp.clip(1 - gamma_scale * (1 - seedless), 0, 1)
    # Stored, or each position would toss the coins of all its blocks again.
    mask = lax.optimization_barrier(toss(key, seedless, places))
    for axis, side in enumerate(window):
        if side > 1:
            mask = _all_within(mask, axis, side)
    return mask


def _all_within(mask: Bool[Array, "..."], axis: int, side: int) -> Bool[Array, "..."]:
    """Whether all places from which a block reaches a position are True."""
    beyond = [
        (side - 1, side - 1, 0) if a == axis else (0, 0, 0) for a in range(mask.ndim)
    ]
    mask, reached = lax.pad(mask, True, beyond), 1
    while reached < side:
        step = min(reached, side - reached)
        size = mask.shape[axis]
        first = lax.slice_in_dim(mask, 0, size - step, axis=axis)
        mask = first & lax.slice_in_dim(mask, step, size, axis=axis)
        reached += step
    return mask


@functools.cache
def covers(
    shape: tuple[int, ...], window: tuple[int, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """How many blocks cover a position: the numbers, and the share of positions."""
    blocks = share = np.ones(1)
    for size, side in zip(shape, window, strict=True):
        if side and check_known(size, "how many blocks cover a position"):
            position = np.arange(size)
            first = np.maximum(position - side + 1, 0)
            along = np.minimum(position, size - side) - first + 1
            own, times = np.unique(along, return_counts=True)
            blocks = np.outer(blocks, own).ravel()
            share = np.outer(share, times / size).ravel()
    numbers, which = np.unique(blocks, return_inverse=True)
    shares = np.bincount(which.ravel(), share)
    return numbers.astype(np.float32), shares.astype(np.float32)


def solve_seedless(
    keep: Float[Array, "..."], blocks: np.ndarray, share: np.ndarray
) -> Float[Array, "..."]:
    r"""The probability of no seed at a place that keeps the share `keep`.

    With $t = -\log(1 - \gamma)$ it is the root of $\log \sum_k w_k e^{-k t} = \log
    keep$, a convex decreasing function: Newton's steps from 0 grow to it and never
    past it.
    """
    # The logarithm of 0 is not needed: what it belongs to is selected away.
    wanted = jnp.log(jnp.maximum(jnp.asarray(keep), 2.0**-24))[..., None]
    exponents = -jnp.asarray(blocks)
    exponents = lax.broadcast_to_rank(exponents, wanted.ndim)
    weights = lax.broadcast_to_rank(jnp.asarray(share), wanted.ndim)

    def step(_: int, t: Array) -> Array:
        kept = weights * jnp.exp(exponents * t)
        slope = jnp.sum(kept * exponents, -1, keepdims=True)
        kept = jnp.sum(kept, -1, keepdims=True)
        return t + (jnp.log(kept) - wanted) * kept / -slope

    t = lax.fori_loop(0, _STEPS, step, jnp.zeros_like(wanted))
    return jnp.where(keep == 0, 0, jnp.exp(-t[..., 0]))
