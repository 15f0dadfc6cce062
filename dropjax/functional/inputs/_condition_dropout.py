"""Condition dropout: replaces the conditions of an example by null conditions."""

from collections.abc import Sequence
from typing import Any, Literal, overload

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool

from dropjax._checks import (
    check_axis,
    check_fills,
    check_flag,
    check_inputs,
    check_rate,
    check_rate_shape,
    check_shape,
)
from dropjax._masks import keep_mask, mask_shape_along, prepare
from dropjax._random import same_key
from dropjax._types import KeyLike, PyTree, RateLike, Tree
from dropjax.functional.inputs._present import replaced


@overload
def condition_dropout(
    key: KeyLike,
    x: Tree,
    rate: RateLike,
    *,
    fill: PyTree,
    batch_axis: int = 0,
    return_mask: Literal[False] = False,
    deterministic: bool = False,
) -> Tree: ...


@overload
def condition_dropout(
    key: KeyLike,
    x: Tree,
    rate: RateLike,
    *,
    fill: PyTree,
    batch_axis: int = 0,
    return_mask: Literal[True],
    deterministic: bool = False,
) -> tuple[Tree, Bool[Array, "examples"]]: ...


@overload
def condition_dropout(
    key: KeyLike,
    x: Tree,
    rate: RateLike,
    *,
    fill: PyTree,
    batch_axis: int = 0,
    return_mask: bool,
    deterministic: bool = False,
) -> PyTree: ...


def condition_dropout(
    key: KeyLike,
    x: Tree,
    rate: RateLike,
    *,
    fill: PyTree,
    batch_axis: int = 0,
    return_mask: bool = False,
    deterministic: bool = False,
) -> Tree | tuple[Tree, Bool[Array, "examples"]]:
    r"""Replaces all conditions of an example by null conditions.

    $$y_n = \text{where}(m_n, x_n, fill), \qquad m_n \sim \text{Bernoulli}(1 - rate)$$

    in example n, in every array of the tree at once. Nothing is scaled. A generative
    model that is trained this way is both conditional and unconditional, as
    classifier-free guidance needs it: call it with `fill` in place of the conditions
    for the unconditional output. The method is also called label dropout, condition
    masking and `drop_cond`. For conditions that drop independently of each other, use
    `modality_dropout` with `keep_one=False`.

    Args:
      key: a typed or raw PRNG key. It may be None if nothing is drawn.
      x: the conditions, an array or a tree of arrays, such as integer labels,
        embeddings and boolean masks, with one entry per example along `batch_axis`.
      rate: the probability of dropping, in [0, 1], a number or an array that broadcasts
        to (examples,).
      fill: the null condition: a number, such as an extra class or 0, or an array of
        the dtype of x that broadcasts to x, such as a learned embedding; for a tree,
        also a tree prefix of x. Gradients flow into it from the dropped examples.
      batch_axis: the axis of the examples.
      return_mask: whether to return the mask too.
      deterministic: if True, nothing is dropped.

    Returns:
      Arrays with x's structure, shapes and dtypes; x itself if there is nothing to do.
      With `return_mask=True`, a pair of these and a boolean array of shape (examples,),
      True where an example keeps its conditions.

    Raises:
      ValueError: the rate or the axis is out of range, arrays have different numbers of
        examples, fill does not fit the structure of x, or the key is missing.
      TypeError: x holds something other than arrays of numbers or booleans, fill does
        not have its dtype, or an argument has the wrong type.

    Example:
      >>> x = {"label": jnp.arange(8), "text": jnp.ones((8, 5, 16))}
      >>> null = {"label": 1000, "text": jnp.zeros(16)}
      >>> y, mask = condition_dropout(key, x, 0.5, fill=null, return_mask=True)
      >>> assert jnp.array_equal(y["label"], jnp.where(mask, x["label"], 1000))
      >>> assert jnp.array_equal(y["text"].any((1, 2)), mask)

    References:
      Ho and Salimans, 2022, "Classifier-free diffusion guidance", arXiv:2207.12598.
    """
    return_mask = check_flag(return_mask, "return_mask")
    examples = check_inputs(x, batch_axis)
    fills = check_fills(fill, x)
    rate = check_rate(rate)
    check_rate_shape(rate, (examples,))
    # One column, for the one mask value of all arrays.
    column = rate if jnp.ndim(rate) == 0 else jnp.reshape(rate, (-1, 1))
    draw = prepare(key, column, (examples, 1), deterministic=deterministic)
    y = x
    if not draw.certain:
        leaves, structure = jax.tree.flatten(x)
        options: Any = {"batch_axis": batch_axis, "own": False}
        filled = replaced(draw.key, leaves, draw.keep, fills, **options)
        y = jax.tree.unflatten(structure, filled)
    if not return_mask:
        return y
    again = None if draw.key is None else same_key(draw.key)
    off = draw.certain is True
    return y, keep_mask(again, (examples,), rate, deterministic=off)


def condition_dropout_mask(
    key: KeyLike,
    shape: Sequence[int],
    rate: RateLike,
    *,
    batch_axis: int = 0,
    deterministic: bool = False,
) -> Bool[Array, "..."]:
    """The mask that `condition_dropout` draws for an array of this shape.

    Args:
      key: a typed or raw PRNG key. It may be None if nothing is drawn.
      shape: the shape of one of the arrays. They all have the same mask values.
      rate: the probability of dropping, in [0, 1], a number or an array that broadcasts
        to (examples,).
      batch_axis: the axis of the examples.
      deterministic: if True, the mask is all True.

    Returns:
      A boolean array, True where an example keeps its conditions, of size 1 along all
      other axes.

    Raises:
      ValueError: as for `condition_dropout`.
      TypeError: as for `condition_dropout`.

    Example:
      >>> x = jnp.arange(2, 10)
      >>> y = condition_dropout(key, x, 0.5, fill=0)
      >>> assert jnp.array_equal(y != 0, condition_dropout_mask(key, (8,), 0.5))
      >>> assert condition_dropout_mask(key, (8, 5, 16), 0.5).shape == (8, 1, 1)
    """
    shape = check_shape(shape)
    (axis,) = check_axis(batch_axis, len(shape), "batch_axis")
    mask = keep_mask(key, (shape[axis],), rate, deterministic=deterministic)
    return mask.reshape(mask_shape_along(shape, (axis,)))
