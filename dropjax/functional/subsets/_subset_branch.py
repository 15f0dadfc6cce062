"""Residual branches that are computed only for a subset of examples or tokens."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from jaxtyping import Array, Bool, Int32, Shaped

from dropjax._apply import as_weak_as, scale, working_dtype
from dropjax._checks import (
    check_along,
    check_axes,
    check_count,
    check_deterministic,
    check_function,
    check_groups,
    check_key,
    check_known,
    check_shape,
    check_subset_axis,
    check_subset_output,
    check_subset_rate,
)
from dropjax._masks import mask_shape_along
from dropjax._types import KeyLike, PyTree
from dropjax.functional.subsets._indices import kept_count, kept_indices, smallest

Y = TypeVar("Y")

# What XLA need not check of indices.
_KNOWN: Any = {
    "unique_indices": True,
    "indices_are_sorted": True,
    "mode": "promise_in_bounds",
}


def subset_branch(
    key: KeyLike,
    x: PyTree,
    branch: Callable[..., Y],
    rate: float,
    *,
    axis: int = 0,
    groups: int = 1,
    args: tuple[PyTree, ...] = (),
    deterministic: bool = False,
) -> Y:
    r"""Computes a branch for a random subset of examples or tokens, and 0 for the rest.

    $$y_i = \begin{cases} \frac{n}{k} \, branch(x_S)_i & i \in S \\
      0 & i \notin S \end{cases}, \qquad S \text{ uniform among the subsets of size }
      k = \text{round}((1 - rate) \, n)$$

    for the n indices i along `axis`: examples if it is the first axis, tokens if it is
    that of a sequence. Apply it in place of the branch in a residual block, as in
    `x + subset_branch(key, x, branch, rate)`. With examples this is the form of
    stochastic depth that DINOv2 trains with, and `x + drop_path(key, branch(x), rate)`
    without the computation that is thrown away. With tokens it is random layerwise
    token dropping, in which each layer leaves out other tokens.

    The number kept, k, is the same for every key: it is rounded to the nearest integer
    and is at least 1. Since kept values are scaled by the realized share, the mean over
    keys is exact if the branch treats each example or token on its own. A branch that
    mixes them, such as attention over the kept tokens, sees the subset alone. Nothing
    is drawn if the rate is so small that k = n.

    Along a sharded axis, set `groups` to a multiple of the number of shards. The same
    number of indices is then drawn in each of the equal parts of the axis, every device
    keeps its share of the work, and nothing is communicated. With fewer groups the
    subset is gathered from all devices.

    Args:
      key: a typed or raw PRNG key. It may be None if nothing is drawn.
      x: an array with any dtype, or a tree of arrays of the same size along `axis`.
      branch: a function of x, and of `args`, that returns an array or a tree of arrays.
        It is given the subset, and must keep its size along `axis`; other axes may
        change. To run a whole block on the subset, subtract its input, as in
        `lambda x: block(x) - x`.
      rate: the share to leave out, a Python number in [0, 1). It decides a shape, so it
        cannot be traced: for a rate per layer, loop over the layers in Python.
      axis: the axis along which indices are left out.
      groups: the number of equal parts of the axis, in each of which the same number of
        indices is kept: k is `groups` times the rounded size of a part.
      args: further arguments of the branch, arrays or trees of arrays such as positions
        or padding masks, which are gathered along `axis` at the same indices. A
        negative axis counts from the end of each array.
      deterministic: if True, the branch is computed for everything.

    Returns:
      What the branch returns, with the size of x along `axis`. Floating-point and
      complex arrays are scaled; other arrays, such as integers, are not.

    Raises:
      ValueError: the rate is outside [0, 1), the axis is out of range, sizes along it
        differ, `groups` does not divide it, the branch changes its size, or the key is
        missing.
      TypeError: the rate is an array, or an argument has the wrong type.

    Example:
      >>> x = jnp.ones((8, 16))
      >>> y = x + subset_branch(key, x, lambda x: 3 * x, 0.25)
      >>> assert y[:, 0].tolist().count(5.0) == 6 and y.mean() == 4.0

    References:
      Huang, Sun, Liu, Sedra and Weinberger, 2016, "Deep networks with stochastic
      depth", ECCV. Oquab et al., 2023, "DINOv2: learning robust visual features without
      supervision", arXiv:2304.07193. Yao, Wu, Li, Holmes, Zhang, Li and He, 2022,
      "Random-LTD: random and layerwise token dropping brings efficient training for
      large-scale transformers", arXiv:2211.11586.
    """
    rate, axis = check_subset_rate(rate), check_subset_axis(axis)
    check_function(branch, "branch")
    size = check_along(x, args, axis)
    kept = _kept(size, rate, axis, groups, deterministic)
    if kept == size:
        return check_subset_output(branch(x, *args), size, axis)
    parts = (groups, size // groups)
    indices = smallest(check_key(key), parts, kept // groups)

    def gathered(x: Array) -> Array:
        return _gather(x, indices, axis=axis % x.ndim)

    def scattered(y: Array) -> Array:
        return _scatter(y, indices, axis=axis % y.ndim, size=size)

    y = branch(*jax.tree.map(gathered, (x, *args)))
    return jax.tree.map(scattered, check_subset_output(y, kept, axis))


def subset_branch_mask(
    key: KeyLike,
    shape: Sequence[int],
    rate: float,
    *,
    axis: int = 0,
    groups: int = 1,
    deterministic: bool = False,
) -> Bool[Array, "..."]:
    r"""Draws the mask of `subset_branch`: which examples or tokens it keeps.

    $$m_i = [i \in S], \qquad S \text{ uniform among the subsets of size }
      \text{round}((1 - rate) \, n)$$

    for the n indices i along `axis`. Unlike with `drop_path_mask`, the number of True
    values is the same for every key, so they are not independent.

    Args:
      key: a typed or raw PRNG key. It may be None if nothing is drawn.
      shape: the shape of x.
      rate: the share to leave out, a Python number in [0, 1).
      axis: the axis along which indices are left out.
      groups: the number of equal parts of the axis, in each of which the same number of
        indices is kept.
      deterministic: if True, the mask is all True.

    Returns:
      A boolean array, True where x is kept, with the size of x along `axis` and size 1
      along all other axes.

    Raises:
      ValueError: the rate is outside [0, 1), the axis is out of range, `groups` does
        not divide it, or the key is missing.
      TypeError: the rate is an array, or an argument has the wrong type.

    Example:
      >>> mask = subset_branch_mask(key, (8, 16, 4), 0.25, axis=1)
      >>> assert mask.shape == (1, 16, 1) and mask.sum() == 12

    References:
      Oquab et al., 2023, "DINOv2: learning robust visual features without supervision",
      arXiv:2304.07193.
    """
    rate, shape = check_subset_rate(rate), check_shape(shape)
    (axis,) = check_axes(check_subset_axis(axis), len(shape), "axis")
    size, mask_shape = shape[axis], mask_shape_along(shape, (axis,))
    kept = _kept(size, rate, axis, groups, deterministic)
    if kept == size:
        return jnp.ones(mask_shape, bool)
    indices = kept_indices(check_key(key), size, kept, groups)
    return jnp.zeros(size, bool).at[indices].set(True).reshape(mask_shape)


def _kept(size: int, rate: float, axis: int, groups: int, deterministic: bool) -> int:
    """How many indices are kept, in all groups together."""
    check_count(groups, "groups")
    if check_deterministic(deterministic) or rate == 0:
        return size
    check_groups(groups, check_known(size, "how many are kept"), axis)
    return groups * kept_count(size // groups, rate)


@functools.partial(jax.jit, static_argnames="axis", inline=True)
def _gather(
    x: Shaped[Array, "..."], indices: Int32[Array, "groups kept"], *, axis: int
) -> Shaped[Array, "..."]:
    """The elements of x at the indices, which count from the start of each group."""

    def get(parts: Array, indices: Array) -> Array:
        others, window = _around(axis, parts.ndim)
        sizes = (1 if it in window else n for it, n in enumerate(parts.shape))
        numbers = lax.GatherDimensionNumbers(others, *_numbers(axis))
        return lax.gather(parts, indices[..., None], numbers, tuple(sizes), **_KNOWN)

    return _in_groups(get, x, indices, axis)


@functools.partial(jax.jit, static_argnames=("axis", "size"), inline=True)
def _scatter(
    y: Shaped[Array, "..."],
    indices: Int32[Array, "groups kept"],
    *,
    axis: int,
    size: int,
) -> Shaped[Array, "..."]:
    """The inverse of `_gather`: 0 elsewhere, and scaled by the share that is kept."""

    def put(parts: Array, indices: Array) -> Array:
        others, _ = _around(axis, parts.ndim)
        before, after = parts.shape[: axis + 1], parts.shape[axis + 2 :]
        zeros = jnp.zeros((*before, size // len(indices), *after), parts.dtype)
        numbers = lax.ScatterDimensionNumbers(others, *_numbers(axis))
        return lax.scatter(zeros, indices[..., None], parts, numbers, **_KNOWN)

    # Otherwise the zeros would be kept for the backward pass.
    @functools.partial(jax.checkpoint, prevent_cse=False)
    def scatter(y: Array, indices: Array) -> Array:
        scaled = _scaled(y, size / y.shape[axis])
        return as_weak_as(y, _in_groups(put, scaled, indices, axis))

    return scatter(y, indices)


def _numbers(axis: int) -> tuple[tuple[int, ...], ...]:
    """Of the axis of the groups and of the next, along which the indices count."""
    return (axis + 1,), (axis + 1,), (axis,), (0,)


def _around(axis: int, ndim: int) -> tuple[tuple[int, ...], tuple[int, int]]:
    """All other axes, and these two."""
    window = (axis, axis + 1)
    return tuple(it for it in range(ndim) if it not in window), window


def _scaled(y: Shaped[Array, "..."], factor: float) -> Shaped[Array, "..."]:
    """Floating-point numbers times the factor; others as they are."""
    if not jnp.issubdtype(y.dtype, jnp.inexact):
        return y
    return scale(y, jnp.asarray(factor, working_dtype(y)))


def _in_groups(
    function: Callable[[Array, Array], Array],
    x: Shaped[Array, "..."],
    indices: Int32[Array, "groups kept"],
    axis: int,
) -> Shaped[Array, "..."]:
    """Applies a function of x and the indices, with an axis for the groups in x."""
    groups = len(indices)

    def apply(x: Array, indices: Array) -> Array:
        before, size, after = x.shape[:axis], x.shape[axis], x.shape[axis + 1 :]
        parts = x.reshape(*before, groups, size // groups, *after)
        y = function(parts, indices)
        return y.reshape(*before, groups * y.shape[axis + 1], *after)

    return _sharded(apply, x, axis, groups)(x, indices)


def _sharded(
    function: Callable[..., Array], x: Shaped[Array, "..."], axis: int, groups: int
) -> Callable[..., Array]:
    """Shards the output like x on a mesh with explicit axes.

    Along the axis this needs whole groups on each device; otherwise it is replicated.
    """
    sharding = jax.typeof(x).sharding
    if AxisType.Explicit not in sharding.mesh.axis_types:
        return function
    spec = list(sharding.spec)
    if groups % (x.shape[axis] // sharding.shard_shape(x.shape)[axis]):
        spec[axis] = None
    own = NamedSharding(sharding.mesh, PartitionSpec(*spec))
    return jax.sharding.auto_axes(function, out_sharding=own)
