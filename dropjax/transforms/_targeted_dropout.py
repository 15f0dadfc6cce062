"""Targeted dropout: drops the smallest weights, so that they can be pruned later."""

from typing import Any, Literal

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Inexact, Key

from dropjax._apply import apply_mask, nan_seen, redrawn, widened, working_dtype
from dropjax._checks import check_array, check_choice, check_target
from dropjax._masks import draw_mask, keep_probability, prepare
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
    r"""Randomly drops small weights, so that the network learns to do without them.

    $$W'_{io} = \begin{cases} 0 & (i, o) \in T \text{ and } m_{io} = 0 \\
      W_{io} & \text{otherwise} \end{cases}, \qquad
      m_{io} \sim \text{Bernoulli}(1 - rate)$$

    The last axis of a kernel, o, indexes its units. With `by="weights"`, T contains the
    share `target` of the weights of each unit, those with the smallest absolute values,
    and each has its own mask value. With `by="units"`, T contains that share of the
    units, those whose weights have the smallest norm, and all weights of a unit share
    one mask value. The number of targets is rounded to the nearest integer; of several
    equal values at the border, none is targeted.

    Nothing is scaled, since the targets are meant to be pruned after training. A rate
    of 1 does that without a key: `targeted_dropout(None, params, 1.0, target=0.9)`. The
    paper calls target and rate gamma and alpha, and increases both during training;
    they may be traced. On average, the share `rate * target` of all weights is dropped.

    Kernels stacked by `nn.scan` or `nn.vmap`, of shape (layers, features_in,
    features_out), are ranked across the layers, just as those of a convolution are
    ranked across its window. To rank them layer by layer, use `jax.vmap` over the stack
    with one key per layer:

        drop = lambda key, kernel: targeted_dropout(key, kernel, 0.5)
        kernels = jax.vmap(drop)(jax.random.split(key, layers), kernels)

    Leaves are selected and keys derived as in `dropconnect`.

    Args:
      key: a typed or raw PRNG key. It may be None if nothing is drawn.
      params: any pytree of arrays, which may have None leaves.
      rate: the probability of dropping a target, in [0, 1]; or a tree prefix of
        `params` with such rates, as in `dropconnect`.
      target: the share of weights or units to target, in [0, 1].
      by: "weights" or "units".
      where: a function of the path of a leaf, such as "layer/kernel", and the leaf,
        which returns True for the leaves to drop from. It replaces the default
        selection.
      deterministic: if True, nothing is dropped.

    Returns:
      A tree of the same structure; `params` itself if there is nothing to do.

    Raises:
      ValueError: target is outside [0, 1], `by` is unknown; otherwise as for
        `dropconnect`.
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
    check_choice(by, "by")

    def drop_leaf(key: KeyLike, leaf: Leaf) -> Any:
        x = check_array(leaf.value)
        mask_shape, dtype = _mask_shape(x.shape, by), working_dtype(x)
        draw = prepare(key, leaf.rate, mask_shape, dtype, deterministic=deterministic)
        if draw.certain:
            return x
        share = 1 - keep_probability(target, dtype)
        return _drop_targets(draw.key, x, draw.keep, share, by=by)

    dropped = map_selected(
        drop_leaf, lambda leaf: leaf, key, params, rate, where, deterministic
    )
    return unless_same(dropped, params)


def _mask_shape(shape: tuple[int, ...], by: str) -> tuple[int, ...]:
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
        spared |= draw_mask(key, keep, spared.shape)
    return apply_mask(x, spared, keep=nan_seen(nan_seen(1.0, keep), target))


def _targets(
    x: Inexact[Array, "*shape"], target: Float[Array, ""], by: str
) -> Bool[Array, "..."]:
    """Where the magnitudes are smaller than those of enough others in their group."""
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
