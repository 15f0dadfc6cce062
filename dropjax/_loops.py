"""Loops over user functions: `lax.scan` under jit, and Python loops outside of it."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array

from dropjax._types import PyTree


def scan(
    step: Callable[[Any, Any], tuple[Any, Any]],
    start: PyTree,
    turns: PyTree,
    *,
    unroll: int = 1,
) -> tuple[PyTree, PyTree]:
    """`lax.scan` under jit, and a Python loop otherwise.

    An eager `lax.scan` compiles again for every new function object, keeps the program
    and the arrays that the function closes over, and for a known function object does
    not notice when these have changed. A Python loop compiles nothing itself.
    """
    if is_staged():
        return lax.scan(step, start, turns, unroll=unroll)
    carry, outputs = start, []
    for index in range(jax.tree.leaves(turns)[0].shape[0]):
        carry, output = step(carry, _turn(turns, np.int32(index)))
        outputs.append(output)
    return carry, jax.tree.map(lambda *parts: jnp.stack(parts), *outputs)


def zeros_beside(zeros: Array, *others: Array) -> Array:
    """The start value of a loop, which varies like the others under shard_map."""

    def mixed(zeros: Array, *others: Array) -> Array:
        parts = [other.any().astype(zeros.dtype) for other in others]
        return sum(parts, zeros)

    return jnp.zeros_like(jax.eval_shape(mixed, zeros, *others))


def is_staged() -> bool:
    """Whether a program is being traced for compilation: under jit, not under grad."""
    return isinstance(jnp.zeros(()), jax.core.Tracer)


@jax.jit
def _turn(turns: PyTree, index: Any) -> PyTree:
    return jax.tree.map(
        lambda leaf: lax.dynamic_index_in_dim(leaf, index, keepdims=False), turns
    )
