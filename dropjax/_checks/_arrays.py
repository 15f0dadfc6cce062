"""Arrays, masks, fillings, keys and shapes."""

import numbers
import warnings
from collections.abc import Collection, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Key, Num

from dropjax._checks._rates import check_broadcasts
from dropjax._checks._words import (
    describe,
    is_array,
    is_int,
    is_key,
    is_size,
    is_symbolic,
    is_tree,
    misplaced,
    same_dtype,
    shown,
)
from dropjax._types import KeyLike


def check_array(x: Any, name: str = "x") -> Any:
    """A floating-point or complex array, of numpy or JAX."""
    rule = "a floating-point or complex array"
    return _check_kind(x, name, jnp.inexact, rule, _cast(name, "float32"))


def check_numbers(x: Any, name: str = "x") -> Any:
    """An array of numbers, integers among them: for what scales nothing."""
    rule = "an array of numbers, floating-point, complex or integer"
    return _check_kind(x, name, jnp.number, rule, _cast(name, "uint8"))


def check_tokens(x: Any) -> Any:
    """An array of integers."""
    hint = "for embedded tokens use dropout with broadcast_dims=-1"
    return _check_kind(x, "x", jnp.integer, "an array of integers, token ids", hint)


def check_real(x: Any, name: str = "x") -> Any:
    """A floating-point array, where complex numbers are not defined."""
    hint = "take its real part, or make features of real and imaginary parts"
    return _check_kind(
        check_array(x, name), name, jnp.floating, "of a real dtype", hint
    )


def _cast(name: str, dtype: str) -> str:
    return f"cast it first, as in {name}.astype(jnp.{dtype})"


def _check_kind(x: Any, name: str, kind: Any, rule: str, hint: str) -> Any:
    if not is_array(x):
        raise TypeError(
            f"{name} must be an array, got {describe(x)}; {_way_out(x, name)}"
        )
    fits = jnp.issubdtype(x.dtype, kind)
    if not fits and is_key(x):
        raise TypeError(
            f"{name} must be an array of numbers, got a PRNG key, {describe(x)}"
            f"{misplaced(x, name)}"
        )
    if not fits:
        raise TypeError(f"{name} must be {rule}, got dtype {x.dtype}; {hint}")
    return x


def _way_out(x: Any, name: str) -> str:
    """How to make an array of what is none."""
    if hasattr(x, "todense"):
        return (
            f"drop from its stored elements, {name}.data, or make it dense with "
            f"{name}.todense()"
        )
    if is_tree(x):
        return "use dropjax.dropconnect to drop from a tree of parameters"
    if name == "x" and isinstance(x, numbers.Real):
        return "the order is key, x, rate; wrap a number in jnp.asarray"
    return "wrap it in jnp.asarray, or use jax.eval_shape for shapes alone"


def check_like(x: Any, other: Any, name: str, of: str = "x") -> Any:
    """An array of x's shape and dtype."""
    check = check_array if jnp.issubdtype(x.dtype, jnp.inexact) else _check_any
    check(other, name)
    if other.shape != x.shape or not same_dtype(other, x):
        hint = "; cast one of them" if other.shape == x.shape else ""
        raise ValueError(
            f"{name} must have the shape and dtype of {of}, {x.shape} and {x.dtype}, "
            f"got {other.shape} and {other.dtype}{hint}"
        )
    return other


def _check_any(x: Any, name: str) -> Any:
    return _check_kind(x, name, np.generic, "an array", "wrap it in jnp.asarray")


def check_mask(mask: Any, shape: tuple[int, ...]) -> Any:
    """A boolean array that broadcasts to `shape`."""
    if not isinstance(mask, jax.Array | np.ndarray | np.bool_ | bool):
        raise TypeError(f"mask must be a boolean array, got {describe(mask)}")
    if not isinstance(mask, bool) and mask.dtype != np.bool_:
        raise TypeError(
            f"mask must be boolean, True where x is kept, got dtype {mask.dtype}; "
            "compare it, as in mask != 0"
        )
    check_broadcasts(mask, shape, "mask")
    return mask


def check_channel_fill(
    fill: Any, x: Num[Array, "..."], channel_axis: int
) -> Array | None:
    """None for noise, else a fill whose values per channel lie along their axis."""
    check_fill_kind(fill)
    if isinstance(fill, str):
        return None
    if isinstance(fill, Sequence):
        fill = [_check_number(one, x.dtype) for one in fill]
        fill = jnp.asarray(fill, jax.dtypes.canonicalize_dtype(x.dtype))
    if getattr(fill, "ndim", 0) == 1:
        fill = _along_channels(fill, x, channel_axis)
    return check_fill(fill, x)


