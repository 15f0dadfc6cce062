"""Drop path, or stochastic depth: drops a residual branch per example."""

import math
from collections.abc import Sequence
from typing import cast

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool

from dropjax._apply import apply_drawn, drop, working_dtype
from dropjax._checks import (
    check_array,
    check_axis,
    check_choice,
    check_deterministic,
    check_examples,
    check_path_scaling,
    check_rate,
    check_rate_shape,
    check_shape,
    check_tree,
)
from dropjax._masks import is_drawn, keep_mask, keep_probability, mask_shape_along
from dropjax._types import (
    DropPathMode,
    DropPathScaling,
    KeyLike,
    RateLike,
    Scaling,
    Tree,
)


def drop_path(
    key: KeyLike,
    x: Tree,
    rate: RateLike,
    *,
    mode: DropPathMode = "row",
    batch_axis: int = 0,
    scaling: DropPathScaling = "inverted",
    deterministic: bool = False,
) -> Tree:
    r"""Drops a residual branch, for each example or for the whole batch.

    $$y_n = \frac{m_n}{1 - rate} x_n, \qquad m_n \sim \text{Bernoulli}(1 - rate)$$

    in example n, with one m for all examples if `mode="batch"`. Apply it between a
    branch and the sum, as in `x + drop_path(key, branch(x), rate)`. The paper and
    torchvision call it stochastic depth; timm calls it DropPath. Despite the name that
    EfficientNet's code uses, it is unrelated to DropConnect. In the paper, rates grow
    linearly with depth, as `rate * l / L` in layer l of L.

    With `scaling="standard"`, as in the paper, kept branches are not scaled, and with
    `deterministic=True` the branch is multiplied by its survival probability,
    `1 - rate`. With `scaling="none"` neither is scaled. This is timm's
    `scale_by_keep=False`, whose branches are on average weaker in training than in
    inference.

    Args:
      key: a typed or raw PRNG key. It may be None if nothing is drawn.
      x: a floating-point or complex array, the output of a residual branch; or a tree
        of them, all leaves of which share the mask value of an example.
      rate: the probability of dropping, in [0, 1], a number or an array that broadcasts
        to the shape of the mask. For a tree, that shape is (examples,), or () if
        `mode="batch"`.
      mode: "row" for one mask value per example, "batch" for one in all.
      batch_axis: the axis of the examples.
      scaling: "inverted", "standard" or "none".
      deterministic: if True, nothing is dropped.

    Returns:
      Arrays with x's structure, shapes and dtypes; x itself if there is nothing to do.

    Raises:
      ValueError: the mode or scaling is unknown, the axis or the rate is out of range,
        leaves have different numbers of examples, or the key is missing.
      TypeError: x is not floating-point or complex, or an argument has the wrong type.

    Example:
      >>> x = jnp.ones((64, 8, 8, 3))
      >>> y = drop_path(key, x, 0.5)
      >>> assert jnp.array_equal(y, jnp.broadcast_to(y[:, :1, :1, :1], x.shape))
      >>> assert set(np.unique(y)) == {0.0, 2.0}

    References:
      Huang, Sun, Liu, Sedra and Weinberger, 2016, "Deep networks with stochastic
      depth", ECCV.
    """
    check_path_scaling(scaling)
    deterministic = check_deterministic(deterministic)
    # Standard scaling in training and inverted scaling afterwards scale nothing.
    unscaled: Scaling = "inverted" if deterministic else "standard"
    scaled = unscaled if scaling == "none" else scaling
    if not jax.tree_util.all_leaves([x]):
        return _drop_tree(key, x, rate, mode, batch_axis, scaled, deterministic)
    alone = check_array(x)
    mask_shape = _mask_shape(alone.shape, mode, batch_axis)
    y = drop(key, alone, rate, mask_shape, scaling=scaled, deterministic=deterministic)
    return cast(Tree, y)


def _drop_tree(
    key: KeyLike,
    x: Tree,
    rate: RateLike,
    mode: DropPathMode,
    batch_axis: int,
    scaling: Scaling,
    deterministic: bool,
) -> Tree:
    """`drop_path` of a tree: draws one mask, and reshapes it for each leaf."""
    check_tree(x, inexact=True)
    leaves, structure = jax.tree.flatten(x)
    mask_shapes = [_mask_shape(leaf.shape, mode, batch_axis) for leaf in leaves]
    sizes = [math.prod(own) for own in mask_shapes]
    shape = () if mode == "batch" else (check_examples(x, sizes, batch_axis),)
    rate = check_rate(rate)
    check_rate_shape(rate, shape)
    mask = keep_mask(key, shape, rate) if is_drawn(rate, deterministic) else None

    def drop_leaf(leaf: Array, mask_shape: tuple[int, ...]) -> Array:
        own = rate
        if jnp.ndim(rate):
            own = jnp.broadcast_to(rate, shape).reshape(mask_shape)
        if mask is None:
            return drop(
                None,
                leaf,
                own,
                mask_shape,
                scaling=scaling,
                deterministic=deterministic,
            )
        keep = keep_probability(own, working_dtype(leaf))
        return apply_drawn(None, leaf, mask.reshape(mask_shape), keep, scaling=scaling)

    return jax.tree.unflatten(structure, map(drop_leaf, leaves, mask_shapes))


def drop_path_mask(
    key: KeyLike,
    shape: Sequence[int],
    rate: RateLike,
    *,
    mode: DropPathMode = "row",
    batch_axis: int = 0,
    deterministic: bool = False,
) -> Bool[Array, "..."]:
    """The mask that `drop_path` draws for an array of this shape.

    Args:
      key: a typed or raw PRNG key. It may be None if nothing is drawn.
      shape: the shape of the array to be masked.
      rate: the probability of dropping, in [0, 1], a number or an array.
      mode: "row" for one mask value per example, "batch" for one in all.
      batch_axis: the axis of the examples.
      deterministic: if True, the mask is all True.

    Returns:
      A boolean array, True where an example is kept, of size 1 along shared axes.

    Raises:
      ValueError: as for `drop_path`.
      TypeError: as for `drop_path`.

    Example:
      >>> assert drop_path_mask(key, (64, 8, 8, 3), 0.5).shape == (64, 1, 1, 1)
      >>> assert drop_path_mask(key, (64, 3), 0.5, mode="batch").shape == (1, 1)
    """
    mask_shape = _mask_shape(check_shape(shape), mode, batch_axis)
    return keep_mask(key, mask_shape, rate, deterministic=deterministic)


def _mask_shape(
    shape: tuple[int, ...], mode: DropPathMode, batch_axis: int
) -> tuple[int, ...]:
    check_choice(mode, "mode")
    own = check_axis(batch_axis, len(shape), "batch_axis") if mode == "row" else ()
    return mask_shape_along(shape, own)
