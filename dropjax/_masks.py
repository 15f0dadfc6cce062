"""Draws keep masks from random words, and computes mask shapes."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Key, Shaped, UInt

from dropjax._checks import (
    check_axes,
    check_channel_and_batch,
    check_deterministic,
    check_key,
    check_noise_shape,
    check_one_sharing,
    check_rate,
    check_rate_shape,
    check_shape,
)
from dropjax._fast_prng import window_words
from dropjax._random import Word, random_words
from dropjax._types import Axes, KeyLike, RateLike

_LEVELS = 2.0**23


def keep_mask(
    key: KeyLike, shape: Sequence[int], rate: RateLike, *, deterministic: bool = False
) -> Bool[Array, "*shape"]:
    r"""Draws one mask entry per element: True (keep) with probability `1 - rate`.

    $$m_i = [\lfloor w_i / 2^9 \rfloor < \lceil 2^{23} (1 - rate) \rceil]$$

    with $w_i$ the random words of the key, and $1 - rate$ rounded to float32. For every
    PRNG implementation this equals `jax.random.bernoulli(key, 1 - rate, shape)` in
    float32, bit for bit. The computation fuses into the consumer of the mask, so that
    the mask need not be stored.

    Args:
      key: a typed or raw PRNG key. It may be None if nothing is drawn.
      shape: the shape of the mask.
      rate: the probability of dropping, in [0, 1], a number or an array that broadcasts
        to `shape`. Traced values are clipped to [0, 1], and NaN keeps everything.
      deterministic: if True, the mask is all True.

    Returns:
      A boolean array of the given shape, True where an element is kept.

    Raises:
      ValueError: the rate is outside [0, 1] or does not broadcast to `shape`, or the
        key is missing although a mask is drawn.
      TypeError: the rate, key, shape or flag has the wrong type.

    Example:
      >>> mask = keep_mask(jax.random.key(0), (1000, 1000), 0.25)
      >>> assert abs(mask.mean() - 0.75) < 0.005
    """
    shape = check_shape(shape)
    draw = prepare(key, rate, shape, deterministic=deterministic)
    if draw.certain is not None:
        return jnp.full(shape, draw.certain)
    return _draw_mask(draw.key, draw.keep, shape=shape)


class Draw(NamedTuple):
    """What a method draws its mask with, once its arguments are checked."""

    key: Key[Array, ""] | None
    """One typed key; None where nothing is drawn."""
    keep: Float[Array, "..."]
    """The keep probability; 1 where it is certain that everything is kept."""
    certain: bool | None
    """True if everything is kept, False if everything is dropped, else None."""


def prepare(
    key: KeyLike,
    rate: RateLike,
    shape: tuple[int, ...],
    dtype: DTypeLike = jnp.float32,
    *,
    deterministic: bool,
    draws_at_one: bool = False,
    averages: bool = False,
    name: str = "rate",
) -> Draw:
    """Checks the key, the rate and the flag of a method, and decides what is drawn.

    Every method starts here. `shape` is the mask's and `dtype` that of the keep
    probability. A method that `draws_at_one` needs a key even at a rate of 1, and one
    that `averages` returns a mean of x, not x, if `deterministic`.
    """
    rate, off = check_rate(rate, name), check_deterministic(deterministic)
    check_rate_shape(rate, shape, name)
    certain = foregone(rate, off and not averages)
    drawn = certain is None or (draws_at_one and not certain)
    return Draw(
        check_key(key) if drawn and not off else None,
        keep_probability(0.0 if certain else rate, dtype),
        certain,
    )


def foregone(rate: RateLike, deterministic: bool) -> bool | None:
    """The value of all mask entries if known without a key: True, False, or None."""
    if deterministic or (isinstance(rate, float) and rate == 0.0):
        return True
    return False if isinstance(rate, float) and rate == 1.0 else None


def is_drawn(
    rate: RateLike,
    deterministic: bool,
    *,
    draws_at_one: bool = False,
    name: str = "rate",
) -> bool:
    """Whether a mask or anything else is drawn, so that a key is needed.

    Methods in which the mask does not decide everything, such as those that also draw
    the position of a square, draw at a rate of 1 too.
    """
    certain = foregone(check_rate(rate, name), check_deterministic(deterministic))
    return certain is None or (draws_at_one and not certain)


def keep_probability(rate: RateLike, dtype: DTypeLike) -> Float[Array, "..."]:
    """`1 - rate` in a real dtype, clipped to [0, 1] and without a gradient."""
    if isinstance(rate, float):
        return np.asarray(1.0 - rate, dtype)  # type: ignore[return-value]
    keep = 1 - lax.stop_gradient(jnp.asarray(rate).astype(dtype))
    return jnp.clip(keep, 0, 1)


def mask_shape_of(
    shape: tuple[int, ...],
    broadcast_dims: Axes = (),
    noise_shape: Sequence[int | None] | None = None,
) -> tuple[int, ...]:
    """The shape of the mask of an array, which has size 1 along shared axes."""
    check_one_sharing(broadcast_dims, noise_shape)
    if noise_shape is not None:
        return check_noise_shape(noise_shape, shape)
    shared = check_axes(broadcast_dims, len(shape), "broadcast_dims")
    return tuple(1 if axis in shared else n for axis, n in enumerate(shape))


def mask_shape_along(shape: tuple[int, ...], own: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of a mask with one entry for each index along the `own` axes."""
    return tuple(n if axis in own else 1 for axis, n in enumerate(shape))


