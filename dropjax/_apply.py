"""Applies masks to arrays: selects, scales, and saves no mask for the backward pass."""

import functools
import math
from collections.abc import Callable
from itertools import compress
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.custom_derivatives import SymbolicZero
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from jax.typing import DTypeLike
from jaxtyping import Array, ArrayLike, Bool, Float, Inexact, Key, Num, Shaped

from dropjax._checks import (
    check_array,
    check_fill,
    check_keep,
    check_mask,
    check_numbers,
    check_scaling,
    is_symbolic,
)
from dropjax._masks import draw_mask, over_blocks, prepare
from dropjax._types import KeyLike, RateLike, Scaling

# Drawing a mask entry inside the loop that uses it takes about an eighth of the time of
# drawing it in a separate loop and storing it.
_SHARERS = 8


def apply_mask(
    x: Num[Array, "*shape"],
    mask: Bool[Array, "..."],
    *,
    keep: RateLike = 1.0,
    fill: ArrayLike = 0.0,
) -> Num[Array, "*shape"]:
    r"""Keeps and scales the elements where the mask is True, and replaces the others.

    $$y = \text{where}(mask, x / keep, fill)$$

    The function selects; it never multiplies by the mask. NaN and Inf in dropped
    elements therefore vanish, from the values and from the gradients. Scaling is done
    in float32 or better and rounded once to the dtype of x.

    Args:
      x: a floating-point or complex array. Integers are accepted too if `keep` is 1, so
        that nothing is scaled.
      mask: True where x is kept. It broadcasts to the shape of x.
      keep: the share kept, in [0, 1], a number or an array that broadcasts to the shape
        of x. Where it is 0, nothing is divided; the mask is expected to keep nothing
        there.
      fill: the value that replaces dropped elements, a number or an array of x's dtype
        that broadcasts to the shape of x.

    Returns:
      An array of x's shape and dtype.

    Raises:
      ValueError: keep is outside [0, 1], or a shape does not broadcast to the shape of
        x.
      TypeError: x, mask, keep or fill has the wrong type.

    Example:
      >>> x = jnp.array([1.0, jnp.nan])
      >>> y = apply_mask(x, jnp.array([True, False]), keep=0.5)
      >>> assert y.tolist() == [2.0, 0.0]
    """
    unscaled = isinstance(keep, int | float) and keep == 1
    x = jnp.asarray(check_numbers(x) if unscaled else check_array(x))
    mask = check_mask(mask, x.shape)
    check_keep(keep, x.shape)
    wide = x if unscaled else _divide(x, keep)
    fill = jnp.full_like(wide, check_fill(fill, x))
    # Round last: on CPUs, XLA selects bfloat16 values in float32 and would round twice.
    chosen = sharded_like(x, _select)(mask, wide, fill)
    return as_weak_as(x, chosen.astype(x.dtype))


def _select(mask: Array, kept: Array, fill: Array) -> Array:
    return lax.select(jnp.broadcast_to(mask, kept.shape), kept, fill)


def redrawn(
    *static: str, forgetful: bool = True
) -> Callable[[Callable[..., Array]], Callable[..., Array]]:
    """Jits a function of (key, x, ...) and makes its backward pass redraw the mask.

    The decorated function returns an array like x, and saves only the key and its array
    arguments for the backward pass. Arrays are passed by position, and the options
    named in `static` by keyword. With `forgetful=False`, autodiff decides what is
    saved; use it where the mask depends on x and is much smaller than x.
    """

    def decorate(function: Callable[..., Array]) -> Callable[..., Array]:
        @functools.partial(jax.jit, static_argnames=static)
        @functools.wraps(function)
        def redraw(key: KeyLike, x: Array, *others: Array, **options: object) -> Array:
            def draw(key: KeyLike, x: Array, *others: Array) -> Array:
                return as_weak_as(x, function(key, x, *others, **options))

            drawn = _drawn_again(draw) if forgetful else draw
            return sharded_like(x, drawn)(key, x, *others)

        return redraw

    return decorate


