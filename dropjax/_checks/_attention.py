"""Attention: its arrays, and which queries attend to which keys."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Int

from dropjax._checks._arrays import check_real
from dropjax._checks._rates import check_broadcasts
from dropjax._checks._words import (
    describe,
    is_int,
    is_number,
    is_pair,
    same_dtype,
    shown,
)


def check_attention(query: Any, key: Any, value: Any) -> None:
    """Queries, keys and values whose products exist, of one floating dtype."""
    for name, x in (("query", query), ("key", key), ("value", value)):
        check_real(x, name)
    shapes = query.shape, key.shape, value.shape
    fits = all(len(shape) >= 3 for shape in shapes) and (
        query.shape[:-3] == key.shape[:-3] == value.shape[:-3]
        and key.shape[-3:-1] == value.shape[-3:-1]
        and query.shape[-1] == key.shape[-1]
        and query.shape[-2] % (key.shape[-2] or 1) == 0
        and (key.shape[-2] > 0 or query.shape[-2] == 0)
    )
    if not fits:
        raise ValueError(
            "query must have shape (*batch, queries, heads, depth), key (*batch, keys, "
            "kv_heads, depth) and value (*batch, keys, kv_heads, width), kv_heads a "
            "divisor of heads, got shapes {}, {} and {}".format(*shapes)
        )
    if not (same_dtype(query, key) and same_dtype(key, value)):
        raise TypeError(
            "query, key and value must have one dtype, got "
            f"{query.dtype}, {key.dtype} and {value.dtype}; pass dtype"
        )


def check_attention_bias(bias: Any, shape: tuple[int, ...]) -> Array | None:
    """What is added to the logits: real, and of a shape that broadcasts to theirs."""
    if bias is None:
        return None
    _check_fits_logits(check_real(bias, "bias"), shape, "bias")
    return bias


def check_attention_mask(
    mask: Any, shape: tuple[int, ...]
) -> Bool[Array, "..."] | None:
    """True, or a number that is not 0, where a query sees a key."""
    if mask is None:
        return None
    known = isinstance(mask, jax.Array | np.ndarray | np.generic | bool | int | float)
    dtype = getattr(mask, "dtype", np.dtype(type(mask))) if known else object
    if not any(jnp.issubdtype(dtype, kind) for kind in (jnp.bool_, jnp.number)):
        raise TypeError(
            "mask must be an array, True where a query sees a key, got "
            f"{describe(mask)}; wrap it in jnp.asarray"
        )
    _check_fits_logits(mask, shape, "mask")
    return jnp.asarray(mask).astype(bool)


def check_lengths(
    lengths: Any, batch: tuple[int, ...], name: str
) -> Int[Array, "*batch"] | None:
    """How many queries or keys each example has."""
    if lengths is None:
        return None
    if not jnp.issubdtype(getattr(lengths, "dtype", object), np.integer):
        out = "convert it with .astype(jnp.int32)"
        out = out if hasattr(lengths, "dtype") else "wrap it in jnp.asarray"
        raise TypeError(
            f"{name} must be an array of integers or None, got {describe(lengths)}; "
            f"{out}"
        )
    if np.shape(lengths) != batch:
        raise ValueError(
            f"{name} must have one length for each example, shape {batch}, got shape "
            f"{np.shape(lengths)}; use jnp.full for a length that all share"
        )
    return jnp.asarray(lengths, jnp.int32)


def check_scale(scale: Any, depth: int) -> float:
    """What products of queries and keys are multiplied by."""
    if scale is None:
        return float(depth**-0.5) if depth else 1.0
    if not is_number(scale) or not math.isfinite(scale):
        raise ValueError(
            f"scale must be a finite number or None, got {shown(scale)}; multiply the "
            "query by a scale that is an array"
        )
    return float(scale)


def check_local_window(window: Any) -> tuple[int, int] | None:
    """How many keys a query sees before and after its place."""
    sides = (window, window) if is_int(window) else window
    if window is None:
        return None
    if not is_pair(sides) or min(sides) < 0:
        raise ValueError(
            "local_window_size must be a non-negative integer, two of them as (before, "
            f"after), or None, got {shown(window)}"
        )
    return int(sides[0]), int(sides[1])


def check_block_size(block_size: Any) -> tuple[int, int] | None:
    """How many queries and keys a block has."""
    sides = (block_size, block_size) if is_int(block_size) else block_size
    if block_size is None:
        return None
    if not is_pair(sides) or min(sides) < 1:
        raise ValueError(
            "block_size must be a positive integer, or a pair (queries, keys) of them, "
            f"or None, got {shown(block_size)}"
        )
    return int(sides[0]), int(sides[1])


def check_implementation(implementation: Any, axis_name: Any, precision: Any) -> None:
    """Whose attention is computed where nothing is dropped."""
    known = implementation is None or (
        isinstance(implementation, str) and implementation in ("xla", "cudnn")
    )
    if not known:
        raise ValueError(
            'implementation must be None, "xla" or "cudnn", got '
            f"{shown(implementation)}; jax.nn.dot_product_attention takes the same"
        )
    for name, value in (("axis_name", axis_name), ("precision", precision)):
        if implementation == "cudnn" and value is not None:
            raise ValueError(
                f'{name} must be None with implementation="cudnn", got {shown(value)}: '
                'cuDNN has no such argument; use implementation="xla"'
            )


def check_shards(axis_name: Any) -> int:
    """The number of shards of the sequence."""
    if axis_name is None:
        return 1
    try:
        return int(lax.axis_size(axis_name))
    except (NameError, TypeError, ValueError):
        raise ValueError(
            "axis_name must be an axis of the mesh of a surrounding jax.shard_map, or "
            f"None, got {shown(axis_name)}; leave it out outside of shard_map, for "
            "example to initialize a layer"
        ) from None


def check_blocks(name: str, value: Any, module: Any, known: bool, key: Any) -> None:
    """Blocks need known sizes, masks that have parts, and no weights to be stored."""
    ways_out = {
        "blocks do not store the weights that module asks for; leave out module, or "
        "sow_weights=True of the flax layer": module is None,
        "in blocks, every axis but the first of the batch must have a known "
        "size": known,
        "the generator of dropout_rng cannot draw a part of a mask; use a key made "
        "with impl=dropjax.fast_prng or 'threefry2x32'": key is None,
    }
    for reason, holds in ways_out.items():
        if not holds:
            raise ValueError(f"{name} must be None here, got {shown(value)}: {reason}")


def _check_fits_logits(x: Any, shape: tuple[int, ...], name: str) -> None:
    wanted = "the shape of the attention weights, (*batch, heads, queries, keys), here"
    check_broadcasts(x, shape, name, wanted, "; use axes of size 1 to share it")
