"""DropConnect for trees: sets weights to zero."""

import functools
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from dropjax._apply import drop
from dropjax._checks import (
    check_array,
    check_block_fits,
    check_scaling,
    check_weight_block,
)
from dropjax._masks import keep_mask, mask_shape_of_blocks, over_blocks
from dropjax._types import KeyLike, PyTree, RateLike, Scaling, Tree
from dropjax.transforms._trees import Leaf, Where, map_selected, unless_same


def dropconnect(
    key: KeyLike,
    params: Tree,
    rate: RateLike | PyTree,
    *,
    where: Where | None = None,
    block_size: int | Sequence[int] | None = None,
    scaling: Scaling = "inverted",
    deterministic: bool = False,
) -> Tree:
    r"""Drops weights: returns the same tree with its kernels masked.

    $$W' = \frac{M \odot W}{1 - rate}, \qquad M_i \sim \text{Bernoulli}(1 - rate)$$

    for every selected leaf, with `scaling="inverted"`. With "standard", nothing is
    scaled in training, and W is multiplied by `1 - rate` with `deterministic=True`. All
    examples of a batch share one mask. Use it where the model is applied:

        logits = model.apply(dropjax.dropconnect(key, params, 0.5), x)

    Without `where`, kernels are selected, and biases, normalization, embeddings,
    positions and class tokens are not. `dropjax.selected(params)` returns the paths of
    the selected leaves, and its documentation describes the rule.

    With a `block_size`, neighboring weights share one mask value. For blocks of size a
    x b,

    $$W'_{ij} = \frac{W_{ij}}{1 - rate}
      M_{\lfloor i / a \rfloor \lfloor j / b \rfloor}$$

    This is quantization noise with zeros as the noise ("proxy"): `block_size=8` drops
    blocks of 8 inputs of one output, and `(3, 3, 1, 1)` drops whole windows of a
    convolution.

    The key of a leaf is derived only from `key` and the leaf's path, such as
    "layer/kernel": adding or removing a parameter does not change any other mask. The
    path is the same in a dict, a FrozenDict, an `nnx.State` and a dataclass; boxes of
    variables do not appear in it.

    Args:
      key: a typed or raw PRNG key. It may be None if nothing is drawn.
      params: any pytree of arrays, which may have None leaves. Masked arrays keep their
        shape, dtype and sharding.
      rate: the probability of dropping a weight, in [0, 1]; or a tree prefix of
        `params` with such rates, in which None excludes a part of the tree. An array
        holds a single rate, or broadcasts to the shape of the leaf's mask: the shape of
        the leaf, or with a `block_size` that of its blocks.
      where: a function of the path of a leaf, such as "layer/kernel", and the leaf,
        which returns True for the leaves to mask. It replaces the default selection.
      block_size: the sides of blocks of weights that share one mask value, along the
        last axes of every selected leaf. An integer n stands for (n, 1): n consecutive
        inputs of one output, if the last two axes of the kernel are inputs and outputs.
        If a side does not divide an axis, the last block is cut off. None or 1 for no
        blocks.
      scaling: "inverted" or "standard".
      deterministic: if True, nothing is dropped.

    Returns:
      A tree of the same structure; `params` itself if there is nothing to do.

    Raises:
      ValueError: a rate is outside [0, 1], the tree of rates is not a prefix of
        `params`, a block has more axes than a selected leaf, no leaf is selected, or
        the key is missing although masks are drawn.
      TypeError: a selected leaf is not a floating-point or complex array.

    Example:
      >>> params = {"dense": {"kernel": jnp.ones((100, 100)), "bias": jnp.ones(100)}}
      >>> masked = dropconnect(jax.random.key(0), params, 0.5)
      >>> assert set(np.unique(masked["dense"]["kernel"])) == {0.0, 2.0}
      >>> assert masked["dense"]["bias"] is params["dense"]["bias"]
      >>> blocks = dropconnect(jax.random.key(0), params, 0.5, block_size=4)
      >>> first = blocks["dense"]["kernel"][::4]
      >>> assert jnp.array_equal(blocks["dense"]["kernel"], jnp.repeat(first, 4, 0))

    References:
      Wan, Zeiler, Zhang, LeCun and Fergus, 2013, "Regularization of neural networks
      using DropConnect", ICML. Fan, Stock, Graham, Grave, Gribonval, Jegou and Joulin,
      2021, "Training with quantization noise for extreme model compression", ICLR.
    """
    check_scaling(scaling)
    block = check_weight_block(block_size)
    drop_blocks = functools.partial(
        drop, block=block, scaling=scaling, deterministic=deterministic
    )

    def mask_leaf(key: KeyLike, leaf: Leaf) -> Any:
        mask_shape = _mask_shape(leaf, block)
        return drop_blocks(key, check_array(leaf.value), leaf.rate, mask_shape)

    masked = map_selected(
        mask_leaf, lambda leaf: leaf, key, params, rate, where, deterministic
    )
    return unless_same(masked, params)


def dropconnect_mask(
    key: KeyLike,
    params: PyTree,
    rate: RateLike | PyTree,
    *,
    where: Where | None = None,
    block_size: int | Sequence[int] | None = None,
    deterministic: bool = False,
) -> PyTree:
    """The masks that `dropconnect` draws for these parameters; True means keep.

    Args:
      key: a typed or raw PRNG key. It may be None if nothing is drawn.
      params: any pytree of arrays, or of their `jax.ShapeDtypeStruct`s.
      rate: the probability of dropping a weight, a single rate or a tree prefix of
        `params`.
      where: selects leaves by path and leaf, as in `dropconnect`.
      block_size: the sides of blocks of weights that share one mask value.
      deterministic: if True, the masks are all True.

    Returns:
      A tree of the same structure with a boolean array of each leaf's shape, which is
      all True for leaves that are not selected.

    Raises:
      ValueError: as for `dropconnect`.
      TypeError: as for `dropconnect`.

    Example:
      >>> params = {"kernel": jnp.ones((100, 100)), "bias": jnp.ones(100)}
      >>> mask = dropconnect_mask(jax.random.key(0), params, 0.5)
      >>> assert abs(mask["kernel"].mean() - 0.5) < 0.03
      >>> assert mask["bias"].all()
    """
    block = check_weight_block(block_size)

    def draw(key: KeyLike, leaf: Leaf) -> Any:
        mask_shape, shape = _mask_shape(leaf, block), leaf.value.shape
        mask = keep_mask(key, mask_shape, leaf.rate, deterministic=deterministic)
        return jnp.broadcast_to(over_blocks(mask, block, shape), shape)

    def whole(leaf: Any) -> Any:
        return jnp.ones(np.shape(leaf), bool)

    return map_selected(draw, whole, key, params, rate, where, deterministic)


def _mask_shape(leaf: Leaf, block: tuple[int, ...]) -> tuple[int, ...]:
    check_block_fits(block, leaf.value, leaf.path)
    return mask_shape_of_blocks(leaf.value.shape, block)
