"""Attention by blocks of queries and keys, in memory linear in their number.

A block of logits is computed, used and forgotten. The softmax of a query is accumulated
over the blocks of its keys, with a running maximum. Mask entries depend only on the key
and on their index, so that each block draws its window of the mask, and draws it again
for the derivatives. These need only the inputs, the output, and two numbers for each
query: its highest logit, and the logarithm of the sum that normalizes its weights. The
sum of the two would be one number, but an imprecise one where logits are huge, such as
those of a query that is masked by a bias of -1e9.

References:
  Milakov and Gimelshein, 2018, "Online normalizer calculation for softmax". Dao, Fu,
  Ermon, Rudra and Re, 2022, "FlashAttention: fast and memory-efficient exact attention
  with IO-awareness", NeurIPS.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_derivatives import SymbolicZero
from jaxtyping import Array, Float, UInt32

from dropjax._apply import apply_mask, nan_where, working_dtype
from dropjax._loops import zeros_beside
from dropjax._masks import draw_window
from dropjax.functional.sequences._attention_logits import (
    Arrays,
    Form,
    blind_queries,
    join_heads,
    logits_of,
    merge,
    product,
    scaled_products,
    seen_keys,
    split_heads,
    unmerge,
)

Sizes = tuple[int, int]
"""How many queries and how many keys a block has."""

# The axes along which arrays are cut into blocks of queries and of keys. Those with one
# entry there are used whole.
_QUERIES = {"query": -2, "output": -2, "highest": -1, "log_total": -1, "bias": -2}
_QUERIES |= {"mask": -2, "keep": -2, "query_dot": -2, "bias_dot": -2}
_QUERIES |= {"highest_before": -1, "blind": -2, "some_blind": -1}
_KEYS = {"key": -2, "value": -2, "bias": -1, "mask": -1, "keep": -1}
_KEYS |= {"key_dot": -1, "value_dot": -1, "bias_dot": -1}
_AXES = {"first_query": _QUERIES, "first_key": _KEYS}
# What the last block is padded with, if not zeros. The weights of queries that do not
# exist are zeros, whatever the bias that they share with others.
_PADDING = {"highest": jnp.inf}


class Attended(NamedTuple):
    """The output, and what normalized each query's weights, with grouped heads."""

    output: Float[Array, "*batch queries heads width"]
    highest: Float[Array, "*batch kv_heads group queries"]
    log_total: Float[Array, "*batch kv_heads group queries"]


class _Block(NamedTuple):
    """A block of attention weights: where it is, and how they are computed."""

    form: Form
    sizes: Sizes
    words: UInt32[Array, "words"] | None
    row: Array
    column: Array

    def is_needed(self, arrays: Arrays) -> Any:
        """Whether a query attends to a key here; True if that is not known.

        A query that attends to no key at all gets the mean of all values. Blocks are
        needed for such blind queries too.
        """
        last_row, last_column = (
            first + size - 1
            for first, size in zip((self.row, self.column), self.sizes, strict=True)
        )
        needed = []
        if self.form.is_causal:
            needed.append(last_row >= self.column)
        if self.form.window is not None:
            before, after = self.form.window
            needed.append(self.row <= last_column + before)
            needed.append(last_row >= self.column - after)
        if not needed:
            return True
        every = functools.reduce(jnp.logical_and, needed)
        return every | arrays["some_blind"] if "some_blind" in arrays else every

    def logits(self, arrays: Arrays) -> tuple[Array, Array | None]:
        """The logits, and where queries attend to keys, or None if everywhere."""
        form, (rows, columns) = self.form, self.sizes
        row = self.row + jnp.arange(rows, dtype=jnp.int32)
        column = self.column + jnp.arange(columns, dtype=jnp.int32)
        seen = seen_keys(form, row, column, arrays)
        products = scaled_products(form, arrays["query"], arrays["key"])
        logits = unmerge(products, form.shape[-3])
        logits = logits_of(logits, arrays.get("bias"), seen, arrays.get("blind"))
        if form.shape[-1] % columns:
            end = form.shape[-1] + arrays.get("first_key", 0)
            real = lax.broadcast_in_dim(column < end, logits.shape, (logits.ndim - 1,))
            logits = jnp.where(real, logits, jnp.full_like(logits, -jnp.inf))
        return logits, seen

    def weights(self, arrays: Arrays, exponents: Array) -> tuple[Array, Array]:
        """The weights that are normalized, and those that weigh the values."""
        weights = jnp.exp(exponents)
        if self.words is None:
            return weights, weights
        shape, keep = self.form.mask_shape, arrays["keep"]
        sizes = (*shape[:-2], *self.sizes)
        start: tuple[int | Array, ...] = (0,) * len(shape[:-2])
        start = (*start, self.row, self.column)
        mask = draw_window(self.words, keep, shape, start, sizes)
        if self.form.renormalize:
            kept = nan_where(keep, apply_mask(weights, mask))
            return kept, kept
        return weights, apply_mask(weights, mask, keep=keep)


