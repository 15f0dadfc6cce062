"""What dense and blockwise attention share: products, logits and visible keys.

The heads of the queries are grouped by the head of keys and values that they share, so
that logits have the shape (*batch, kv_heads, group, queries, keys).
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Int32, Num

from dropjax._apply import working_dtype
from dropjax._checks import is_symbolic

Arrays = Mapping[str, Array]
"""The inputs by name; those that were not given are missing."""

# How many keys are searched at a time for those that queries attend to.
_SEARCHED = 256


class Form(NamedTuple):
    """What is known of an attention before it runs.

    Attributes:
      shape: the shape of the logits, with grouped heads.
      mask_shape: that of the mask; it has size 1 along axes that share their mask.
      scale: the factor of the logits.
      is_causal: whether a query attends only to keys at or before its position.
      window: how many keys before and after its position a query attends to, or None.
      renormalize: whether the kept weights are rescaled to a sum of 1.
      precision: that of all products.
    """

    shape: tuple[int, ...]
    mask_shape: tuple[int, ...]
    scale: float
    is_causal: bool
    window: tuple[int, int] | None
    renormalize: bool
    precision: lax.PrecisionLike


def split_heads(
    query: Float[Array, "*batch queries heads depth"], kv_heads: int
) -> Float[Array, "*batch kv_heads group queries depth"]:
    """Puts heads before queries, so that queries are transposed and not all weights."""
    return group_heads(jnp.swapaxes(query, -2, -3), kv_heads)


def join_heads(
    y: Float[Array, "*batch kv_heads group queries width"],
) -> Float[Array, "*batch queries heads width"]:
    """The reverse of `split_heads`."""
    return jnp.swapaxes(lax.collapse(y, y.ndim - 4, y.ndim - 2), -2, -3)


def group_heads(x: Num[Array, "..."], kv_heads: int) -> Num[Array, "..."]:
    """Splits the third axis from the end; one of size 1 stays shared by all heads."""
    return x.reshape(group_shape(x.shape, kv_heads))


def group_shape(shape: tuple[int, ...], kv_heads: int) -> tuple[int, ...]:
    heads = shape[-3]
    groups = 1 if heads == 1 else kv_heads
    return (*shape[:-3], groups, heads // (groups or 1), *shape[-2:])


def over_logits(x: Num[Array, "..."], form: Form) -> Num[Array, "..."]:
    """Groups the heads of an array that broadcasts to the logits."""
    rank, kv_heads = len(form.shape) - 1, form.shape[-4]
    return group_heads(lax.broadcast_to_rank(jnp.asarray(x), rank), kv_heads)


def logits_of(
    products: Float[Array, "*batch kv_heads group queries keys"],
    bias: Float[Array, "..."] | None,
    seen: Bool[Array, "..."] | None,
    blind: Bool[Array, "..."] | None,
) -> Float[Array, "*batch kv_heads group queries keys"]:
    """The logits, in float32 or better: scaled products with a bias and a mask.

    Keys that a query does not attend to have no weight, unless it attends to no key at
    all: then all keys have the same.
    """
    logits, wide = products, products.dtype
    if bias is not None:
        logits = logits + jnp.broadcast_to(bias.astype(wide), logits.shape)
    if seen is None:
        return logits
    hidden = jnp.full_like(logits, -jnp.inf)
    if blind is not None:
        least = jnp.full_like(logits, jnp.finfo(wide).min)
        hidden = jnp.where(jnp.broadcast_to(blind, logits.shape), least, hidden)
    return jnp.where(jnp.broadcast_to(seen, logits.shape), logits, hidden)


def scaled_products(form: Form, query: Array, key: Array) -> Array:
    """The products of queries and keys, in float32 or better."""
    wide = working_dtype(query)
    scale = jnp.asarray(form.scale, wide)
    if query.dtype == wide:
        return _compare(query * scale, key, wide, form.precision)
    if form.precision is None:
        return _wide_products(query, key) * scale
    return _compare(query, key, wide, form.precision) * scale


def _compare(
    query: Array, key: Array, dtype: DTypeLike, precision: lax.PrecisionLike = None
) -> Array:
    grouped = query.ndim > key.ndim
    return jnp.einsum(
        "...kgqd,...ksd->...kgqs" if grouped else "...qd,...sd->...qs",
        query,
        key,
        precision=precision,
        preferred_element_type=dtype,
    )


def merge(x: Num[Array, "*batch group queries last"]) -> Num[Array, "*batch rows last"]:
    """Makes one axis of group and queries, for which products are faster on CPUs."""
    return lax.collapse(x, x.ndim - 3, x.ndim - 1)


def unmerge(
    x: Num[Array, "*batch rows last"], group: int
) -> Num[Array, "*batch group queries last"]:
    """The reverse of `merge`."""
    rows = x.shape[-2] // (group or 1)
    return x.reshape(*x.shape[:-2], group, rows, x.shape[-1])


def product(
    form: Form,
    subscripts: str,
    first: Array,
    second: Array,
    dtype: DTypeLike,
    sums: DTypeLike | None = None,
) -> Array:
    """A product of two arrays in this dtype, returned in float32 or better.

    Without a wider dtype for `sums`, derivatives are products in `dtype` too.
    """
    first, second = first.astype(dtype), second.astype(dtype)
    y = jnp.einsum(
        subscripts,
        first,
        second,
        precision=form.precision,
        preferred_element_type=sums,
    )
    return y.astype(working_dtype(first))


@jax.custom_jvp
def _wide_products(query: Array, key: Array) -> Array:
    """Products in float32, whose derivatives are products in the dtype of query.

    JAX's own rule would compute float32 products. A precision that names an algorithm
    would avoid that too, but older GPUs and CPUs do not support some of these
    algorithms.
    """
    return _compare(query, key, working_dtype(query))


@_wide_products.defjvp
def _push_products(
    primals: tuple[Array, Array], tangents: tuple[Array, Array]
) -> tuple[Array, Array]:
    (query, key), (query_dot, key_dot) = primals, tangents
    products = _wide_products(query, key)
    pushed = _compare(query_dot, key, query.dtype)
    pushed = pushed + _compare(query, key_dot, query.dtype)
    return products, pushed.astype(products.dtype)


def seen_keys(
    form: Form,
    rows: Int32[Array, " queries"],
    columns: Int32[Array, " keys"],
    arrays: Arrays,
) -> Bool[Array, "..."] | None:
    """Where these queries attend to these keys; None if to all of them."""
    rank = len(form.shape)
    row = lax.broadcast_to_rank(rows[:, None], rank)
    column = lax.broadcast_to_rank(columns, rank)
    terms = [arrays["mask"]] if "mask" in arrays else []
    if "lengths" in arrays:
        terms.append(column < arrays["lengths"])
    if form.is_causal:
        terms.append(row >= column)
    if form.window is not None:
        before, after = form.window
        terms += [row <= column + before, row >= column - after]
    return _all(terms)


def _all(terms: list[Bool[Array, "..."]]) -> Bool[Array, "..."] | None:
    if not terms:
        return None
    shape = jnp.broadcast_shapes(*(term.shape for term in terms))
    together = jnp.broadcast_to(terms[0], shape)
    for term in terms[1:]:
        together = together & jnp.broadcast_to(term, shape)
    return together


def may_be_blind(form: Form, arrays: Arrays) -> bool:
    """Whether there may be queries that attend to no key at all."""
    if "mask" in arrays or "lengths" in arrays:
        return True
    queries, keys = form.mask_shape[-2:]
    if form.window is None:
        return False
    return is_symbolic(queries - keys) or queries - keys > form.window[0]


def blind_queries(form: Form, arrays: Arrays) -> Bool[Array, "..."] | None:
    """Where queries attend to no key at all; None if they all attend to one.

    The memory of this is linear in the number of queries: keys are searched in parts,
    of which the last may overlap the one before. The arrays are those of these queries,
    from "first_query" on, and of all keys.
    """
    if not may_be_blind(form, arrays):
        return None
    keys = form.mask_shape[-1]
    size = min(keys, _SEARCHED)
    rows = arrays.get("first_query", 0) + jnp.arange(form.shape[-2], dtype=jnp.int32)

    def seen_from(first: Int32[Array, ""]) -> Any:
        part = dict(arrays)
        if "mask" in arrays and arrays["mask"].shape[-1] > 1:
            part["mask"] = lax.dynamic_slice_in_dim(arrays["mask"], first, size, -1)
        columns = first + jnp.arange(size, dtype=jnp.int32)
        return seen_keys(form, rows, columns, part)

    starts = jnp.arange(0, keys, size, dtype=jnp.int32)
    starts = jnp.minimum(starts, keys - size)
    nothing = jnp.zeros_like(jax.eval_shape(seen_from, starts[0]))
    seen, _ = lax.scan(lambda seen, at: (seen | seen_from(at), None), nothing, starts)
    return ~seen.any(-1, keepdims=True)