def mask_shape_of_blocks(
    shape: tuple[int, ...], block: tuple[int, ...]
) -> tuple[int, ...]:
    """The shape of a mask with one entry per block; sides are along the last axes."""
    sides = (1,) * (len(shape) - len(block)) + block
    return tuple(-(-n // side) for n, side in zip(shape, sides, strict=True))


def over_blocks(
    values: Shaped[Array, "..."], block: tuple[int, ...], shape: tuple[int, ...]
) -> Shaped[Array, "..."]:
    """Repeats the value of each block for its elements; broadcasts to the shape."""
    if not block or np.ndim(values) == 0:
        return values
    spread = lax.broadcast_to_rank(jnp.asarray(values), len(shape))
    for axis, side in zip(range(-len(block), 0), block, strict=True):
        if side > 1 and spread.shape[axis] != 1:
            spread = jnp.repeat(spread, side, axis)
            spread = lax.slice_in_dim(spread, 0, shape[axis], axis=axis)
    return spread


def spatial_axes(
    ndim: int, channel_axis: int, batch_axis: int | None
) -> tuple[int, ...]:
    """All axes except those of the channels and the batch."""
    own = check_channel_and_batch(channel_axis, batch_axis, ndim)
    return tuple(axis for axis in range(ndim) if axis not in own)


def draw_mask(
    key: Key[Array, ""],
    keep: Float[Array, "..."],
    shape: tuple[int, ...],
    *,
    stored: bool = False,
) -> Bool[Array, "*shape"]:
    """Draws a mask from a float32 keep probability that has already been checked."""
    return compared(random_words(key, shape, stored=stored), keep)


def draw_window(
    key: UInt[Array, "words"],
    keep: Float[Array, "..."],
    shape: tuple[int, ...],
    start: Sequence[int | Array],
    sizes: tuple[int, ...],
) -> Bool[Array, "*sizes"]:
    """Draws a window of the mask of this shape, for the data of a key."""
    return compared(window_words(key, shape, start, sizes), keep)


def compared(words: Word, keep: Float[Array, "..."]) -> Bool[Array, "*shape"]:
    """The mask of random words: True with the keep probability."""
    levels = jnp.ceil(jnp.float32(keep) * np.float32(_LEVELS))
    # A NaN rate must be visible: everything is kept, and scaled by NaN.
    threshold = jnp.nan_to_num(levels, nan=_LEVELS).astype(jnp.uint32)
    return (words >> np.uint32(9)) < lax.broadcast_to_rank(threshold, words.ndim)


_draw_mask = jax.jit(draw_mask, static_argnames="shape")
