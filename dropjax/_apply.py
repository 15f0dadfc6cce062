"""From a mask to the array: the only `where`, the only scaling, nothing saved."""

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
from jaxtyping import Array, ArrayLike, Bool, Float, Inexact, Key, Num

from dropjax._checks import (
    check_array,
    check_deterministic,
    check_fill,
    check_keep,
    check_key,
    check_mask,
    check_numbers,
    check_rate,
    check_rate_shape,
    check_scaling,
    is_symbolic,
)
from dropjax._masks import foregone, keep_probability, over_blocks, toss
from dropjax._types import KeyLike, RateLike, Scaling

# An element that draws its coin itself takes about an eighth of the time of a coin
# drawn by JAX's loop, to be stored.
_SHARERS = 8


def apply_mask(
    x: Num[Array, "*shape"],
    mask: Bool[Array, "..."],
    *,
    keep: RateLike = 1.0,
    fill: ArrayLike = 0.0,
) -> Num[Array, "*shape"]:
    r"""Keeps and scales what the mask keeps, and fills the rest.

    $$y = \text{where}(mask, x / keep, fill)$$

    It selects and never multiplies by the mask: NaN and Inf in a dropped place
    vanish, in the values and in the gradients. The scaling is done in float32 or
    better and rounded once to x's dtype.

    Args:
      x: a floating-point or complex array, or where keep is 1, and so nothing is
        scaled, also one of integers.
      mask: True where x is kept; it broadcasts to x's shape.
      keep: the share kept, in [0, 1], a number or an array that broadcasts to x's
        shape. Where it is 0 nothing survives, and nothing is divided.
      fill: what takes the dropped places, a number or an array of x's dtype that
        broadcasts to x's shape.

    Returns:
      An array of x's shape and dtype.

    Raises:
      ValueError: keep is outside [0, 1], or a shape does not broadcast to x's.
      TypeError: x, mask, keep or fill is of the wrong type.

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
    # Rounded last: XLA selects bfloat16 in float32 on a CPU, and would round twice.
    chosen = lax.select(jnp.broadcast_to(mask, x.shape), wide, fill)
    return _as_weak_as(x, chosen.astype(x.dtype))


def redrawn(
    *static: str, forgetful: bool = True
) -> Callable[[Callable[..., Array]], Callable[..., Array]]:
    """Jit for a function of (key, x, ...) like x, made to save only its key.

    The backward pass draws the mask again. Arrays come as positional arguments, the
    options named in `static` by keyword. Without `forgetful` it saves what it likes:
    less than x, where few coins depend on x.
    """

    def decorate(function: Callable[..., Array]) -> Callable[..., Array]:
        @functools.partial(jax.jit, static_argnames=static)
        @functools.wraps(function)
        def redraw(key: KeyLike, x: Array, *others: Array, **options: object) -> Array:
            def draw(key: KeyLike, x: Array, *others: Array) -> Array:
                return _as_weak_as(x, function(key, x, *others, **options))

            drawn = _drawn_again(draw) if forgetful else draw
            return sharded_like(x, drawn)(key, x, *others)

        return redraw

    return decorate


def _drawn_again(draw: Callable[..., Array]) -> Callable[..., Array]:
    """A function of (key, *arrays) whose derivatives save the key, and draw again.

    The derivative's key passes a barrier. Without it a compiler sees the same mask in
    both passes of an unrolled net, and stores it. The barrier holds nothing but the
    key, so that what draws the mask fuses with its neighbours.
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
    """The same key, of which a compiler does not know that it is the same."""
    if key is None:
        return None
    words = lax.optimization_barrier(jax.random.key_data(key))
    return jax.random.wrap_key_data(words, impl=jax.random.key_impl(key))


def _as_weak_as(x: Array, y: Array) -> Array:
    """Y, which gives way to other dtypes if x does.

    JAX has no other word for it than an assignment, of which XLA leaves nothing.
    """
    if jax.typeof(y).weak_type or not jax.typeof(x).weak_type:
        return y
    return jnp.zeros_like(x, shape=y.shape).at[...].set(y)


