"""DropConnect on trees: weights are set to zero."""

import functools
from typing import Any

import jax.numpy as jnp
import numpy as np

from dropjax._checks import check_scaling
from dropjax._types import KeyLike, PyTree, RateLike, Scaling, Tree
from dropjax.functional import dropout, dropout_mask
from dropjax.transforms._trees import Leaf, Where, map_selected, unless_same


def dropconnect(
    key: KeyLike,
    params: Tree,
    rate: RateLike | PyTree,
    *,
    where: Where | None = None,
    scaling: Scaling = "inverted",
    deterministic: bool = False,
) -> Tree:
    r"""Drops weights: returns the same tree with its kernels masked.

    $$W' = \frac{M \odot W}{1 - rate}, \qquad M_i \sim \text{Bernoulli}(1 - rate)$$

    for every selected leaf, with `scaling="inverted"`; "standard" scales nothing in
    training and W by `1 - rate` with `deterministic=True`. All examples of a batch see
    one mask. Use it where the model is applied:

        logits = model.apply(dropjax.dropconnect(key, params, 0.5), x)

    Without `where`, kernels are selected, and biases, normalization, embeddings,
    positions and class tokens are not. `dropjax.selected(params)` gives the paths of
    the selected leaves, and its documentation the rule.

    A leaf's key is made from `key` and the leaf's path, "layer/kernel", and nothing
    else: adding or removing a parameter changes no other mask. The path is the same in
    a dict, a FrozenDict, an `nnx.State` and a dataclass; the box of a variable has no
    part in it.

    Args:
      key: a PRNG key, typed or raw. None where nothing is drawn.
      params: any pytree of arrays, None leaves included; the masked arrays keep shape,
        dtype and sharding.
      rate: the probability of dropping a weight, in [0, 1]; or a tree prefix of
        `params` of such rates, in which None leaves its part of the tree whole. An
        array is one rate, or one that broadcasts to the leaf.
      where: a function of a leaf's path, as "layer/kernel", and the leaf, that is True
        for the leaves to mask. It replaces the default selection.
      scaling: "inverted" or "standard".
      deterministic: if True, nothing is dropped.

    Returns:
      A tree of the same structure; `params` itself where nothing is to be done.

    Raises:
      ValueError: a rate is outside [0, 1] or the tree of rates is no prefix of
        `params`, no leaf is selected, or there is no key although masks are drawn.
      TypeError: a selected leaf is not a floating-point or complex array.

    Example:
      >>> params = {"dense": {"kernel": jnp.ones((100, 100)), "bias": jnp.ones(100)}}
      >>> masked = dropconnect(jax.random.key(0), params, 0.5)
      >>> assert set(np.unique(masked["dense"]["kernel"])) == {0.0, 2.0}
      >>> assert masked["dense"]["bias"] is params["dense"]["bias"]

    References:
      Wan, Zeiler, Zhang, LeCun and Fergus, 2013, "Regularization of neural networks
      using DropConnect", ICML.
    """
    check_scaling(scaling)
    drop = functools.partial(dropout, scaling=scaling, deterministic=deterministic)

    def mask_leaf(key: KeyLike, leaf: Leaf) -> Any:
        return drop(key, leaf.value, leaf.rate)

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
    deterministic: bool = False,
) -> PyTree:
    """The masks that `dropconnect` draws for these parameters: True is kept.

    Args:
      key: a PRNG key, typed or raw. None where nothing is drawn.
      params: any pytree of arrays, or of their `jax.ShapeDtypeStruct`s.
      rate: the probability of dropping a weight, one or a tree prefix of `params`.
      where: selects leaves by path and leaf, as in `dropconnect`.
      deterministic: if True, the masks are all True.

    Returns:
      A tree of the same structure with a boolean array of each leaf's shape, all True
      for leaves that are not selected.

    Raises:
      ValueError: as `dropconnect`.
      TypeError: as `dropconnect`.

    Example:
      >>> params = {"kernel": jnp.ones((100, 100)), "bias": jnp.ones(100)}
      >>> mask = dropconnect_mask(jax.random.key(0), params, 0.5)
      >>> assert abs(mask["kernel"].mean() - 0.5) < 0.03
      >>> assert mask["bias"].all()
    """

    def draw(key: KeyLike, leaf: Leaf) -> Any:
        shape = leaf.value.shape
        return dropout_mask(key, shape, leaf.rate, deterministic=deterministic)

    def whole(leaf: Any) -> Any:
        return jnp.ones(np.shape(leaf), bool)

    return map_selected(draw, whole, key, params, rate, where, deterministic)
