"""What the checks ask of a value, and how a message names it."""

import numbers
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import export
from jax.tree_util import keystr

# How much of what was got a message shows.
_LONGEST = 100
_MOST = 8


def is_array(value: object) -> bool:
    """An array, or a scalar, of numpy or JAX."""
    return isinstance(value, jax.Array | np.ndarray | np.generic)


def is_real(value: object) -> bool:
    """A number that is no truth value, or an array of floating-point numbers."""
    if isinstance(value, jax.Array | np.ndarray):
        return jnp.issubdtype(value.dtype, jnp.floating)
    return is_number(value)


def is_number(value: object) -> bool:
    """A real number of Python or numpy, and no truth value."""
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def values_of(value: Any) -> np.ndarray | None:
    """The numbers, where the host can see them: not those that a program traces.

    An array keeps its values once they are fetched, so that checking it again is cheap.
    """
    if not isinstance(value, jax.Array):
        return np.asarray(value)
    if isinstance(value, jax.core.Tracer) or not value.is_fully_addressable:
        return None
    with jax.transfer_guard_device_to_host("allow"):
        return np.asarray(value)


def same_dtype(x: Any, other: Any) -> bool:
    """Whether JAX has one dtype for both: without x64, NumPy's float64 is float32."""
    own, theirs = (
        jax.dtypes.canonicalize_dtype(dtype, allow_extended_dtype=True)
        for dtype in (x.dtype, other.dtype)
    )
    return bool(own == theirs)


def broadcasts(shape: tuple[int, ...], wanted: tuple[int, ...]) -> bool:
    """Whether an array of the one shape broadcasts to the other."""
    sizes = zip(reversed(shape), reversed(wanted), strict=False)
    return len(shape) <= len(wanted) and all(n in (1, size) for n, size in sizes)


def is_pair(pair: Any) -> bool:
    """Two integers."""
    return isinstance(pair, Sequence) and len(pair) == 2 and all(map(is_int, pair))


def are_positive(sizes: Any) -> bool:
    """A sequence of positive integers."""
    return isinstance(sizes, Sequence) and all(is_int(n) and n > 0 for n in sizes)


def is_int(value: object) -> bool:
    """An integer of Python or numpy, and no truth value."""
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def is_truth(value: object) -> bool:
    """A truth value, 0 or 1, or an array of one truth value that is no tracer."""
    if isinstance(value, jax.Array | np.ndarray):
        known = not isinstance(value, jax.core.Tracer)
        return known and value.shape == () and value.dtype == np.bool_
    return isinstance(value, bool | np.bool_) or (is_int(value) and value in (0, 1))


def is_size(value: object) -> bool:
    """The size of an axis: an integer, or a symbolic dimension of `jax.export`."""
    return is_int(value) or is_symbolic(value)


def is_symbolic(size: Any) -> bool:
    """Whether a size is known only when the exported program runs."""
    return export.is_symbolic_dim(size)


def describe(value: Any) -> str:
    """What was got, in a few words."""
    if isinstance(value, type):
        return f"the class {value.__name__}, not an instance of it"
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        name = type(value).__name__
        return f"{name} of shape {cut(value.shape)}, dtype {value.dtype}"
    return f"{shown(value)} ({type(value).__name__})"


def shown(value: Any) -> str:
    """A value as Python shows it, cut off where that is long."""
    return f"a tree of {leaves(value)}" if is_tree(value) else cut(repr(value))


def leaves(tree: Any) -> str:
    """How many leaves a tree has."""
    count = len(jax.tree.leaves(tree))
    return f"{count} leaf" if count == 1 else f"{count} leaves"


def cut(value: Any) -> str:
    """A value as it is printed, or the beginning of it."""
    text = str(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def listed(names: Sequence[str]) -> str:
    """The first few of some names."""
    first = ", ".join(cut(repr(name)) for name in names[:_MOST])
    more = len(names) - _MOST
    return f"{first} and {more} more" if more > 0 else first


def path_name(path: Any) -> str:
    """The path of a leaf, as "layer/kernel"."""
    return keystr(path, simple=True, separator="/")


def is_tree(value: Any) -> bool:
    """A container with arrays in it, which nobody wants to see printed."""
    try:
        found = jax.tree.leaves(value)
    except (TypeError, ValueError):  # JAX cannot sort the keys of every dict.
        return False
    return any(leaf is not value and hasattr(leaf, "dtype") for leaf in found)


def misplaced(value: Any, name: str) -> str:
    """What to say where a PRNG key was given for another argument."""
    if not is_key(value):
        return ""
    if name in ("query", "key", "value"):
        return "; pass a PRNG key as dropout_rng"
    return f"; the key comes first, before {name}"


def is_key(value: Any) -> bool:
    """A typed key, or a raw one: two or four words, which no activations are."""
    if not isinstance(value, jax.Array | np.ndarray):
        return False
    raw = value.dtype == np.uint32 and value.shape in ((2,), (4,))
    return raw or jnp.issubdtype(value.dtype, jax.dtypes.prng_key)
