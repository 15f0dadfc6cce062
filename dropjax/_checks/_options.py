"""Flags, words and numbers."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from dropjax._checks._words import describe, is_int, is_number, is_truth, shown
from dropjax._types import Inference

# What each word means, where that needs to be said.
_CHOICES: Mapping[str, Mapping[str, str]] = {
    "scaling": {
        "inverted": "what is kept is scaled up in training",
        "standard": "everything is scaled down at inference",
    },
    "mode": {"row": "a mask entry for each example", "batch": "one for all examples"},
    "by": {
        "weights": "the smallest weights of each unit are targeted",
        "units": "the units of the smallest norm are targeted",
    },
    "noise": {
        "bernoulli": "weights are masked",
        "gaussian": "outputs get Gaussian noise of the same mean and variance",
    },
    "inference": {
        "mean": "the mean network",
        "gaussian": "activations averaged over Gaussian samples",
        "monte_carlo": "activations averaged over sampled masks",
    },
    "outputs": {"values": "", "probabilities": "", "logits": ""},
}


def check_choice(value: Any, name: str, others: Mapping[str, str] = {}) -> None:
    """One of a few words: those that the option of this name has, and others."""
    choices = {**_CHOICES.get(name, {}), **others}
    if not isinstance(value, str) or value not in choices:
        *first, last = (
            repr(word) + (f" ({meaning})" if meaning else "")
            for word, meaning in choices.items()
        )
        raise ValueError(
            f"{name} must be {', '.join(first)} or {last}, got {shown(value)}"
        )


def check_scaling(scaling: Any) -> None:
    """Inverted or standard."""
    check_choice(scaling, "scaling")


def check_path_scaling(scaling: Any) -> None:
    """Inverted, standard or none."""
    check_choice(scaling, "scaling", {"none": "nothing is scaled"})


def check_function(
    function: Any, name: str, of: str = "an array, such as jax.nn.relu"
) -> Callable[..., Any]:
    """What is called with an array, or with something else: a class is not."""
    if not callable(function) or isinstance(function, type):
        raise TypeError(f"{name} must be a function of {of}, got {describe(function)}")
    return function


def check_where(where: Any) -> None:
    """A selection is a function, or none."""
    if where is not None:
        check_function(where, "where", "a leaf's path and the leaf, or None")


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


def check_count(value: Any, name: str, least: int = 1, hint: str = "") -> int:
    """An integer that is positive, or only not negative."""
    if not is_int(value) or value < least:
        kind = "positive" if least else "non-negative"
        raise ValueError(f"{name} must be a {kind} integer, got {shown(value)}{hint}")
    return int(value)


def check_features(features: Any, name: str = "features") -> int:
    """How many inputs or outputs a layer has."""
    return check_count(features, name, 0, "; it comes before the rate")


def check_all_features(features: Any, name: str = "features") -> tuple[int, ...]:
    """How many features there are along one axis or along several."""
    sizes = features if isinstance(features, Sequence) else (features,)
    return tuple(check_features(size, name) for size in sizes)


def check_positive(value: Any, name: str) -> float:
    """A positive, finite number."""
    if not is_number(value) or not 0 < float(value) < math.inf:
        raise ValueError(f"{name} must be a positive number, got {shown(value)}")
    return float(value)


def check_share(value: Any, name: str) -> float:
    """A number in [0, 1]."""
    if not is_number(value) or not 0 <= float(value) <= 1:
        raise ValueError(f"{name} must be a number in [0, 1], got {shown(value)}")
    return float(value)


def check_inner_rate(rate: Any, name: str) -> float:
    """A rate whose logit is finite."""
    if not is_number(rate) or not 0 < float(rate) < 1:
        raise ValueError(
            f"{name} must be a number above 0 and below 1, where its logit is finite, "
            f"got {shown(rate)}"
        )
    return float(rate)


def check_range(
    limits: Any, name: str, low: float = -math.inf, high: float = math.inf
) -> tuple[float, float]:
    """Two numbers in order within bounds, the lower one excluded."""
    pair = isinstance(limits, Sequence) and len(limits) == 2
    if pair and all(map(is_number, limits)):
        first, last = map(float, limits)
        if low < first <= last <= high and last < math.inf:
            return first, last
    above = f" above {low}" if low > -math.inf else ""
    most = f" and at most {high}" if high < math.inf else ""
    raise ValueError(
        f"{name} must be (lowest, highest), two finite numbers{above}{most}, got "
        f"{shown(limits)}"
    )


def check_mask_per(mask_per: Any) -> int | None:
    """How many examples share a mask of the weights; None if all do."""
    if mask_per == "batch":
        return None
    if mask_per == "example":
        return 1
    if not is_int(mask_per) or mask_per < 1:
        raise ValueError(
            "mask_per must be 'batch', 'example' or a positive integer, the number of "
            f"examples that share a mask, got {shown(mask_per)}"
        )
    return int(mask_per)


def check_noise(noise: Any, mask_per: Any) -> None:
    """Masks or a Gaussian, which has no masks to share."""
    check_choice(noise, "noise")
    check_mask_per(mask_per)
    if noise == "gaussian" and is_int(mask_per):
        raise ValueError(
            "mask_per must not be a number with noise='gaussian', which draws no mask "
            f"that examples could share, got {shown(mask_per)}; leave it out"
        )


def check_inference(inference: Any, activation: Any) -> Inference:
    """The mean network, or a mean of activations, which must then be known."""
    check_choice(inference, "inference")
    if activation is not None:
        check_function(activation, "activation")
    elif inference != "mean":
        raise ValueError(
            f"inference={inference!r} averages the layer's activation over samples, "
            "but activation is None; pass it to the layer, as in "
            "activation=jax.nn.relu, or use inference='mean', which is exact for a "
            "layer without an activation"
        )
    return inference