def sharded_like(
    x: Array, function: Callable[..., Array], axes: int | None = None
) -> Callable[..., Array]:
    """Lets the compiler shard the mask as x, where shardings are explicit types.

    With `axes`, what the function returns is sharded along so many first axes alone.
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
    coins: tuple[int, ...],
    *,
    block: tuple[int, ...] = (),
    scaling: Scaling,
    deterministic: bool,
) -> Inexact[Array, "*shape"]:
    """Drops with coins of the given shape, which broadcast to the array's.

    With a `block` each is for a block of such sides along the last axes.
    """
    rate = check_rate(rate)
    check_rate_shape(rate, coins)
    check_scaling(scaling)
    deterministic = check_deterministic(deterministic)
    certain = foregone(rate, deterministic)
    keep = keep_probability(rate, working_dtype(x))
    if certain is None:
        options = {"coins": coins, "block": block, "scaling": scaling}
        return _toss_and_apply(check_key(key), x, keep, **options)
    if deterministic and scaling == "standard" and not is_one(keep):
        return _expect(None, x, over_blocks(keep, block, x.shape))
    return x if certain else jnp.zeros_like(x)


def drop_by(
    draw: Callable[..., Array],
    key: KeyLike,
    x: Inexact[Array, "*shape"],
    rate: RateLike,
    coins: tuple[int, ...],
    *,
    deterministic: bool,
    **options: object,
) -> Inexact[Array, "*shape"]:
    """X or zeros where that is certain; else what `draw(key, x, keep)` makes of it."""
    rate = check_rate(rate)
    check_rate_shape(rate, coins)
    certain = foregone(rate, check_deterministic(deterministic))
    if certain is not None:
        return x if certain else jnp.zeros_like(x)
    keep = keep_probability(rate, working_dtype(x))
    return draw(check_key(key), x, keep, coins=coins, **options)


@redrawn("coins", "block", "scaling")
def _toss_and_apply(
    key: Key[Array, ""],
    x: Inexact[Array, "*shape"],
    keep: Float[Array, "..."],
    *,
    coins: tuple[int, ...],
    block: tuple[int, ...],
    scaling: Scaling,
) -> Inexact[Array, "*shape"]:
    mask = over_blocks(toss_for(x, key, keep, coins), block, x.shape)
    return _apply(x, mask, over_blocks(keep, block, x.shape), scaling)


@redrawn("scaling")
def apply_coins(
    key: None,
    x: Inexact[Array, "*shape"],
    mask: Bool[Array, "..."],
    keep: Float[Array, "..."],
    *,
    scaling: Scaling,
) -> Inexact[Array, "*shape"]:
    """Drops with coins that were tossed before, for several arrays: they are kept."""
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


def toss_for(
    x: Array, key: Key[Array, ""], keep: Float[Array, "..."], coins: tuple[int, ...]
) -> Bool[Array, "..."]:
    """The coins of an array, which broadcast to its shape."""
    return toss(key, keep, coins, stored=are_stored(coins, x))


def are_stored(coins: tuple[int, ...], x: Array) -> bool:
    """Whether so many elements share each coin that it is better drawn once."""
    shared = [(coin, n) for coin, n in zip(coins, x.shape, strict=True) if coin != n]
    if any(is_symbolic(n) for _, n in shared):
        return True
    tossed = math.prod(coin for coin, _ in shared)
    return tossed * _SHARERS <= math.prod(n for _, n in shared)


@redrawn()
def _expect(
    key: None, x: Inexact[Array, "*shape"], keep: Float[Array, "..."]
) -> Inexact[Array, "*shape"]:
    """What standard scaling makes of x after training: its mean over masks."""
    return apply_mask(scale(x, keep), jnp.broadcast_to(keep != 0, x.shape))


def _divide(x: Inexact[Array, "*shape"], keep: RateLike) -> Inexact[Array, "*shape"]:
    """X by the share kept, not yet rounded to its dtype."""
    keep = jnp.asarray(keep, working_dtype(x))
    # XLA turns division by a scalar into this product, but not everywhere; written
    # out, eager, jitted and flax's survivors are the same to the last bit.
    return _multiply(x, 1 / jnp.where(keep == 0, jnp.ones_like(keep), keep))


def scale(
    x: Inexact[Array, "*shape"], factor: Float[Array, "..."]
) -> Inexact[Array, "*shape"]:
    """A product with real factors in their dtype, rounded once to x's."""
    return _multiply(x, factor).astype(x.dtype)


def _multiply(
    x: Inexact[Array, "*shape"], factor: Float[Array, "..."]
) -> Inexact[Array, "*shape"]:
    factor = lax.broadcast_to_rank(factor, x.ndim)
    if jnp.iscomplexobj(x):
        return lax.complex(x.real * factor, x.imag * factor)
    return x.astype(factor.dtype) * factor


def widened(x: Inexact[Array, "*shape"]) -> Inexact[Array, "*shape"]:
    """X in a dtype of single precision or better, for sums to be rounded once."""
    return x if jnp.iscomplexobj(x) else x.astype(working_dtype(x))


def working_dtype(x: Inexact[Array, "..."]) -> np.dtype:
    """X's real dtype, or float32 where that is better."""
    real = x.real.dtype if jnp.iscomplexobj(x) else x.dtype
    return single_or_wider(real)


def single_or_wider(dtype: DTypeLike) -> np.dtype:
    """Float32 or better, as far as JAX has it: x may be NumPy's."""
    return jax.dtypes.canonicalize_dtype(np.promote_types(dtype, np.float32))


def nan_seen(
    share: float | Float[Array, "..."], keep: Float[Array, "..."]
) -> float | Float[Array, "..."]:
    """A share kept that is not the rate's own; NaN if the rate is, to be seen."""
    if isinstance(keep, np.ndarray):
        return share
    return jnp.where(jnp.isnan(keep).any(), jnp.nan, share)


def nan_where(keep: RateLike, y: Num[Array, "*shape"]) -> Num[Array, "*shape"]:
    """Y, and NaN where its rate is, which would be hidden where nothing is scaled."""
    if jnp.issubdtype(y.dtype, np.integer):
        return y
    return jnp.where(lax.broadcast_to_rank(jnp.isnan(keep), y.ndim), jnp.nan, y)


def is_one(keep: Float[Array, "..."]) -> bool:
    return isinstance(keep, np.ndarray) and keep.ndim == 0 and keep == 1
