"""Modality dropout: leaves out whole modalities of an example, but not all of them."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool

from dropjax._checks import (
    check_batches,
    check_fills,
    check_flag,
    check_inputs,
    check_prefix,
    check_rate_shape,
    check_several,
    check_shapes,
    check_some_kept,
)
from dropjax._masks import Draw, is_drawn, mask_shape_along, prepare
from dropjax._random import same_key
from dropjax._types import KeyLike, PyTree, RateLike, Tree
from dropjax.functional.inputs._present import draw_present, replaced


def modality_dropout(
    key: KeyLike,
    x: Tree,
    rate: RateLike | PyTree,
    *,
    fill: PyTree = 0.0,
    keep_one: bool = True,
    batch_axis: int = 0,
    deterministic: bool = False,
) -> tuple[Tree, PyTree]:
    r"""Leaves out whole modalities of each example, and keeps at least one of them.

    $$y_{jn} = \text{where}(m_{jn}, x_{jn}, fill_j), \qquad
      P(m_n) = \frac{\prod_j P(m_{jn})}{1 - \prod_j rate_j} \quad (m_n \ne 0), \qquad
      m_{jn} \sim \text{Bernoulli}(1 - rate_j)$$

    for modality j, an array of the tree, and example n: the distribution of independent
    masks given that they are not all False. It is drawn exactly, from one random word
    per modality and example. A modality is therefore present with probability
    `(1 - rate) / (1 - q)`, with q the product of all rates: two modalities with a rate
    of 0.5 are both present in a third of the examples, and each of them alone in
    another third. For two modalities, rates of 1/3 give the distribution of AV-HuBERT:
    both in one half, and each alone in one quarter.

    With `keep_one=False` the masks are independent, and all modalities of an example
    may drop. Nothing is scaled. If the rates of all modalities become 1 where they are
    traced, one of them is kept, all with the same probability.

    Args:
      key: a typed or raw PRNG key. It may be None if nothing is drawn.
      x: a tree of arrays of numbers or booleans, one for each modality, with one entry
        per example along `batch_axis`.
      rate: the probability of dropping before one is kept, in [0, 1], a number or an
        array that broadcasts to (examples,); or a tree prefix of x of them, with a rate
        for each modality.
      fill: what replaces a modality: a number, or an array of its dtype that broadcasts
        to it, such as a learned embedding; or a tree prefix of x of them. Gradients
        flow into it from the dropped examples.
      keep_one: whether at least one modality of each example is kept.
      batch_axis: the axis of the examples.
      deterministic: if True, nothing is dropped.

    Returns:
      A pair: arrays with x's structure, shapes and dtypes, which is x itself if there
      is nothing to do, and a tree of boolean arrays of shape (examples,), True where a
      modality is present.

    Raises:
      ValueError: a rate or the axis is out of range, all rates are 1 or there is only
        one array although one is kept, arrays have different numbers of examples, rate
        or fill do not fit the structure of x, or the key is missing.
      TypeError: x holds something other than arrays of numbers or booleans, fill does
        not have its dtype, or an argument has the wrong type.

    Example:
      >>> x = {"audio": jnp.ones((8, 100, 4)), "video": jnp.ones((8, 9, 16))}
      >>> y, present = modality_dropout(key, x, {"audio": 0.2, "video": 0.5})
      >>> assert (present["audio"] | present["video"]).all()
      >>> assert jnp.array_equal(y["video"].any((1, 2)), present["video"])

    References:
      Neverova, Wolf, Taylor and Nebout, 2016, "ModDrop: adaptive multi-modal gesture
      recognition", IEEE TPAMI 38. Shi, Hsu, Lakhotia and Mohamed, 2022, "Learning
      audio-visual speech representation by masked multimodal cluster prediction", ICLR.
    """
    examples = check_inputs(x, batch_axis)
    fills = check_fills(fill, x)
    draw = _prepare(key, x, rate, examples, keep_one, deterministic)
    leaves, structure = jax.tree.flatten(x)
    y = x
    if not draw.certain:
        options: Any = {"batch_axis": batch_axis, "own": True, "keep_one": keep_one}
        filled = replaced(draw.key, leaves, draw.keep, fills, **options)
        y = jax.tree.unflatten(structure, filled)
    if draw.key is not None:
        draw = draw._replace(key=same_key(draw.key))
    present = _present(draw, (examples, len(leaves)), keep_one)
    return y, jax.tree.unflatten(structure, list(present.T))


def modality_dropout_mask(
    key: KeyLike,
    shape: PyTree,
    rate: RateLike | PyTree,
    *,
    keep_one: bool = True,
    batch_axis: int = 0,
    deterministic: bool = False,
) -> PyTree:
    """The masks that `modality_dropout` draws for arrays of these shapes.

    Args:
      key: a typed or raw PRNG key. It may be None if nothing is drawn.
      shape: a tree of the arrays' shapes, such as `jax.tree.map(jnp.shape, x)`.
      rate: the probability of dropping before one is kept, in [0, 1], a number, an
        array, or a tree of them.
      keep_one: whether at least one modality of each example is kept.
      batch_axis: the axis of the examples.
      deterministic: if True, the masks are all True.

    Returns:
      A tree of boolean arrays, True where a modality is present, of size 1 along all
      axes other than that of the examples.

    Raises:
      ValueError: as for `modality_dropout`.
      TypeError: as for `modality_dropout`.

    Example:
      >>> shapes = {"audio": (8, 100, 4), "video": (8, 9, 16)}
      >>> masks = modality_dropout_mask(key, shapes, 0.5)
      >>> assert masks["video"].shape == (8, 1, 1)
    """
    arrays = check_shapes(shape)
    examples = check_batches(arrays, batch_axis)
    draw = _prepare(key, arrays, rate, examples, keep_one, deterministic)
    leaves, structure = jax.tree.flatten(arrays)
    columns = _present(draw, (examples, len(leaves)), keep_one).T
    masks = [
        column.reshape(mask_shape_along(leaf.shape, (batch_axis % leaf.ndim,)))
        for column, leaf in zip(columns, leaves, strict=True)
    ]
    return jax.tree.unflatten(structure, masks)


def _prepare(
    key: KeyLike,
    x: PyTree,
    rate: RateLike | PyTree,
    examples: int,
    keep_one: bool,
    deterministic: bool,
) -> Draw:
    """Checks the arguments, and gives each modality its keep probability."""
    check_some_kept(rate, check_flag(keep_one, "keep_one"))
    rates = check_prefix(rate, x, "rate")
    check_several(len(rates), keep_one)
    for one in rates:
        check_rate_shape(one, (examples,))
    shape, columns = (examples, len(rates)), _columns(rates, examples)
    decided = not any(is_drawn(one, deterministic) for one in rates)
    if decided and is_drawn(columns, deterministic):
        key = jax.random.key(0)  # Rates of 0 and 1, which any key obeys.
    return prepare(key, columns, shape, deterministic=deterministic)


def _columns(rates: Sequence[RateLike], examples: int) -> RateLike:
    """One rate for all modalities, or an array with a column for each of them."""
    if all(isinstance(rate, int | float) for rate in rates):
        numbers = [float(rate) for rate in rates]
        same = len(set(numbers)) == 1
        return numbers[0] if same else np.asarray(numbers, np.float32)
    columns = [jnp.asarray(rate, jnp.float32) for rate in rates]
    if any(column.ndim for column in columns):
        columns = [jnp.broadcast_to(column, (examples,)) for column in columns]
    return jnp.stack(columns, -1)


def _present(
    draw: Draw, shape: tuple[int, int], keep_one: bool
) -> Bool[Array, "examples modalities"]:
    if draw.certain is not None:
        return jnp.full(shape, draw.certain)
    return draw_present(draw.key, draw.keep, shape=shape, keep_one=keep_one)
