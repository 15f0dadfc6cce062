"""Rates, shares and deviations."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from dropjax._checks._words import (
    broadcasts,
    cut,
    describe,
    is_array,
    is_real,
    misplaced,
    path_name,
    values_of,
)
from dropjax._types import PyTree, RateLike


def check_rate(rate: RateLike, name: str = "rate") -> RateLike:
    """A number as a float in [0, 1], an array as it is, checked where it is seen."""
    return _check_values(
        rate, name, _is_probability, "is the probability of dropping and {}"
    )


def check_rates(rates: PyTree) -> None:
    """A rate, or a tree of rates."""
    for path, rate in jax.tree_util.tree_leaves_with_path(rates):
        check_rate(rate, f"rate at {path_name(path)!r}" if path else "rate")


def check_keep(keep: RateLike, shape: tuple[int, ...]) -> RateLike:
    """The share kept, a host number in [0, 1] or an array that broadcasts."""
    check_broadcasts(keep, shape, "keep")
    return _check_values(
        keep, "keep", _is_probability, "is the probability of keeping and {}"
    )


def check_target(target: RateLike) -> RateLike:
    """The share of the weights that are targeted, a number or a scalar."""
    rule = "is the share of the weights to target and {}"
    return _scalar(_check_values(target, "target", _is_probability, rule), "target")


def check_scalar_rate(rate: RateLike) -> RateLike:
    """One rate, where an array of them is made of it."""
    return _scalar(check_rate(rate), "rate")


def check_noise_rate(rate: RateLike) -> RateLike:
    """A rate whose noise has a finite variance."""
    return _check_values(
        check_rate(rate),
        "rate",
        lambda values: values < 1,
        "must be below 1 for Gaussian noise, whose variance rate / (1 - rate) is "
        "infinite there",
    )


def check_noise_size(size: RateLike, name: str) -> RateLike:
    """A number of 0 or more as a float, an array as it is, checked where seen."""
    return _check_values(
        size,
        name,
        lambda values: (values >= 0) & (values < np.inf),
        "must be finite and 0 or more",
    )


def _is_probability(values: np.ndarray) -> np.ndarray:
    return (values >= 0) & (values <= 1)


def _check_values(
    value: RateLike, name: str, fit: Callable[[np.ndarray], np.ndarray], rule: str
) -> RateLike:
    if not is_real(value):
        raise TypeError(
            f"{name} must be a real number or a floating-point array, "
            f"got {describe(value)}{misplaced(value, name)}"
        )
    values = values_of(value)
    if values is not None and not np.all(fits := fit(values)):
        place = tuple(int(axis[0]) for axis in np.nonzero(~np.atleast_1d(fits)))
        got = f"{values[place]} at index {place}" if values.ndim else cut(value)
        raise ValueError(f"{name} {rule.format('must lie in [0, 1]')}, got {got}")
    return value if isinstance(value, jax.Array | np.ndarray) else float(value)


def _scalar(value: RateLike, name: str) -> RateLike:
    if np.shape(value):
        raise ValueError(
            f"{name} must be one number or a scalar array, got shape "
            f"{np.shape(value)}; use jax.vmap for several"
        )
    return value


def check_broadcasts(
    x: Any, shape: tuple[int, ...], name: str, to: str = "x's shape", hint: str = ""
) -> None:
    """An array, or a number, that broadcasts to a shape."""
    if not broadcasts(np.shape(x), shape):
        raise ValueError(
            f"{name} of shape {np.shape(x)} must broadcast to {to} {shape}{hint}"
        )


def check_rate_shape(
    rate: RateLike, mask_shape: tuple[int, ...], name: str = "rate"
) -> None:
    """An array of rates must broadcast to the shape of the mask."""
    hint = (
        ": elements that share a mask value share a rate, so use axes of size 1 there"
    )
    check_broadcasts(rate, mask_shape, name, "the mask's shape", hint)


def check_host_rate(rate: RateLike, decides: str, hint: str = "") -> float:
    """A number of the host, where the rate decides a shape or a number."""
    if isinstance(rate, jax.Array | np.ndarray):
        raise TypeError(
            f"rate must be a Python number, because it decides {decides}, got "
            f"{describe(rate)}{hint}"
        )
    return float(check_rate(rate))


def check_bias_rate(rate: RateLike | None) -> RateLike | None:
    """A rate, or None for a bias that is not dropped, with a bias or without."""
    return None if rate is None else check_rate(rate, "bias_rate")


def check_logit(logit: Any, mask_shape: tuple[int, ...]) -> Array:
    """The logit of a learned rate: a real array that broadcasts to the mask."""
    if not is_array(logit) or not jnp.issubdtype(logit.dtype, jnp.floating):
        raise TypeError(
            "logit must be a floating-point array, log(rate / (1 - rate)), got "
            f"{describe(logit)}"
        )
    check_broadcasts(logit, mask_shape, "logit", "the mask's shape")
    return jnp.asarray(logit)
