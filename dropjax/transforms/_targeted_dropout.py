"""Targeted dropout: the smallest weights are dropped, so that the net can be pruned."""

from typing import Any, Literal

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Inexact, Key

from dropjax._apply import apply_mask, nan_seen, redrawn, widened, working_dtype
from dropjax._checks import (
    check_array,
    check_deterministic,
    check_rate_shape,
    check_target,
    check_target_by,
)
from dropjax._masks import foregone, keep_probability, toss
from dropjax._types import KeyLike, PyTree, RateLike, Tree
from dropjax.transforms._trees import Leaf, Where, map_selected, unless_same


def targeted_dropout(
    key: KeyLike,
    params: Tree,
    rate: RateLike | PyTree,
    *,
    target: RateLike = 0.5,
    by: Literal["weights", "units"] = "weights",
    where: Where | None = None,
    deterministic: bool = False,
) -> Tree:
    r"""Drops weights that are small, at random, so that the net learns to miss them.

    $$W'_{io} = \begin{cases} 0 & (i, o) \in T \text{ and } m_{io} = 0 \\
      W_{io} & \text{otherwise} \end{cases}, \qquad
      m_{io} \sim \text{Bernoulli}(1 - rate)$$

    The last axis of a kernel is that of its units, o. With `by="weights"` T has the
    share `target` of each unit's weights, those of the smallest modulus, and each
    tosses its own coin. With `by="units"` T has that share of the units, those whose
    weights have the smallest norm, and all weights of a unit share a coin. Their
    number is rounded to the nearest; among equals at the border none is targeted.

    Nothing is scaled: after training the targets are to be pruned, for which a rate of
    1 needs no key, `targeted_dropout(None, params, 1.0, target=0.9)`. The paper calls
    target and rate gamma and alpha, and ramps both up; they may be traced. Of all
    weights the share `rate * target` is dropped in the mean.

    Kernels that `nn.scan` or `nn.vmap` stacked, (layers, features_in, features_out),
    would be ranked across the layers, as a convolution's are across its window. Rank
    them layer by layer with a `jax.vmap` over the stack and a key for each layer:

        drop = lambda key, kernel: targeted_dropout(key, kernel, 0.5)
        kernels = jax.vmap(drop)(jax.random.split(key, layers), kernels)

    Leaves are selected, and have their keys, as in `dropconnect`.

    Args:
      key: a typed or raw PRNG key. It may be None if nothing is drawn.
      params: any pytree of arrays, None leaves included.
      rate: the probability of dropping a target, in [0, 1]; or a tree prefix of
        `params` of such rates, as in `dropconnect`.
      target: the share of weights or units to target, in [0, 1].
      by: "weights" or "units".
      where: a function of a leaf's path, as "layer/kernel", and the leaf, that is True
        for the leaves to drop from. It replaces the default selection.
      deterministic: if True, nothing is dropped.

    Returns:
      A tree of the same structure; `params` itself if there is nothing to do.

    Raises:
      ValueError: target is outside [0, 1], by is neither, or as for `dropconnect`.
      TypeError: as for `dropconnect`.

    Example:
      >>> kernel = jnp.array([[1.0, -4.0], [-2.0, 3.0], [5.0, 6.0], [7.0, 8.0]])
      >>> pruned = targeted_dropout(None, kernel, 1.0)
      >>> assert pruned.tolist() == [[0, 0], [0, 0], [5, 6], [7, 8]]

    References:
      Gomez, Zhang, Kamalakara, Madaan, Swersky, Gal and Hinton, 2019, "Learning sparse
      networks using targeted dropout".
    """
    target = check_target(target)
    check_target_by(by)

    def drop_leaf(key: KeyLike, leaf: Leaf) -> Any:
        x = check_array(leaf.value)
        check_rate_shape(leaf.rate, _coins(x.shape, by))
        certain = foregone(leaf.rate, check_deterministic(deterministic))
        if certain:
            return x
        keep = keep_probability(leaf.rate, working_dtype(x))
        share = 1 - keep_probability(target, working_dtype(x))
        return _drop_targets(key, x, keep, share, by=by)

    dropped = map_selected(
        drop_leaf, lambda leaf: leaf, key, params, rate, where, deterministic
    )
    return unless_same(dropped, params)


def _coins(shape: tuple[int, ...], by: str) -> tuple[int, ...]:
    return shape if by == "weights" else (1,) * (len(shape) - 1) + shape[-1:]


@redrawn("by")
def _drop_targets(
    key: Key[Array, ""] | None,
    x: Inexact[Array, "*shape"],
    keep: Float[Array, "..."],
    target: Float[Array, ""],
    *,
    by: str,
) -> Inexact[Array, "*shape"]:
    spared = ~_targets(lax.stop_gradient(x), target, by)
    if key is not None:
        spared |= toss(key, keep, spared.shape)
    return apply_mask(x, spared, keep=nan_seen(nan_seen(1.0, keep), target))


def _targets(
    x: Inexact[Array, "*shape"], target: Float[Array, ""], by: str
) -> Bool[Array, "..."]:
    """Where the sizes are smaller than so many others of their group."""
    sizes = jnp.abs(widened(x))
    if by == "units":
        shared = tuple(range(x.ndim - 1))
        sizes = jnp.sqrt((sizes**2).sum(shared, keepdims=True))
    units = x.shape[-1] if by == "weights" and x.ndim > 1 else 1
    groups = sizes.reshape(sizes.size // max(units, 1), units)
    none_larger = jnp.full((1, units), jnp.inf, groups.dtype)
    ordered = jnp.concatenate([jnp.sort(groups, axis=0), none_larger])
    count = jnp.round(jnp.nan_to_num(target) * groups.shape[0]).astype(jnp.int32)
    smaller = groups < jnp.take(ordered, count, axis=0)[None]
    return smaller.reshape(sizes.shape)
