"""What works on whole trees of parameters."""

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import GetAttrKey, keystr
from jaxtyping import PyTree

from dropjax._checks import (
    check_key,
    check_leaf,
    check_rate,
    check_scaling,
    check_selected,
    prefix_error,
)
from dropjax._masks import is_drawn
from dropjax._random import leaf_keys
from dropjax._types import KeyLike, RateLike, Scaling
from dropjax.functional import dropout, dropout_mask

Where: TypeAlias = Callable[[str, Any], bool]


def dropconnect(
    key: KeyLike,
    params: PyTree,
    rate: RateLike | PyTree,
    *,
    where: Where | None = None,
    scaling: Scaling = "inverted",
    deterministic: bool = False,
) -> PyTree:
    r"""Drops weights: returns the same tree with its kernels masked.

    $$W' = \frac{M \odot W}{1 - rate}, \qquad M_i \sim \text{Bernoulli}(1 - rate)$$

    for every selected leaf, with `scaling="inverted"`; "standard" scales nothing in
    training and W by `1 - rate` with `deterministic=True`. All examples of a batch see
    one mask. Use it where the model is applied:

        logits = model.apply(dropjax.dropconnect(key, params, 0.5), x)

    Without `where`, the floating-point and complex leaves with two or more axes are
    selected, unless a name in their path says that they are an embedding ("embed"
    anywhere in it), or the last one that they are a bias or a scale, which have a
    second axis in stacked layers. A lone array is always selected.

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

    def mask_leaf(key: KeyLike, leaf: Any, rate: RateLike) -> Any:
        return dropout(key, leaf, rate, scaling=scaling, deterministic=deterministic)

    masked = _map_selected(
        mask_leaf, lambda leaf: leaf, key, params, rate, where, deterministic
    )
    pairs = zip(jax.tree.leaves(masked), jax.tree.leaves(params), strict=True)
    return params if all(new is old for new, old in pairs) else masked


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

    def draw(key: KeyLike, leaf: Any, rate: RateLike) -> Any:
        return dropout_mask(key, leaf.shape, rate, deterministic=deterministic)

    def whole(leaf: Any) -> Any:
        return jnp.ones(np.shape(leaf), bool)

    return _map_selected(draw, whole, key, params, rate, where, deterministic)


def takes_deterministic(module: Callable[..., Any]) -> bool:
    """Whether a wrapped module's call has a `deterministic` to be handed on to it."""
    return "deterministic" in inspect.signature(type(module).__call__).parameters


class _Leaf(NamedTuple):
    path: str
    value: Any
    rate: Any
    selected: bool


def _map_selected(
    draw: Callable[[KeyLike, Any, RateLike], Any],
    spare: Callable[[Any], Any],
    key: KeyLike,
    params: PyTree,
    rate: RateLike | PyTree,
    where: Where | None,
    deterministic: bool,
) -> PyTree:
    """Draws on the selected leaves, each with its own key, and spares the others."""
    leaves = _leaves(params, rate, where)
    check_selected([leaf.path for leaf in leaves if leaf.selected], where)
    tossed = [leaf for leaf in leaves if _is_tossed(leaf, deterministic)]
    paths = [leaf.path for leaf in tossed]
    own = iter(leaf_keys(check_key(key), paths) if tossed else ())
    drawn = [
        draw(next(own) if _is_tossed(leaf, deterministic) else None, *leaf[1:3])
        if leaf.selected
        else spare(leaf.value)
        for leaf in leaves
    ]
    return jax.tree.unflatten(jax.tree.structure(params), drawn)


def _leaves(
    params: PyTree, rate: RateLike | PyTree, where: Where | None
) -> list[_Leaf]:
    located = jax.tree_util.tree_leaves_with_path(params)
    leaves = []
    for (location, value), own in zip(located, _spread(rate, params), strict=True):
        path = _name(location)
        selected = own is not None and _is_selected(path, value, where)
        leaves.append(_Leaf(path, value, own, selected))
    return leaves


def _is_tossed(leaf: _Leaf, deterministic: bool) -> bool:
    return leaf.selected and is_drawn(leaf.rate, deterministic)


def _name(location: tuple[Any, ...]) -> str:
    """A leaf's path in names, without the box in which flax keeps a variable."""
    boxed = len(location) > 1 and location[-1] == GetAttrKey("value")
    names = location[:-1] if boxed else location
    return keystr(names, simple=True, separator="/")


def _spread(rate: RateLike | PyTree, params: PyTree) -> list[RateLike | None]:
    """The rate of each leaf of params, None where nothing is dropped."""
    rates: list[Any] = []

    def spread(rate: Any, part: PyTree) -> None:
        rates.extend([rate] * len(jax.tree.leaves(part)))

    try:
        jax.tree.map(spread, rate, params, is_leaf=lambda node: node is None)
    except ValueError as error:
        raise prefix_error(error) from None
    return [None if rate is None else check_rate(rate) for rate in rates]


def _is_selected(path: str, leaf: Any, where: Where | None) -> bool:
    if where is None:
        return path == "" or _is_kernel(path, leaf)
    if where(path, leaf):
        check_leaf(leaf, path)
        return True
    return False


def _is_kernel(path: str, leaf: Any) -> bool:
    """Floating, two axes or more, and by its name no embedding, bias or scale."""
    dtype = getattr(leaf, "dtype", None)
    if dtype is None or not jnp.issubdtype(dtype, jnp.inexact) or leaf.ndim < 2:
        return False
    named_otherwise = path.rpartition("/")[2] in ("bias", "scale")
    return not named_otherwise and "embed" not in path.lower()