def _drawn_again(draw: Callable[..., Array]) -> Callable[..., Array]:
    """Wraps a function of (key, *arrays) so that its derivatives redraw from the key.

    The key of the derivative passes through an optimization barrier. Without it, the
    compiler recognizes the same mask in both passes of an unrolled network and stores
    it. Only the key passes the barrier, so that drawing the mask still fuses with its
    neighbors.
    """
    drawn = jax.custom_jvp(draw)

    @functools.partial(jax.checkpoint, prevent_cse=False)
    def again(key: KeyLike, *arrays: Array) -> Array:
        return draw(_behind_barrier(key), *arrays)

    @functools.partial(drawn.defjvp, symbolic_zeros=True)
    def derivative(
        primals: tuple[Any, ...], tangents: tuple[Any, ...]
    ) -> tuple[Array, Array]:
        key, *arrays = primals
        moves = [not isinstance(tangent, SymbolicZero) for tangent in tangents[1:]]

        def vary(*moving: Array) -> Array:
            chosen = iter(moving)
            pairs = zip(arrays, moves, strict=True)
            return again(key, *(next(chosen) if m else a for a, m in pairs))

        moving, pushed = (
            tuple(compress(pair, moves)) for pair in (arrays, tangents[1:])
        )
        return drawn(*primals), jax.jvp(vary, moving, pushed)[1]

    return drawn


def _behind_barrier(key: Key[Array, ""] | None) -> Key[Array, ""] | None:
    """The same key, hidden from the compiler's common-subexpression elimination."""
    if key is None:
        return None
    words = lax.optimization_barrier(jax.random.key_data(key))
    return jax.random.wrap_key_data(words, impl=jax.random.key_impl(key))


def as_weak_as(x: Array, y: Array) -> Array:
    """Makes y weakly typed if x is.

    JAX has no public way to do this other than an assignment, which XLA removes.
    """
    if jax.typeof(y).weak_type or not jax.typeof(x).weak_type:
        return y
    return jnp.zeros_like(x, shape=y.shape).at[...].set(y)


def sharded_like(
    x: Array, function: Callable[..., Array], axes: int | None = None
) -> Callable[..., Array]:
    """Lets the compiler shard the mask like x if the mesh has explicit axes.

    With `axes`, the output is sharded along only that many leading axes.
    """
    sharding = jax.typeof(x).sharding
    if AxisType.Explicit in sharding.mesh.axis_types:
        own = NamedSharding(sharding.mesh, PartitionSpec(*sharding.spec[:axes]))
        return jax.sharding.auto_axes(function, out_sharding=own)
    return function


def drop(
    key: KeyLike,
    x: Inexact[Array, "*shape"],
    rate: RateLike,
    mask_shape: tuple[int, ...],
    *,
    block: tuple[int, ...] = (),
    scaling: Scaling,
    deterministic: bool,
) -> Inexact[Array, "*shape"]:
    """Drops elements with a mask of the given shape, which broadcasts to the array's.

    With a `block`, each mask entry covers a block with these sides along the last axes.
    """
    check_scaling(scaling)
    key, keep, certain = prepare(
        key,
        rate,
        mask_shape,
        working_dtype(x),
        deterministic=deterministic,
        averages=scaling == "standard",
    )
    if certain is not None:
        return x if certain else jnp.zeros_like(x)
    if key is None:
        return _expect(None, x, over_blocks(keep, block, x.shape))
    return _draw_and_apply(
        key, x, keep, mask_shape=mask_shape, block=block, scaling=scaling
    )


def drop_by(
    draw: Callable[..., Array],
    key: KeyLike,
    x: Inexact[Array, "*shape"],
    rate: RateLike,
    mask_shape: tuple[int, ...],
    *,
    deterministic: bool,
    **options: object,
) -> Inexact[Array, "*shape"]:
    """X or zeros if that is certain, and `draw(key, x, keep)` otherwise."""
    dtype = working_dtype(x)
    key, keep, certain = prepare(
        key, rate, mask_shape, dtype, deterministic=deterministic
    )
    if certain is not None:
        return x if certain else jnp.zeros_like(x)
    return draw(key, x, keep, mask_shape=mask_shape, **options)


@redrawn("mask_shape", "block", "scaling")
def _draw_and_apply(
    key: Key[Array, ""],
    x: Inexact[Array, "*shape"],
    keep: Float[Array, "..."],
    *,
    mask_shape: tuple[int, ...],
    block: tuple[int, ...],
    scaling: Scaling,
) -> Inexact[Array, "*shape"]:
    mask = over_blocks(draw_mask_for(x, key, keep, mask_shape), block, x.shape)
    return _apply(x, mask, over_blocks(keep, block, x.shape), scaling)


