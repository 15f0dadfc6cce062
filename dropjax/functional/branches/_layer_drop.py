"""LayerDrop: skips a whole layer and its computation."""

from collections.abc import Callable
from typing import Any, TypeAlias, TypeVar

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool

from dropjax._apply import nan_where
from dropjax._checks import (
    check_function,
    check_layer_output,
    check_tree,
)
from dropjax._masks import keep_mask, prepare
from dropjax._types import KeyLike, PyTree, RateLike

X = TypeVar("X")
Y = TypeVar("Y")
Kept: TypeAlias = bool | Bool[Array, ""]


def layer_drop(
    key: KeyLike,
    x: X,
    layer: Callable[[X], Y],
    rate: RateLike,
    *,
    deterministic: bool = False,
) -> Y:
    r"""Runs a layer, or skips it and its computation for the whole batch.

    $$y = \begin{cases} layer(x) & m = 1 \\ x & m = 0 \end{cases}, \qquad
      m \sim \text{Bernoulli}(1 - rate)$$

    A single m is drawn. If the layer is dropped, neither its forward nor its backward
    pass is computed: under `jax.jit` the layer is a branch of a `lax.cond`, and
    otherwise m is inspected. Under `jax.vmap` over keys the condition becomes a select,
    and both sides are computed. Nothing is scaled, since the layer includes its skip
    connection. For branches without one, and with one mask value per example, see
    `drop_path`.

    A layer may return more than it takes, as a tuple whose first entry is like x: for
    example the hidden state and the attention weights. A skipped layer returns x in the
    first place and zeros in the others, so that auxiliary losses among them vanish.

    Args:
      key: a typed or raw PRNG key. It may be None if nothing is drawn.
      x: the input of the layer: an array, or a tree of arrays of which at least one is
        floating-point or complex. Integer leaves, such as positions, are passed
        through.
      layer: a pure function of x that returns a tree with x's structure, shapes and
        dtypes, as a residual block does, or a tuple with such a tree first. Other
        inputs, such as a mask or a key, can be closed over, as in
        `lambda x: block(x, mask)`.
      rate: the probability of dropping the layer, in [0, 1], a number or a scalar
        array. It may be traced. No gradient flows into it.
      deterministic: if True, the layer always runs.

    Returns:
      `layer(x)`; or, in the same structure, x followed by zeros for any other outputs
      of the layer.

    Raises:
      ValueError: the rate is outside [0, 1] or not a scalar, the layer changes the
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


def is_kept(key: KeyLike, rate: RateLike, deterministic: bool) -> Kept:
    """Whether the layer runs: a bool if that is certain, or else a random draw."""
    draw = prepare(key, rate, (), deterministic=deterministic)
    return keep_mask(draw.key, (), rate) if draw.certain is None else draw.certain


def run_or_skip(
    kept: Kept,
    rate: RateLike,
    run: Callable[[X], tuple[Y, PyTree]],
    x: X,
    before: PyTree,
) -> tuple[Y, PyTree]:
    """The output and the variables of a layer that runs, or of one that is skipped.

    `run(x)` returns the output and the variables after the call; `before` are those
    before it. A skipped layer leaves them unchanged, with zeros for those that it would
    have created.
    """

    def checked(x: X) -> tuple[Y, PyTree]:
        y, after = run(x)
        check_layer_output(x, y)
        return y if kept is True else _unless_nan(rate, y), after

    # `lax.cond` would compile its branches again for every new function object.
    traced = isinstance(kept, jax.core.Tracer)
    if not traced and kept:
        return checked(x)
    # Under jit it is traced once: for the shapes here, and for the condition.
    jitted = jax.jit(checked, inline=True)
    y, after = jax.eval_shape(jitted, x)

    def skip(x: X) -> tuple[Y, PyTree]:
        return _instead_of(x, y), _unchanged(before, after)

    if traced:
        return lax.cond(kept, jitted, skip, x)
    # JAX arrays, as from a layer that runs; x itself if nothing was drawn.
    return skip(x if kept is False else jax.tree.map(jnp.asarray, x))


def _instead_of(x: Any, y: Any) -> Any:
    """X, with zeros for the additional outputs of y."""
    leaves = jax.tree.leaves(x)
    others = jax.tree.leaves(y)[len(leaves) :]
    zeros = [lax.full_like(other, 0) for other in others]
    return jax.tree.unflatten(jax.tree.structure(y), leaves + zeros)


def _unchanged(before: PyTree, after: PyTree) -> PyTree:
    """The leaves of `after` with their values in `before`, and zeros for new leaves."""
    known = dict(jax.tree_util.tree_leaves_with_path(before))

    def old(path: Any, new: Any) -> Any:
        leaf = known.get(path)
        if leaf is None or jnp.shape(leaf) != new.shape:
            return lax.full_like(new, 0)
        return leaf

    return jax.tree_util.tree_map_with_path(old, after)


def _unless_nan(rate: RateLike, y: Y) -> Y:
    """Y, or NaN where a traced rate is NaN: it would run the layer and go unnoticed."""
    if not isinstance(rate, jax.Array):
        return y

    def seen(leaf: Any) -> Any:
        inexact = jnp.issubdtype(jnp.result_type(leaf), jnp.inexact)
        return nan_where(rate, leaf) if inexact else leaf

    return jax.tree.map(seen, y)
