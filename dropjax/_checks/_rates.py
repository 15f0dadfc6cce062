"""Rates, shares and deviations."""

import numbers
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from dropjax._checks._words import (
    broadcasts,
    cut,
    describe,
    is_real,
    misplaced,
    values_of,
)
from dropjax._types import RateLike


def check_rate(rate: RateLike, name: str = "rate") -> RateLike:
    """A number as a float in [0, 1], an array as it is, checked where it is seen."""
    return _check_probability(rate, f"{name} is the probability of dropping", name)


def check_rate_shape(
    rate: RateLike, coins: tuple[int, ...], name: str = "rate"
) -> None:
    """An array rate gives each coin one rate: it must broadcast to the coins."""
    if not broadcasts(np.shape(rate), coins):
        raise ValueError(
            f"{name} of shape {np.shape(rate)} must broadcast to the coins' shape "
            f"{coins}: elements that share a coin share a rate, so give it axes of "
            "size 1 there"
        )


def check_host_rate(rate: RateLike, decides: str) -> float:
    """A number of the host, where the rate decides a shape or a number."""
    if isinstance(rate, jax.Array | np.ndarray):
        raise TypeError(
            f"rate must be a Python number, as it decides {decides}, got "
            f"{describe(rate)}"
        )
    return float(check_rate(rate))


def check_bias_rate(rate: RateLike | None) -> RateLike | None:
    """A rate, or None for a bias that is kept whole, be there a bias or not."""
    return None if rate is None else check_rate(rate, "bias_rate")


def check_keep(keep: RateLike, shape: tuple[int, ...]) -> RateLike:
    """The share kept, a host number in [0, 1] or an array that broadcasts."""
    if not broadcasts(np.shape(keep), shape):
        raise ValueError(
            f"keep of shape {np.shape(keep)} must broadcast to x of shape {shape}"
        )
    return _check_probability(keep, "keep is the probability of keeping", "keep")


def _check_probability(value: RateLike, meaning: str, name: str) -> RateLike:
    if isinstance(value, bool | np.bool_) or not is_real(value):
        raise TypeError(
            f"{name} must be a real number or a floating-point array, "
            f"got {describe(value)}{misplaced(value, name)}"
        )
    values = values_of(value)
    if values is not None and not np.all((values >= 0) & (values <= 1)):
        raise ValueError(f"{meaning} and must lie in [0, 1], got {cut(value)}")
    return value if isinstance(value, jax.Array | np.ndarray) else float(value)


def check_scalar_rate(rate: RateLike) -> RateLike:
    """One rate, where an array of them is made of it."""
    if np.shape(check_rate(rate)):
        raise ValueError(
            f"rate must be one number or a scalar, got shape {np.shape(rate)}; "
            "use jax.vmap for several"
        )
    return check_rate(rate)


def check_logit(logit: Any, coins: tuple[int, ...]) -> Array:
    """The logit of a learned rate: a real array that broadcasts to the coins."""
    known = isinstance(logit, jax.Array | np.ndarray | np.generic)
    if not known or not jnp.issubdtype(logit.dtype, jnp.floating):
        raise TypeError(
            "logit must be a floating-point array, log(rate / (1 - rate)), got "
            f"{describe(logit)}"
        )
    if not broadcasts(logit.shape, coins):
        raise ValueError(
            f"logit of shape {logit.shape} must broadcast to the coins' shape {coins}"
        )
    return jnp.asarray(logit)


def check_target(target: RateLike) -> RateLike:
    """A share, one number or scalar array."""
    target = _check_probability(target, "target is the share to target", "target")
    if np.shape(target) != ():
        raise ValueError(f"target must be one share, got shape {np.shape(target)}")
    return target


def check_noise_rate(rate: RateLike) -> RateLike:
    """A rate whose noise has a finite variance."""
    rate = check_rate(rate)
    values = values_of(rate)
    if values is not None and np.any(values == 1):
        raise ValueError(
            "rate must be below 1 for Gaussian noise, whose variance rate / (1 - rate) "
            f"has no bound there, got {cut(rate)}"
        )
    return rate


def check_stddev(stddev: RateLike) -> RateLike:
    """A number of 0 or more as a float, an array as it is, checked where seen."""
    if isinstance(stddev, bool | np.bool_) or not is_real(stddev):
        raise TypeError(
            "stddev must be a real number or a floating-point array, "
            f"got {describe(stddev)}"
        )
    values = values_of(stddev)
    if values is not None and not np.all((values >= 0) & (values < np.inf)):
        raise ValueError(f"stddev must be finite and 0 or more, got {cut(stddev)}")
    return stddev if isinstance(stddev, jax.Array | np.ndarray) else float(stddev)


def check_stddev_shape(stddev: RateLike, coins: tuple[int, ...]) -> None:
    """An array gives each noise one deviation: it must broadcast to the noise's."""
    if not broadcasts(np.shape(stddev), coins):
        raise ValueError(
            f"stddev of shape {np.shape(stddev)} must broadcast to the noise's shape "
            f"{coins}"
        )


def check_inner_rate(rate: Any, name: str) -> float:
    """A rate whose logit is finite."""
    if isinstance(rate, bool) or not isinstance(rate, numbers.Real):
        raise TypeError(f"{name} must be a real number, got {describe(rate)}")
    if not 0 < float(rate) < 1:
        raise ValueError(
            f"{name} must lie between 0 and 1, where its logit is finite, got "
            f"{cut(rate)}"
        )
    return float(rate)