@functools.partial(jax.jit, static_argnames=("form", "sizes"))
def attend_by_blocks(
    words: UInt32[Array, "words"] | None,
    arrays: Arrays,
    *,
    form: Form,
    sizes: tuple[Sizes, Sizes],
) -> Attended:
    """Attention with blocks of the first sizes on CPUs, and of the second elsewhere.

    Args:
      words: the data of the PRNG key; None if nothing is drawn.
      arrays: "query", "key" and "value"; if they are needed, "bias", "mask", "keep" and
        "lengths", which broadcast to the logits with grouped heads. Part of a longer
        sequence has "first_query" and "first_key", the positions of its first ones.
      form: what is known of the attention.
      sizes: how many queries and how many keys a block has.
    """
    arrays = with_blind(form, arrays)
    return with_derivatives(*attention_in_blocks(form, sizes))(words, arrays)


def with_blind(form: Form, arrays: Arrays) -> Arrays:
    """Adds which queries attend to no key, if there may be such.

    If blocks may be skipped, "some_blind" tells for which queries this is so in any
    example and head. It is found here, since on a mesh it is a sum over devices, which
    loops over blocks would compute each time.
    """
    blind = blind_queries(form, arrays)
    if blind is None:
        return arrays
    arrays = {**arrays, "blind": blind}
    if form.is_causal or form.window is not None:
        arrays["some_blind"] = blind.any((*range(blind.ndim - 2), blind.ndim - 1))
    return arrays


def attention_in_blocks(
    form: Form, sizes: tuple[Sizes, Sizes]
) -> tuple[Callable[..., Attended], Callable[..., Attended]]:
    """Functions of (words, arrays) and (words, arrays, moving): see `with_derivatives`.

    The first may also be given "highest_before", the highest logits among other keys.
    Those that it returns are at least these.
    """
    return (
        _on_each_platform(_attend, form, sizes),
        _on_each_platform(_push, form, sizes),
    )


def with_derivatives(
    attend: Callable[..., Attended], push: Callable[..., Attended]
) -> Callable[..., Attended]:
    """The first function, with the second as its derivative.

    This is given the arrays and what the first returned for them, and the derivatives
    of some of them, in which it is linear.
    """
    attend = jax.custom_jvp(attend)

    @functools.partial(attend.defjvp, symbolic_zeros=True)
    def derivative(primals: tuple[Any, Any], tangents: tuple[Any, Any]) -> Any:
        words, arrays = primals
        attended = attend(words, arrays)
        moving = {
            f"{name}_dot": tangent
            for name, tangent in tangents[1].items()
            if name in ("query", "key", "value", "bias")
            and not isinstance(tangent, SymbolicZero)
        }
        if not moving:
            return attended, jax.tree.map(jnp.zeros_like, attended)
        again = jax.checkpoint(push, prevent_cse=False)
        return attended, again(words, {**arrays, **attended._asdict()}, moving)

    return attend


def _on_each_platform(
    function: Callable[..., Any], form: Form, sizes: tuple[Sizes, Sizes]
) -> Callable[..., Any]:
    cpu, other = (functools.partial(function, form, each) for each in sizes)
    if sizes[0] == sizes[1]:
        return cpu
    return functools.partial(lax.platform_dependent, cpu=cpu, default=other)


