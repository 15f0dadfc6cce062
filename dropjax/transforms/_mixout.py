"""Mixout: resets weights to their pretrained values."""

import functools
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Inexact, Key

from dropjax._apply import nan_where, redrawn, working_dtype
from dropjax._checks import check_array, check_pretrained, check_scaling
from dropjax._masks import draw_mask, prepare
from dropjax._types import KeyLike, PyTree, RateLike, Scaling, Tree
from dropjax.transforms._paths import named
from dropjax.transforms._trees import Leaf, Where, map_selected, unless_same


def mixout(
    key: KeyLike,
    params: Tree,
    pretrained: PyTree,
    rate: RateLike | PyTree,
    *,
    where: Where | None = None,
    scaling: Scaling = "inverted",
    deterministic: bool = False,
) -> Tree:
    r"""Randomly resets weights to their pretrained values, for fine-tuning.

    $$w' = u + \frac{m}{1 - rate} (w - u), \qquad m \sim \text{Bernoulli}(1 - rate)$$

    with `scaling="inverted"`, where w are the weights and u the pretrained ones.
    Dropped weights are set to u, and the mean over masks is exactly w; this is the
    paper's $(m w + (1 - m) u - rate \, u) / (1 - rate)$. `scaling="standard"` is the
    plain mixture: m w + (1 - m) u in training, and its mean, (1 - rate) w + rate u,
    with `deterministic=True`. Where u is 0, mixout equals `dropconnect` bit for bit.

    Leaves are selected and keys derived as in `dropconnect`: the masks are those of
    `dropconnect_mask`.

    Args:
      key: a typed or raw PRNG key. It may be None if nothing is drawn.
      params: any pytree of arrays, which may have None leaves.
      pretrained: a tree with an array of the same shape and dtype under the path of
        each selected leaf. Its containers may differ, and it may have additional
        leaves.
      rate: the probability of resetting a weight, in [0, 1]; or a tree prefix of
        `params` with such rates, as in `dropconnect`.
      where: a function of the path of a leaf, such as "layer/kernel", and the leaf,
        which returns True for the leaves to mix. It replaces the default selection.
        Exclude new layers, such as a head, for which there are no pretrained weights.
      scaling: "inverted" or "standard".
      deterministic: if True, nothing is drawn.

    Returns:
      A tree of the same structure; `params` itself if there is nothing to do.

    Raises:
      ValueError: a selected leaf is not in `pretrained` or has a different shape or
        dtype there; otherwise as for `dropconnect`.
      TypeError: a pretrained leaf is not an array; otherwise as for `dropconnect`.

    Example:
      >>> params, old = {"kernel": jnp.ones((9, 9))}, {"kernel": jnp.zeros((9, 9))}
      >>> mixed = mixout(jax.random.key(0), params, old, 0.5)
      >>> assert set(np.unique(mixed["kernel"])) == {0.0, 2.0}
      >>> assert mixout(None, params, old, 0.5, deterministic=True) is params

    References:
      Lee, Cho and Kang, 2020, "Mixout: effective regularization to finetune
      large-scale pretrained language models", ICLR.
    """
    check_scaling(scaling)
    known = dict(named(pretrained))
    mix = functools.partial(_mix, scaling=scaling, deterministic=deterministic)

    def mix_leaf(key: KeyLike, leaf: Leaf) -> Any:
        value = check_array(leaf.value)
        back = check_pretrained(known, leaf.path, value)
        return mix(key, value, back, leaf.rate)

    mixed = map_selected(
        mix_leaf, lambda leaf: leaf, key, params, rate, where, deterministic
    )
    return unless_same(mixed, params)


def _mix(
    key: KeyLike,
    w: Inexact[Array, "*shape"],
    u: Inexact[Array, "*shape"],
    rate: RateLike,
    *,
    scaling: Scaling,
    deterministic: bool,
) -> Inexact[Array, "*shape"]:
    key, keep, certain = prepare(
        key,
        rate,
        w.shape,
        working_dtype(w),
        deterministic=deterministic,
        averages=scaling == "standard",
    )
    if certain is not None:
        return w if certain else u
    if key is None:
        return _average(None, w, u, keep)
    return _draw_and_mix(key, w, u, keep, scaling=scaling)


@redrawn("scaling")
def _draw_and_mix(
    key: Key[Array, ""],
    w: Inexact[Array, "*shape"],
    u: Inexact[Array, "*shape"],
    keep: Float[Array, "..."],
    *,
    scaling: Scaling,
) -> Inexact[Array, "*shape"]:
    mask = draw_mask(key, keep, w.shape)
    if scaling == "standard":
        return nan_where(keep, lax.select(mask, w, u))
    gain = 1 / jnp.where(keep == 0, jnp.ones_like(keep), keep)
    return lax.select(mask, _between(u, w, gain), u)


@redrawn()
def _average(
    key: None,
    w: Inexact[Array, "*shape"],
    u: Inexact[Array, "*shape"],
    keep: Float[Array, "..."],
) -> Inexact[Array, "*shape"]:
    return _between(u, w, keep)


def _between(
    u: Inexact[Array, "*shape"], w: Inexact[Array, "*shape"], share: Float[Array, "..."]
) -> Inexact[Array, "*shape"]:
    """`u + share * (w - u)` in float32 or better, rounded once; exact at 0 and 1."""
    wide = np.promote_types(share.dtype, w.dtype)
    low, high = u.astype(wide), w.astype(wide)
    share = lax.broadcast_to_rank(share, w.ndim).astype(wide)
    mixed = jnp.where(share == 1, high, low + share * (high - low))
    return jnp.where(share == 0, low, mixed).astype(w.dtype)