def check_fill_kind(fill: Any) -> None:
    """A fill for an array that need not be known yet."""
    each = fill if isinstance(fill, Sequence) else [fill]
    if isinstance(fill, str):
        known = fill == "random"
    else:
        known = hasattr(fill, "dtype") or all(map(_is_complex, each))
    if not known:
        error = ValueError if isinstance(fill, str) else TypeError
        raise error(
            "fill must be a number, one for each channel, an array of the dtype of x, "
            f"or 'random' for noise, got {describe(fill)}"
        )


def _along_channels(fill: Array, x: Num[Array, "..."], channel_axis: int) -> Array:
    channels = x.shape[channel_axis]
    if fill.shape != (channels,):
        raise ValueError(
            f"fill must hold one value for each of the {channels} channels of x, "
            f"got {fill.size}"
        )
    others = [axis for axis in range(x.ndim) if axis != channel_axis % x.ndim]
    return jnp.expand_dims(fill, others)


def check_fill(
    fill: Any, x: Num[Array, "..."], name: str = "fill", of: str = "x"
) -> Array:
    """A number, or an array of x's dtype that broadcasts to x."""
    if not hasattr(fill, "dtype"):
        return _check_number(fill, x.dtype, name, of)
    if not same_dtype(fill, x):
        raise TypeError(
            f"{name} must have the dtype of {of}, {x.dtype}, got {fill.dtype}"
        )
    check_broadcasts(fill, x.shape, name)
    return fill


def check_span_fill_kind(fill: Any) -> None:
    """A fill of spans for an array that need not be known yet."""
    if not (fill == "mean" if isinstance(fill, str) else _is_filling(fill)):
        error = ValueError if isinstance(fill, str) else TypeError
        raise error(
            "fill must be a number, an array of the dtype of x, or 'mean' for the mean "
            f"of each example, got {describe(fill)}"
        )


def check_span_fill(fill: Any, x: Num[Array, "..."]) -> Array | None:
    """None for the mean, which integers do not have, else a fill for x."""
    check_span_fill_kind(fill)
    if not isinstance(fill, str):
        return check_fill(fill, x)
    if not jnp.issubdtype(x.dtype, jnp.inexact):
        raise TypeError(
            "fill='mean' is for a floating-point or complex x, got dtype "
            f"{x.dtype}; cast x first, as in x.astype(jnp.float32)"
        )
    return None


def _is_filling(fill: Any) -> bool:
    return hasattr(fill, "dtype") or _is_complex(fill)


def _check_number(
    fill: Any, dtype: np.dtype, name: str = "fill", of: str = "x"
) -> Array:
    if not _fits(fill, dtype):
        raise TypeError(
            f"{name} must be a number that fits {dtype}, the dtype of {of}, or an "
            f"array of that dtype, got {describe(fill)}"
        )
    return jnp.asarray(fill, jax.dtypes.canonicalize_dtype(dtype))


def _is_complex(number: Any) -> bool:
    return isinstance(number, numbers.Complex) and not isinstance(number, bool)


def _fits(number: Any, dtype: np.dtype) -> bool:
    """Whether a dtype has this number: integers have whole ones alone."""
    real = isinstance(number, numbers.Real)
    if not _is_complex(number) or not jnp.issubdtype(dtype, np.integer):
        complex_dtype = jnp.issubdtype(dtype, np.complexfloating)
        return _is_complex(number) and (real or complex_dtype)
    if not real:
        return False
    limits = jnp.iinfo(jax.dtypes.canonicalize_dtype(dtype))
    exact = int(number) if isinstance(number, numbers.Integral) else float(number)
    return limits.min <= exact <= limits.max and float(exact).is_integer()


def check_key(key: KeyLike, name: str = "key") -> Key[Array, ""]:
    """One key, typed: a raw key becomes one of JAX's default implementation."""
    if key is None:
        raise ValueError(
            f"{name} is None, but this call draws a mask: pass a key, "
            "as in jax.random.key(0), or deterministic=True"
        )
    if not isinstance(key, jax.Array | np.ndarray):
        raise TypeError(f"{name} must be a PRNG key, got {_no_key(key)}")
    if not jnp.issubdtype(key.dtype, jax.dtypes.prng_key):
        key = _wrap(key, name)
    if key.shape:
        raise ValueError(
            f"{name} must be one key, got a batch of keys of shape {key.shape}; "
            "take one of them, or use jax.vmap"
        )
    return key


def _no_key(value: Any) -> str:
    """What was got for a key, and how to get one; flax is not imported here."""
    kind = type(value).__name__
    if kind in ("Rngs", "RngStream") and type(value).__module__.startswith("flax"):
        call = "rngs.dropout()" if kind == "Rngs" else "stream()"
        return f"nnx.{kind}; call it for a key, as in {call}"
    order = ", and pass it first, before the tree" if is_tree(value) else ""
    return f"{describe(value)}; make one with jax.random.key(seed){order}"