@redrawn("scaling")
def apply_drawn(
    key: None,
    x: Inexact[Array, "*shape"],
    mask: Bool[Array, "..."],
    keep: Float[Array, "..."],
    *,
    scaling: Scaling,
) -> Inexact[Array, "*shape"]:
    """Applies a mask that was drawn earlier for several arrays; the mask is stored."""
    return _apply(x, mask, keep, scaling)


def _apply(
    x: Inexact[Array, "*shape"],
    mask: Bool[Array, "..."],
    keep: Float[Array, "..."],
    scaling: Scaling,
) -> Inexact[Array, "*shape"]:
    if scaling == "standard":
        return nan_where(keep, apply_mask(x, mask))
    return apply_mask(x, mask, keep=keep)


def draw_mask_for(
    x: Array,
    key: Key[Array, ""],
    keep: Float[Array, "..."],
    mask_shape: tuple[int, ...],
) -> Bool[Array, "..."]:
    """Draws a mask that broadcasts to the shape of x."""
    return draw_mask(key, keep, mask_shape, stored=are_stored(mask_shape, x))


def are_stored(mask_shape: tuple[int, ...], x: Array) -> bool:
    """Whether so many elements share a mask entry that storing the mask is faster."""
    sizes = zip(mask_shape, x.shape, strict=True)
    shared = [(own, n) for own, n in sizes if own != n]
    if any(is_symbolic(n) for _, n in shared):
        return True
    drawn = math.prod(own for own, _ in shared)
    return drawn * _SHARERS <= math.prod(n for _, n in shared)


@redrawn()
def _expect(
    key: None, x: Inexact[Array, "*shape"], keep: Float[Array, "..."]
) -> Inexact[Array, "*shape"]:
    """The output of standard scaling after training: the mean over masks."""
    return apply_mask(scale(x, keep), jnp.broadcast_to(keep != 0, x.shape))


def _divide(x: Inexact[Array, "*shape"], keep: RateLike) -> Inexact[Array, "*shape"]:
    """Divides x by the share kept, without rounding to the dtype of x."""
    keep = jnp.asarray(keep, working_dtype(x))
    # XLA turns a division by a scalar into this product, but not everywhere. Written
    # out, eager and jitted calls and flax's Dropout agree to the last bit.
    return _multiply(x, 1 / jnp.where(keep == 0, jnp.ones_like(keep), keep))


def scale(
    x: Inexact[Array, "*shape"], factor: Float[Array, "..."]
) -> Inexact[Array, "*shape"]:
    """Multiplies x by real factors in their dtype, and rounds once to x's dtype."""
    return _multiply(x, factor).astype(x.dtype)


def _multiply(
    x: Inexact[Array, "*shape"], factor: Float[Array, "..."]
) -> Inexact[Array, "*shape"]:
    factor = lax.broadcast_to_rank(factor, x.ndim)
    if jnp.iscomplexobj(x):
        return lax.complex(x.real * factor, x.imag * factor)
    return x.astype(factor.dtype) * factor


def widened(x: Inexact[Array, "*shape"]) -> Inexact[Array, "*shape"]:
    """Converts x to single precision or better, so that sums are rounded once."""
    return x if jnp.iscomplexobj(x) else x.astype(working_dtype(x))


def working_dtype(x: Inexact[Array, "..."]) -> np.dtype:
    """The real dtype of x, or float32 if that is more precise."""
    real = x.real.dtype if jnp.iscomplexobj(x) else x.dtype
    return single_or_wider(real)


def single_or_wider(dtype: DTypeLike) -> np.dtype:
    """Float32 or better, as far as JAX's configuration allows."""
    return jax.dtypes.canonicalize_dtype(np.promote_types(dtype, np.float32))


def nan_seen(
    share: float | Float[Array, "..."], keep: Float[Array, "..."]
) -> float | Float[Array, "..."]:
    """The given share, or NaN if the rate is NaN, so that NaN is not hidden."""
    if isinstance(keep, np.ndarray):
        return share
    return jnp.where(jnp.isnan(keep).any(), jnp.nan, share)


def nan_where(keep: RateLike, y: Shaped[Array, "*shape"]) -> Shaped[Array, "*shape"]:
    """Y, set to NaN where the rate is NaN, which would be hidden without scaling."""
    if not jnp.issubdtype(y.dtype, jnp.inexact):
        return y
    return jnp.where(lax.broadcast_to_rank(jnp.isnan(keep), y.ndim), jnp.nan, y)
