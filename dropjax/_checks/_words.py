"""What the checks ask of a value, and how a message names it."""

import numbers
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def is_real(value: object) -> bool:
    """A number, or an array of floating-point numbers."""
    if isinstance(value, jax.Array | np.ndarray):
        return jnp.issubdtype(value.dtype, jnp.floating)
    return isinstance(value, numbers.Real)


def same_dtype(x: Any, other: Any) -> bool:
    """Whether JAX has one dtype for both: without x64, NumPy's float64 is float32."""
    own, theirs = (
        jax.dtypes.canonicalize_dtype(dtype, allow_extended_dtype=True)
        for dtype in (x.dtype, other.dtype)
    )
    return bool(own == theirs)


def broadcasts(shape: tuple[int, ...], wanted: tuple[int, ...]) -> bool:
    """Whether an array of the one shape broadcasts to the other."""
    try:
        return np.broadcast_shapes(shape, wanted) == wanted
    except ValueError:
        return False


def is_pair(pair: Any) -> bool:
    """Two integers."""
    return isinstance(pair, Sequence) and len(pair) == 2 and all(map(is_int, pair))


def is_int(value: object) -> bool:
    """An integer of Python or numpy, and no truth value."""
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def describe(value: Any) -> str:
    """What was got, in a few words."""
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return f"{type(value).__name__} of shape {value.shape}, dtype {value.dtype}"
    return f"{value!r} ({type(value).__name__})"
