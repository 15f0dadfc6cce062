"""MLPs whose hidden units are dropped."""

import math
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array

from dropjax._checks._arrays import check_array
from dropjax._checks._options import check_count
from dropjax._checks._rates import check_host_rate
from dropjax._checks._words import describe, same_dtype


def check_mlp_shapes(x: Any, arrays: Mapping[str, Any]) -> tuple[Array, int]:
    """Kernels and biases of an MLP, of shapes that fit x and one dtype."""
    x = jnp.asarray(check_array(x))
    found = {name: it for name, it in arrays.items() if it is not None}
    shapes = {name: check_array(it, name).shape for name, it in found.items()}
    first, last = shapes["kernel_in"], shapes["kernel_out"]
    if len(first) != 2 or x.shape[-1:] != first[:1]:
        raise ValueError(
            "kernel_in must have shape (features_in, hidden), features_in as the last "
            f"axis of x, got kernel_in of shape {first}, x of shape {x.shape}"
        )
    if len(last) != 2 or first[1] != last[0]:
        raise ValueError(
            "kernel_out must have shape (hidden, features_out), hidden as the last "
            f"axis of kernel_in, got kernel_out of shape {last}, kernel_in of shape "
            f"{first}"
        )
    if "bias_gate" in found and "kernel_gate" not in found:
        raise ValueError(
            "bias_gate must be None without kernel_gate, got an array of shape "
            f"{shapes['bias_gate']}; the bias of an MLP without a gate is bias_in"
        )
    hidden, features = first[1:], last[1:]
    wanted = {"kernel_gate": first, "bias_in": hidden, "bias_gate": hidden}
    for name, shape in {**wanted, "bias_out": features}.items():
        if shapes.get(name, shape) != shape:
            raise ValueError(f"{name} must have shape {shape}, got {shapes[name]}")
    for name, array in found.items():
        if not same_dtype(array, x):
            raise TypeError(
                f"x and {name} must have one dtype, got {x.dtype} and {array.dtype}; "
                "cast one of them"
            )
    return x, hidden[0]


def check_unit_rate(rate: Any) -> float:
    """A number of the host."""
    return check_host_rate(
        rate,
        "how many hidden units are computed",
        "; for a rate per layer, loop over the layers in Python with a number each; "
        "dropout, which computes all units, takes a traced rate",
    )


def check_unit_blocks(hidden: int, block_size: Any, groups: Any) -> int:
    """How many blocks the hidden units form, a multiple of the groups."""
    size = check_count(block_size, "block_size")
    if hidden % size:
        raise ValueError(
            f"block_size must divide the number of hidden units, {hidden}, got {size}; "
            f"use {math.gcd(hidden, size)}, or another divisor"
        )
    blocks = hidden // size
    if blocks % check_count(groups, "groups"):
        raise ValueError(
            f"groups must divide the number of blocks of hidden units, {blocks}, got "
            f"{groups}; use {math.gcd(blocks, groups)}, or a smaller block_size"
        )
    return blocks


def check_activated(y: Any, x: Array) -> Array:
    """An elementwise activation returns an array of its argument's shape."""
    if jnp.shape(y) != x.shape:
        raise ValueError(
            "activation must return an array of its argument's shape "
            f"{x.shape}, got {describe(y)}; pass the kernel of a gate as kernel_gate"
        )
    return y