def _attend(form: Form, sizes: Sizes, words: Array | None, arrays: Arrays) -> Attended:
    wide, dtype = working_dtype(arrays["query"]), arrays["query"].dtype
    width = arrays["value"].shape[-1]
    arrays = _split(form, arrays)
    least = jnp.finfo(wide).min

    def rows(_: None, row: Array, arrays: Arrays) -> tuple[None, Any]:
        arrays = {**arrays, "query": merge(arrays["query"])}

        def columns(sums: Any, column: Array, arrays: Arrays) -> tuple[Any, None]:
            block = _Block(form, sizes, words, row, column)

            def add(highest: Array, total: Array, weighted: Array) -> Any:
                logits, _ = block.logits(arrays)
                higher = jnp.maximum(highest, logits.max(-1))
                shrink = jnp.exp(highest - higher)
                weights, kept = block.weights(arrays, logits - higher[..., None])
                values = product(
                    form,
                    "...qs,...sw->...qw",
                    merge(kept),
                    arrays["value"],
                    dtype,
                    sums=wide,
                )
                values = unmerge(values, form.shape[-3])
                total = total * shrink + weights.sum(-1)
                return higher, total, weighted * shrink[..., None] + values

            return _run_if(block.is_needed(arrays), add, sums), None

        zeros = _zeros(form, sizes, words, arrays)
        sums = arrays.get("highest_before", zeros + least), zeros, _spread(zeros, width)
        sums, _ = _over("first_key", sizes[1], form.shape[-1], columns, sums, arrays)
        highest, total, weighted = sums
        if form.renormalize or "first_key" in arrays:
            total = jnp.where(total == 0, jnp.full_like(total, jnp.inf), total)
        output = (weighted / total[..., None]).astype(arrays["value"].dtype)
        return None, (output, highest, jnp.log(total))

    _, y = _over("first_query", sizes[0], form.shape[-2], rows, None, arrays)
    return _whole(form, *y)


def _push(
    form: Form,
    sizes: Sizes,
    words: Array | None,
    arrays: Arrays,
    moving: Arrays,
) -> Attended:
    """The derivative of both outputs; linear in the arrays that move.

    Its transpose, which JAX derives, is the backward pass: no block is stored, and sums
    over blocks are in float32 or better.
    """
    wide, dtype = working_dtype(arrays["query"]), arrays["query"].dtype
    width = arrays["value"].shape[-1]
    words = None if words is None else lax.optimization_barrier(words)
    moves_logits = bool(moving.keys() - {"value_dot"})
    arrays = {**_split(form, arrays), **_split_moving(form, moving, wide)}

    @functools.partial(jax.checkpoint, prevent_cse=False)
    def rows(_: None, row: Array, arrays: Arrays) -> tuple[None, Any]:
        arrays = {
            name: merge(x) if name in ("query", "query_dot") else x
            for name, x in arrays.items()
        }
        # On CPUs, products of this form are the fastest in the transpose.
        arrays["across"] = jnp.swapaxes(arrays["query"], -1, -2)

        @functools.partial(jax.checkpoint, prevent_cse=False)
        def columns(sums: Any, column: Array, arrays: Arrays) -> tuple[Any, None]:
            block = _Block(form, sizes, words, row, column)

            def add(along: Array, total: Array, across: Array) -> Any:
                logits, seen = block.logits(arrays)
                exponents = logits - arrays["highest"][..., None]
                exponents = exponents - arrays["log_total"][..., None]
                weights, kept = block.weights(arrays, exponents)
                # Otherwise the compiler draws the mask once for each use.
                kept = lax.optimization_barrier(kept)
                multiply = functools.partial(product, form, dtype=dtype)
                if moves_logits:
                    moved = _pushed_logits(form, arrays, logits, seen)
                    total = total + (weights * moved).sum(-1)
                    along = along + multiply(
                        "...qs,...sw->...qw", merge(kept * moved), arrays["value"]
                    )
                if "value_dot" in arrays:
                    across = across + multiply(
                        "...qs,...ws->...wq", merge(kept), arrays["value_dot"]
                    )
                return along, total, across

            # Otherwise a block's backward pass stores which keys are seen.
            add = jax.checkpoint(add, prevent_cse=False)
            return _run_if(block.is_needed(arrays), add, sums), None

        zeros = _zeros(form, sizes, words, arrays)
        along = merge(_spread(zeros, width))
        sums = along, zeros, jnp.swapaxes(along, -1, -2)
        sums, _ = _over("first_key", sizes[1], form.shape[-1], columns, sums, arrays)
        along, total, across = sums
        along = unmerge(along + jnp.swapaxes(across, -1, -2), form.shape[-3])
        output = arrays["output"].astype(wide)
        output = (along - output * total[..., None]).astype(dtype)
        return None, (output, jnp.zeros_like(total), total)

    _, y = _over("first_query", sizes[0], form.shape[-2], rows, None, arrays)
    return _whole(form, *y)


def _whole(form: Form, output: Array, highest: Array, log_total: Array) -> Attended:
    """Joins the blocks of queries."""
    queries = form.shape[-2]
    output = join_heads(_joined(output, -2, queries))
    each = (_joined(x, -1, queries) for x in (highest, log_total))
    return Attended(output, *each)