def _wrap(raw: Any, name: str) -> Key[Array, "..."]:
    words = jax.random.key_data(jax.random.key(0)).shape[-1]
    if raw.dtype != np.uint32 or raw.ndim == 0 or raw.shape[-1] != words:
        raise TypeError(
            f"{name} must be a typed key or a raw uint32 key of shape ({words},), "
            f"got {describe(raw)}; make one with jax.random.key(seed)"
        )
    return jax.random.wrap_key_data(raw)


def check_shape(shape: Any, name: str = "shape") -> tuple[int, ...]:
    """A sequence of sizes, none of them negative."""
    if not isinstance(shape, Sequence) or isinstance(shape, str):
        raise TypeError(
            f"{name} must be a sequence of integers, got {describe(shape)}"
            f"{misplaced(shape, name)}"
        )
    if not all(is_size(n) and not (is_int(n) and n < 0) for n in shape):
        raise ValueError(
            f"{name} must hold non-negative integers, got {shown(tuple(shape))}"
        )
    return tuple(int(size) if is_int(size) else size for size in shape)


def check_known(size: int, decides: str) -> int:
    """A size that is a number, where something is counted before the program runs."""
    if is_symbolic(size):
        raise ValueError(
            f"x must have a known size where it decides {decides}, got the symbolic "
            f"dimension {size}; export a program for each size that is needed, or "
            "one with deterministic=True"
        )
    return size


def check_rank(
    shape: tuple[int, ...], least: int, form: str, name: str = "x", hint: str = ""
) -> None:
    """A shape of at least so many axes."""
    if len(shape) < least:
        raise ValueError(f"{name} must have shape {form}, got shape {shape}{hint}")


def check_feature_maps(shape: tuple[int, ...]) -> None:
    """A shape with a spatial axis: a map of one place would be its own maximum."""
    form = "(batch, *spatial, channels) with at least one spatial axis, unless "
    form += "broadcast_dims names the axes of a group"
    hint = "; pass broadcast_dims=-1 to drop the greatest feature of each example"
    check_rank(shape, 3, form, hint=hint)


def check_id(one: Any, dtype: np.dtype | None, name: str) -> int:
    """An integer that the tokens' dtype can hold, unless that is not known yet."""
    if not is_int(one):
        raise TypeError(f"{name} must be an integer, got {describe(one)}")
    if dtype is not None:
        limits = jnp.iinfo(jax.dtypes.canonicalize_dtype(dtype))
        if not limits.min <= one <= limits.max:
            raise ValueError(
                f"{name} must fit the dtype of x, {limits.dtype}, got {shown(one)}"
            )
    return int(one)


def check_ids(several: Any, dtype: np.dtype | None, name: str) -> tuple[int, ...]:
    """Any number of integers that the tokens' dtype can hold, if that is known."""
    if not isinstance(several, Collection) or isinstance(several, jax.Array):
        raise TypeError(f"{name} must be a tuple of integers, got {describe(several)}")
    return tuple(check_id(one, dtype, name) for one in several)


def check_classes(y: Array, outputs: str) -> Array:
    """Outputs of many passes that are of classes have an axis of classes."""
    if y.ndim < 2 or not jnp.issubdtype(y.dtype, jnp.floating):
        raise ValueError(
            f"outputs={outputs!r} is for real numbers with the classes along the last "
            f"axis, but apply_fn returns shape {y.shape[1:]}, dtype {y.dtype}; use "
            "outputs='values' for outputs without classes"
        )
    return y


def check_probabilities(
    mean: Array,
    otherwise: str = "outputs='logits' for logits, or outputs='values' for outputs "
    "without classes",
) -> Bool[Array, "..."]:
    """Where rows are probabilities. Where that can be seen, all of them must be."""
    sums, least = mean.sum(-1), mean.min(-1, initial=0)
    # Half precision rounds a sum of probabilities to 1 % and better.
    wrong = (jnp.abs(sums - 1) > 0.01) | (least < 0)
    if not isinstance(wrong, jax.core.Tracer) and wrong.any():
        first = jnp.argmax(wrong.ravel())
        raise ValueError(
            "outputs='probabilities' is for non-negative rows that sum to 1 along the "
            f"last axis, got a row with the sum {sums.ravel()[first]:.4g} and the "
            f"least element {mean.min(-1).ravel()[first]:.4g}; use {otherwise}"
        )
    return ~wrong


def warn_of_equal_passes(num_samples: int) -> None:
    """Passes that do not depend on their keys say nothing about uncertainty."""
    warnings.warn(
        f"apply_fn does not depend on its key, so all {num_samples} passes are equal "
        "and have no variance; switch dropping on, with deterministic=False in Linen "
        "and nnx.view(model, deterministic=False) in NNX, and pass the key to the "
        "layers, with rngs={'dropout': key} in Linen and nnx.reseed in NNX",
        stacklevel=3,
    )
