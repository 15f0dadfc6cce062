"""Attention over a sequence that is sharded over the devices of a mesh axis.

Every device keeps its queries. The keys and values pass round the ring of devices, and
each device adds those that it holds to the softmax of its queries, by blocks. Positions
are those of the whole sequence, and so is the mask.

The derivative is a sum over the shards, given the output and what normalizes the
weights of all. Here each step takes a shard's keys from where they are, rather than
from its neighbor: JAX would store the keys of all steps if one depended on the last.

References:
  Liu, Zaharia and Abbeel, 2024, "Ring attention with blockwise transformers for
  near-infinite context", ICLR.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int32, UInt32

from dropjax._apply import working_dtype
from dropjax.functional.sequences._attention_blocks import (
    Attended,
    Sizes,
    attention_in_blocks,
    with_blind,
    with_derivatives,
)
from dropjax.functional.sequences._attention_logits import Arrays, Form, join_heads

# What is sharded by the position of the keys, and what has all of them on each device.
_SENT = ("key", "value", "key_dot", "value_dot")
_WHOLE = ("bias", "mask", "keep", "bias_dot")


@functools.partial(jax.jit, static_argnames=("form", "sizes", "axis_name"))
def attend_in_ring(
    words: UInt32[Array, "words"] | None,
    arrays: Arrays,
    *,
    form: Form,
    sizes: tuple[Sizes, Sizes],
    axis_name: str,
) -> Attended:
    """As `attend_by_blocks`, for this device's part of the queries, keys and values.

    Args:
      words: the data of the PRNG key, which is that of all devices.
      arrays: as there. Those that broadcast to the logits are those of this device's
        queries and of all keys, except for "keep", which is that of all queries.
      form: its shape is that of this device's logits, and its mask_shape that of all.
      sizes: how many queries and how many keys a block has.
      axis_name: the mesh axis.
    """
    shards = lax.axis_size(axis_name)
    attend, push = attention_in_blocks(form, sizes)
    queries, keys = form.shape[-2:]

    def placed(arrays: Arrays, step: Int32[Array, ""]) -> dict[str, Array]:
        """The arrays of the shard of keys that reaches this device in this step."""
        own = lax.axis_index(axis_name)
        first = (own - step) % shards * keys
        cut = {
            name: lax.dynamic_slice_in_dim(arrays[name], first, keys, -1)
            for name in _WHOLE
            if name in arrays and arrays[name].shape[-1] > 1
        }
        return {**arrays, **cut, "first_key": first}

    def attend_all(words: Array | None, arrays: Arrays) -> Attended:
        def turn(carry: Any, step: Array) -> tuple[Any, None]:
            sums, sent = carry
            here = placed({**arrays, **sent}, step)
            more = attend(words, {**here, "highest_before": sums.highest})
            to_next = functools.partial(_send, axis_name=axis_name, distance=1)
            return (_merged(sums, more), jax.tree.map(to_next, sent)), None

        steps = jnp.arange(shards, dtype=jnp.int32)
        sent = {name: arrays[name] for name in ("key", "value")}
        start = _nothing(jax.eval_shape(attend, words, placed(arrays, steps[0])))
        (attended, _), _ = lax.scan(turn, (start, sent), steps)
        output = attended.output.astype(arrays["value"].dtype)
        return attended._replace(output=output)

    def push_all(words: Array | None, arrays: Arrays, moving: Arrays) -> Attended:
        wide = working_dtype(arrays["query"])
        ways = [
            functools.partial(_send, axis_name=axis_name, distance=distance)
            for distance in range(shards)
        ]

        def received(arrays: Arrays, step: Array) -> dict[str, Array]:
            sent = {name: arrays[name] for name in _SENT if name in arrays}
            sent = {name: lax.switch(step, ways, x) for name, x in sent.items()}
            return placed({**arrays, **sent}, step)

        def part(step: Array) -> Attended:
            pushed = received(moving, step)
            pushed = {name: pushed[name] for name in moving}
            more = push(words, received(arrays, step), pushed)
            return jax.tree.map(lambda x: x.astype(wide), more)

        @functools.partial(jax.checkpoint, prevent_cse=False)
        def turn(sums: Attended, step: Array) -> tuple[Attended, None]:
            return jax.tree.map(jnp.add, sums, part(step)), None

        steps = jnp.arange(shards, dtype=jnp.int32)
        start = jax.tree.map(jnp.zeros_like, jax.eval_shape(part, steps[0]))
        sums, _ = lax.scan(turn, start, steps)
        return sums._replace(output=sums.output.astype(arrays["query"].dtype))

    first = lax.axis_index(axis_name) * queries
    arrays = with_blind(form, {**arrays, "first_query": first})
    if "keep" in arrays and arrays["keep"].shape[-2] > 1:
        keep = lax.dynamic_slice_in_dim(arrays["keep"], first, queries, -2)
        arrays = {**arrays, "keep": keep}
    return with_derivatives(attend_all, push_all)(words, arrays)


def _send(x: Array, *, axis_name: str, distance: int) -> Array:
    """Sends an array to a later device of the ring."""
    count = lax.axis_size(axis_name)
    pairs = [(device, (device + distance) % count) for device in range(count)]
    return lax.ppermute(x, axis_name, pairs)


def _nothing(like: Attended) -> Attended:
    """The attention to no keys, with its output in the dtype of sums."""
    highest = jnp.zeros_like(like.highest)
    return Attended(
        jnp.zeros_like(like.output, dtype=highest.dtype),
        highest + jnp.finfo(highest.dtype).min,
        highest + jnp.inf,
    )


def _merged(sums: Attended, more: Attended) -> Attended:
    """The attention to the keys of both; `more` went on from the highest of `sums`."""
    before = _total(sums) * jnp.exp(sums.highest - more.highest)
    total = before + _total(more)
    total = jnp.where(total == 0, jnp.full_like(total, jnp.inf), total)
    first, second = (_over_outputs(x / total) for x in (before, _total(more)))
    output = sums.output * first + more.output.astype(first.dtype) * second
    return Attended(output, more.highest, jnp.log(total))


def _total(attended: Attended) -> Float[Array, "*batch kv_heads group queries"]:
    """The sum that normalizes the weights; infinity stands for 0."""
    log_total = attended.log_total
    nothing = log_total == jnp.inf
    return jnp.where(nothing, jnp.zeros_like(log_total), jnp.exp(log_total))


def _over_outputs(
    x: Float[Array, "*batch kv_heads group queries"],
) -> Float[Array, "*batch queries heads 1"]:
    return join_heads(x[..., None])
