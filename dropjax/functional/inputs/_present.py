"""Which inputs of each example are present, and what replaces the others."""

import functools

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Key, Shaped

from dropjax._apply import are_stored, nan_where, redrawn
from dropjax._masks import compared, mask_shape_along
from dropjax._random import random_words, same_key


@functools.partial(jax.jit, static_argnames=("shape", "keep_one", "stored"))
def draw_present(
    key: Key[Array, ""],
    keep: Float[Array, "..."],
    *,
    shape: tuple[int, int],
    keep_one: bool,
    stored: bool = False,
) -> Bool[Array, "examples inputs"]:
    """Draws which inputs of each example are kept, if need be given that one is.

    With `keep_one`, the first input that is kept is drawn from its distribution given
    that one is, and those after it independently. They all use the words of independent
    masks, which are thus kept, with at most one input added.
    """
    words = random_words(key, shape, stored=stored)
    mask = compared(words, keep)
    if not keep_one:
        return mask
    first = jnp.argmax(compared(words, _first_keep(keep, shape[1])), -1, keepdims=True)
    return mask | (lax.broadcasted_iota(first.dtype, shape, 1) == first)


def _first_keep(keep: Float[Array, "..."], inputs: int) -> Float[Array, "... inputs"]:
    """The probability that each input is kept, given that none before it is.

    This is its keep probability divided by the probability that it or a later one is
    kept; without any, by symmetry, one over their number.
    """
    keep = jnp.broadcast_to(keep, (*jnp.shape(keep)[:-1], inputs))
    some, found = jnp.zeros_like(keep[..., 0]), []
    for place in reversed(range(inputs)):
        own = keep[..., place]
        some = own + (1 - own) * some
        found.append(jnp.where(some > 0, own / some, 1 / (inputs - place)))
    return jnp.stack(found[::-1], -1)


def replaced(
    key: Key[Array, ""] | None,
    leaves: list[Array],
    keep: Float[Array, "..."],
    fills: list[Array],
    *,
    batch_axis: int,
    own: bool,
    keep_one: bool = False,
) -> list[Array]:
    """Replaces examples in each array by a mask of its `own`, or by one for all."""
    inputs = len(leaves) if own else 1
    options = {"inputs": inputs, "keep_one": keep_one, "batch_axis": batch_axis}
    filled = []
    for place, (x, fill) in enumerate(zip(leaves, fills, strict=True)):
        mine = key if key is None or place == 0 else same_key(key)
        place = place if own else 0
        filled.append(
            _replace(mine, jnp.asarray(x), keep, fill, place=place, **options)
        )
    return filled


@redrawn("place", "inputs", "keep_one", "batch_axis")
def _replace(
    key: Key[Array, ""] | None,
    x: Shaped[Array, "..."],
    keep: Float[Array, "..."],
    fill: Shaped[Array, "..."],
    *,
    place: int,
    inputs: int,
    keep_one: bool,
    batch_axis: int,
) -> Shaped[Array, "..."]:
    axis = batch_axis % x.ndim
    mask_shape = mask_shape_along(x.shape, (axis,))
    shape = (x.shape[axis], inputs)
    fill = jnp.broadcast_to(fill, x.shape)
    if key is None:
        return fill
    stored = are_stored(mask_shape, x)
    mask = draw_present(key, keep, shape=shape, keep_one=keep_one, stored=stored)

    def along(values: Array) -> Array:
        return jnp.broadcast_to(values, shape)[:, place].reshape(mask_shape)

    y = lax.select(jnp.broadcast_to(along(mask), x.shape), x, fill)
    return nan_where(along(keep), y)
