"""Flags, words and numbers."""

import numbers
from collections.abc import Callable, Sequence
from typing import Any, get_args

import numpy as np

from dropjax._checks._words import cut, describe, is_int, is_real, is_truth, shown
from dropjax._types import DropPathMode, Inference, Noise, Scaling


def check_ascending(limits: Any, name: str) -> tuple[float, float]:
    """The lowest and the highest of some numbers."""
    if isinstance(limits, Sequence) and len(limits) == 2:
        low, high = limits
        if all(is_real(limit) for limit in limits) and -np.inf < low <= high < np.inf:
            return float(low), float(high)
    raise ValueError(
        f"{name} must be two numbers, (lowest, highest), got {shown(limits)}"
    )


def check_target_by(by: Any) -> None:
    """Weights or units."""
    if by not in ("weights", "units"):
        raise ValueError(
            "by must be 'weights' (the smallest of each unit are targeted) or 'units' "
            f"(those of the smallest norm are), got {shown(by)}"
        )


def check_function(
    function: Any, name: str, of: str = "an array, such as jax.nn.relu"
) -> Callable[..., Any]:
    """What is called with an array, or with something else."""
    if not callable(function):
        raise TypeError(f"{name} must be a function of {of}, got {describe(function)}")
    return function


def check_flag(
    flag: Any, name: str, traced: str = "under jit it is a static argument"
) -> bool:
    """A flag of the host, and nothing else that has a truth value."""
    if not isinstance(flag, bool | np.bool_):
        raise TypeError(f"{name} must be True or False, got {describe(flag)}; {traced}")
    return bool(flag)


def check_deterministic(deterministic: Any) -> bool:
    """A flag of the host: what is off must cost nothing, so it cannot be traced.

    As flax does, it takes 0, 1 and concrete arrays too.
    """
    if is_truth(deterministic):
        return bool(deterministic)
    traced = "to switch inside jit, trace the rate: jnp.where(off, 0.0, rate)"
    return check_flag(deterministic, "deterministic", traced)


def check_flag_given(layer: object, *flags: bool | None) -> bool:
    """A layer must be told whether it drops: the first flag given says it."""
    given = [flag for flag in flags if flag is not None]
    if not given:
        raise ValueError(
            f"No `deterministic` argument was provided to {type(layer).__name__}, got "
            "None in its constructor and in the call; layer.train() and layer.eval() "
            "set it too"
        )
    return check_deterministic(given[0])


def check_scaling(scaling: Any) -> None:
    """Inverted or standard."""
    if not isinstance(scaling, str) or scaling not in get_args(Scaling):
        raise ValueError(
            "scaling must be 'inverted' (survivors are scaled in training) or "
            f"'standard' (everything is scaled after it), got {shown(scaling)}"
        )


def check_path_scaling(scaling: Any) -> None:
    """Inverted, standard or none."""
    if scaling not in ("inverted", "standard", "none"):
        raise ValueError(
            "scaling must be 'inverted' (survivors are scaled in training), 'standard' "
            "(everything is scaled after it) or 'none' (nothing is scaled), got "
            f"{shown(scaling)}"
        )


def check_choice(value: Any, choices: tuple[str, ...], name: str) -> None:
    """One of a few words."""
    if not isinstance(value, str) or value not in choices:
        words = ", ".join(map(repr, choices))
        raise ValueError(f"{name} must be one of {words}, got {shown(value)}")


def check_count(value: Any, name: str) -> int:
    """A positive integer."""
    if not is_int(value) or value < 1:
        raise ValueError(f"{name} must be a positive integer, got {shown(value)}")
    return int(value)


def check_size(value: Any, name: str) -> int:
    """An integer that is not negative."""
    if not is_int(value) or value < 0:
        raise ValueError(f"{name} must be an integer of 0 or more, got {shown(value)}")
    return int(value)


def check_features(features: Any, name: str = "features") -> int:
    """How many outputs a layer has, which comes before its rate."""
    if not is_int(features) or features < 0:
        raise ValueError(
            f"{name} must be an integer of 0 or more, got {shown(features)}; it comes "
            "before the rate"
        )
    return int(features)


def check_all_features(features: Any, name: str = "features") -> tuple[int, ...]:
    """How many features there are along one axis or along several."""
    sizes = features if isinstance(features, Sequence) else (features,)
    return tuple(check_features(size, name) for size in sizes)


def check_positive(value: Any, name: str) -> float:
    """A positive, finite number."""
    number = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if not number or not 0 < float(value) < float("inf"):
        raise ValueError(f"{name} must be a positive number, got {shown(value)}")
    return float(value)


def check_mode(mode: Any) -> None:
    """A coin per example, or one for the batch."""
    if mode not in get_args(DropPathMode):
        raise ValueError(
            "mode must be 'row' (a coin per example) or 'batch' (one coin), "
            f"got {shown(mode)}"
        )


def check_range(limits: Any, low: float, high: float, name: str) -> tuple[float, float]:
    """Two numbers in order within bounds, the lower one excluded."""
    pair = isinstance(limits, Sequence) and len(limits) == 2
    if not pair or not all(isinstance(limit, numbers.Real) for limit in limits):
        raise TypeError(f"{name} must be a pair of numbers, got {shown(limits)}")
    if not low < limits[0] <= limits[1] <= high or not np.isfinite(limits[1]):
        raise ValueError(
            f"{name} must be (least, most), above {low} and up to {high}, got "
            f"{cut(limits)}"
        )
    return float(limits[0]), float(limits[1])


def check_mask_per(mask_per: Any) -> int | None:
    """How many examples share a mask of the weights; None if all do."""
    if mask_per == "batch":
        return None
    if mask_per == "example":
        return 1
    if not is_int(mask_per) or mask_per < 1:
        raise ValueError(
            "mask_per must be 'batch', 'example' or the number of examples that share "
            f"a mask, a positive integer, got {shown(mask_per)}"
        )
    return int(mask_per)


def check_noise(noise: Any, mask_per: Any) -> None:
    """Masks or a Gaussian, which has no masks to share."""
    if noise not in get_args(Noise):
        raise ValueError(
            "noise must be 'bernoulli' (weights are masked) or 'gaussian' (outputs get "
            f"the noise that many masks come to), got {shown(noise)}"
        )
    check_mask_per(mask_per)
    if noise == "gaussian" and is_int(mask_per):
        raise ValueError(
            "noise='gaussian' draws no mask that examples could share, each has noise "
            f"of its own: leave mask_per away, got {cut(mask_per)}"
        )


def check_inference(inference: Any, activation: Any) -> Inference:
    """The mean network, or a mean of activations, which must then be known."""
    if inference not in get_args(Inference):
        raise ValueError(
            "inference must be 'mean' (the mean network), 'gaussian' or 'monte_carlo' "
            f"(activations averaged over samples), got {shown(inference)}"
        )
    if activation is not None:
        check_function(activation, "activation")
    elif inference != "mean":
        raise ValueError(
            f"inference={inference!r} averages the layer's activation over samples, "
            "but activation is None; give it to the layer, as in "
            "activation=jax.nn.relu, or use inference='mean', which is exact for a "
            "layer without an activation"
        )
    return inference
