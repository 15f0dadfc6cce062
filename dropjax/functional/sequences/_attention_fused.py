"""Attention without dropout by cuDNN, as JAX offers it."""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int32, Num

from dropjax._apply import sharded_like
from dropjax.functional.sequences._attention_logits import Arrays, Form


def attend_in_cudnn(
    arrays: Arrays, form: Form, query_lengths: Int32[Array, "*batch"] | None
) -> Float[Array, "*batch queries heads width"]:
    """Hands over to `jax.nn.dot_product_attention`, which has one batch axis."""
    like = arrays["query"]
    if query_lengths is not None:
        arrays = {**arrays, "query_lengths": query_lengths}

    def attend(arrays: Arrays) -> Array:
        query, key, value = (
            _one_batch_axis(arrays[name]) for name in ("query", "key", "value")
        )
        bias, mask = (_in_full(arrays.get(name), form) for name in ("bias", "mask"))
        is_causal, window = _band(form)
        options: dict[str, Any] = {
            "bias": None if bias is None else bias.astype(query.dtype),
            "mask": mask,
            "scale": form.scale,
            "is_causal": is_causal,
            "query_seq_lengths": _flat(arrays.get("query_lengths")),
            "key_value_seq_lengths": _flat(arrays.get("lengths")),
            "local_window_size": window,
            "implementation": "cudnn",
        }
        y: Array = jax.nn.dot_product_attention(query, key, value, **options)
        return y.reshape(like.shape)

    return sharded_like(like, attend)(arrays)


def _one_batch_axis(x: Num[Array, "..."]) -> Num[Array, "batch rows heads last"]:
    return x.reshape(math.prod(x.shape[:-3]), *x.shape[-3:])


def _flat(lengths: Int32[Array, "..."] | None) -> Int32[Array, " batch"] | None:
    return None if lengths is None else lengths.reshape(-1)


def _in_full(
    x: Num[Array, "..."] | None, form: Form
) -> Num[Array, "batch heads rows keys"] | None:
    """An array that broadcasts to the logits, along all axes but batch and heads.

    CuDNN needs all queries and keys of a bias, to which JAX adds the mask.
    """
    if x is None:
        return None
    x = jnp.broadcast_to(x, (*x.shape[:-2], *form.shape[-2:]))
    x = lax.collapse(x, x.ndim - 4, x.ndim - 2)
    if math.prod(x.shape[:-3]) > 1:
        x = jnp.broadcast_to(x, (*form.shape[:-4], *x.shape[-3:]))
    return _one_batch_axis(x)


def _band(form: Form) -> tuple[bool, tuple[int, int] | None]:
    """Whether the keys after a query are hidden, and the window.

    CuDNN has windows that end at the query, and only together with `is_causal`.
    """
    if form.window is None:
        return form.is_causal, None
    before, after = form.window
    is_causal = form.is_causal or after == 0
    return is_causal, (before, 0 if is_causal else after)