def _pushed_logits(
    form: Form, arrays: Arrays, logits: Array, seen: Array | None
) -> Array:
    """The derivative of a block of logits."""
    dtype = arrays["query"].dtype
    moved = jnp.zeros_like(merge(logits))
    for pair, subscripts in (
        (("query_dot", "key"), "...qd,...sd->...qs"),
        (("across", "key_dot"), "...dq,...ds->...qs"),
    ):
        if pair[0] in arrays and pair[1] in arrays:
            moved = moved + product(
                form, subscripts, arrays[pair[0]], arrays[pair[1]], dtype
            )
    moved = unmerge(moved, form.shape[-3]) * jnp.asarray(form.scale, logits.dtype)
    if "bias_dot" in arrays:
        moved = moved + jnp.broadcast_to(arrays["bias_dot"], logits.shape)
    if seen is None:
        return moved
    seen = jnp.broadcast_to(seen, logits.shape)
    return jnp.where(seen, moved, jnp.zeros_like(moved))


def _split(form: Form, arrays: Arrays) -> dict[str, Array]:
    """Puts heads before queries and keys; the other arrays are like the logits."""
    queries = functools.partial(split_heads, kv_heads=form.shape[-4])
    splits: dict[str, Callable[[Array], Array]] = {"query": queries, "output": queries}
    for name in ("key", "value"):
        splits[name] = lambda x: jnp.swapaxes(x, -2, -3)
    return {
        name: splits[name](x) if name in splits else x for name, x in arrays.items()
    }


def _split_moving(form: Form, moving: Arrays, dtype: Any) -> dict[str, Array]:
    """The same for derivatives, in the dtype of their sums over blocks."""
    wide = {name.removesuffix("_dot"): x.astype(dtype) for name, x in moving.items()}
    split = {f"{name}_dot": x for name, x in _split(form, wide).items()}
    across = {name for name in split if name in ("key_dot", "value_dot")}
    return {n: jnp.swapaxes(x, -1, -2) if n in across else x for n, x in split.items()}


def _zeros(
    form: Form, sizes: Sizes, words: Array | None, arrays: Arrays
) -> Float[Array, "*batch kv_heads group queries"]:
    """A zero for each query of a block."""
    zeros = jnp.zeros((*form.shape[:-2], sizes[0]), working_dtype(arrays["query"]))
    return zeros_beside(zeros, *jax.tree.leaves((words, arrays)))


def _spread(x: Array, width: int) -> Array:
    return jnp.broadcast_to(x[..., None], (*x.shape, width))


def _run_if(needed: Any, run: Callable[..., Any], sums: Any) -> Any:
    if needed is True:
        return run(*sums)
    return lax.cond(needed, run, lambda *sums: sums, *sums)


def _over(
    first: str,
    size: int,
    length: int,
    step: Callable[[Any, Array, Arrays], tuple[Any, Any]],
    start: Any,
    arrays: Arrays,
) -> tuple[Any, Any]:
    """Scans over blocks; the step gets the first position and the arrays cut to it.

    The array `first`, if there is one, is the first position of all.
    """
    count = -(-length // size)
    cut = {
        name: _cut(arrays[name], axis, count, size, _PADDING.get(name, 0))
        for name, axis in _AXES[first].items()
        if name in arrays and arrays[name].shape[axis] == length
    }
    if "some_blind" in cut:
        cut["some_blind"] = cut["some_blind"].any(-1)

    def turn(carry: Any, turn: tuple[Array, Arrays]) -> tuple[Any, Any]:
        position, blocks = turn
        return step(carry, position, {**arrays, **blocks})

    # Positions that the step computed would be stored by a loop of their own.
    positions = arrays.get(first, 0) + jnp.arange(count, dtype=jnp.int32) * size
    return lax.scan(turn, start, (positions, cut))


def _cut(x: Array, axis: int, count: int, size: int, padding: float) -> Array:
    """Cuts an axis into blocks along a new first axis, and pads the last block."""
    axis += x.ndim
    missing = count * size - x.shape[axis]
    if missing:
        sides = [(0, missing if n == axis else 0) for n in range(x.ndim)]
        x = jnp.pad(x, sides, constant_values=padding)
    x = x.reshape(*x.shape[:axis], count, size, *x.shape[axis + 1 :])
    return jnp.moveaxis(x, axis, 0)


def _joined(x: Array, axis: int, length: int) -> Array:
    """The reverse of `_cut`."""
    axis += x.ndim
    x = lax.collapse(jnp.moveaxis(x, 0, axis - 1), axis - 1, axis + 1)
    return lax.slice_in_dim(x, 0, length, axis=axis - 1)
