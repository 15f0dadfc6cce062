"""LayerDrop: a whole layer is skipped, and so is its work."""

from collections.abc import Callable
from typing import Any, TypeAlias, TypeVar

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool

from dropjax._apply import nan_where
from dropjax._checks import (
    check_deterministic,
    check_function,
    check_layer_output,
    check_rate,
    check_rate_shape,
    check_tree,
)
from dropjax._masks import foregone, keep_mask
from dropjax._types import KeyLike, PyTree, RateLike

X = TypeVar("X")
Y = TypeVar("Y")
Coin: TypeAlias = bool | Bool[Array, ""]


def layer_drop(
    key: KeyLike,
    x: X,
    layer: Callable[[X], Y],
    rate: RateLike,
    *,
    deterministic: bool = False,
) -> Y:
    r"""Runs a layer, or skips it for the whole batch, and with it the time it takes.

    $$y = \begin{cases} layer(x) & m = 1 \\ x & m = 0 \end{cases}, \qquad
      m \sim \text{Bernoulli}(1 - rate)$$

    One coin is tossed. Where the layer is dropped, neither its forward nor its backward
    pass is computed: under `jax.jit` it stands behind a `lax.cond`, and outside of it
    the coin is looked at. Under `jax.vmap` over keys a condition becomes a choice, and
    both sides are computed. Nothing is scaled, since the layer has its skip connection
    inside; for branches without one, with a coin for each example, there is
    `drop_path`.

    A layer may return more than it takes, as a tuple whose first entry is like x: the
    hidden state and the attention weights, say. A skipped layer returns x in the first
    place and zeros in the others, so that a loss among them adds nothing.

    Args:
      key: a typed or raw PRNG key. It may be None if nothing is drawn.
      x: what the layer takes: an array, or a tree of arrays of which at least one is
        floating-point or complex. Integer leaves, such as positions, are handed on.
      layer: a function of x that returns a tree of x's structure, shapes and dtypes, as
        a residual block does, or a tuple with such a tree first. It must be pure. Let
        it close over what else the block needs, such as a mask or a key, as in
        `lambda x: block(x, mask)`.
      rate: the probability of dropping the layer, in [0, 1], one number or scalar
        array. It may be traced. No gradient flows into it.
      deterministic: if True, the layer is always run.

    Returns:
      `layer(x)`; or, in the same structure, x, followed by zeros for anything else that
      the layer returns.

    Raises:
      ValueError: the rate is outside [0, 1] or not one rate, the layer changes the
        structure, a shape or a dtype, or the key is missing.
      TypeError: x has no floating-point or complex array, or an argument has the wrong
        type.

    Example:
      >>> x = jnp.ones((4, 8))
      >>> keys = jax.random.split(jax.random.key(0), 16)
      >>> means = {float(layer_drop(k, x, jnp.exp, 0.5).mean()) for k in keys}
      >>> assert len(means) == 2

    References:
      Fan, Grave and Joulin, 2020, "Reducing transformer depth on demand with structured
      dropout", ICLR.
    """
    check_tree(x)
    check_function(layer, "layer")
    kept = is_kept(key, rate, deterministic)
    return run_or_skip(kept, rate, lambda x: (layer(x), ()), x, ())[0]


def is_kept(key: KeyLike, rate: RateLike, deterministic: bool) -> Coin:
    """Whether the layer is run: a bool where that is certain, or else a coin."""
    rate = check_rate(rate)
    check_rate_shape(rate, ())
    certain = foregone(rate, check_deterministic(deterministic))
    return keep_mask(key, (), rate) if certain is None else certain


def run_or_skip(
    kept: Coin,
    rate: RateLike,
    run: Callable[[X], tuple[Y, PyTree]],
    x: X,
    before: PyTree,
) -> tuple[Y, PyTree]:
    """What a layer makes of x and of its variables, or what is left if it is skipped.

    `run(x)` gives the output and the variables after it, of which `before` are those
    before it. A skipped layer leaves them unchanged, and zeros where it would have made
    new ones.
    """

    def checked(x: X) -> tuple[Y, PyTree]:
        y, after = run(x)
        check_layer_output(x, y)
        return y if kept is True else _unless_nan(rate, y), after

    # A condition would compile its branches anew for every function that it is given.
    traced = isinstance(kept, jax.core.Tracer)
    if not traced and kept:
        return checked(x)
    # Jitted, it is traced once: for its shapes here, and for the condition.
    jitted = jax.jit(checked, inline=True)
    y, after = jax.eval_shape(jitted, x)

    def skip(x: X) -> tuple[Y, PyTree]:
        return _instead_of(x, y), _unchanged(before, after)

    if traced:
        return lax.cond(kept, jitted, skip, x)
    # JAX's arrays, as of a layer that is run; x itself where nothing was tossed.
    return skip(x if kept is False else jax.tree.map(jnp.asarray, x))


def _instead_of(x: Any, y: Any) -> Any:
    """X, and zeros for what y has besides."""
    leaves = jax.tree.leaves(x)
    others = jax.tree.leaves(y)[len(leaves) :]
    zeros = [lax.full_like(other, 0) for other in others]
    return jax.tree.unflatten(jax.tree.structure(y), leaves + zeros)


def _unchanged(before: PyTree, after: PyTree) -> PyTree:
    """The leaves of `after` as they were before, and zeros for those that are new."""
    known = dict(jax.tree_util.tree_leaves_with_path(before))

    def old(path: Any, new: Any) -> Any:
        leaf = known.get(path)
        if leaf is None or jnp.shape(leaf) != new.shape:
            return lax.full_like(new, 0)
        return leaf

    return jax.tree_util.tree_map_with_path(old, after)


def _unless_nan(rate: RateLike, y: Y) -> Y:
    """Y, or NaN where a traced rate is: it would run the layer, and not be seen."""
    if not isinstance(rate, jax.Array):
        return y

    def seen(leaf: Any) -> Any:
        inexact = jnp.issubdtype(jnp.result_type(leaf), jnp.inexact)
        return nan_where(rate, leaf) if inexact else leaf

    return jax.tree.map(seen, y)
