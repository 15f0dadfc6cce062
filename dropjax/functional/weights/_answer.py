"""What a layer answers: its activation in training, or a mean of it after."""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import jax
from jaxtyping import Array

from dropjax._checks import check_count, check_inference, check_key
from dropjax._masks import is_drawn
from dropjax._types import Inference, KeyLike, MaskPer, Noise, PyTree, RateLike
from dropjax.functional.weights._samples import mean_of_samples, noise_is_drawn

_OTHER_RATES = ("bias_rate", "selected_rate")


class Layer(Protocol):
    """What Linen's and NNX's layers have in common."""

    mask_per: MaskPer
    noise: Noise
    inference: Inference
    activation: Callable[[Array], Array] | None
    num_samples: int


def is_sampled(layer: Any) -> bool:
    """Whether inference needs samples."""
    if not hasattr(layer, "inference"):
        return False
    return check_inference(layer.inference, layer.activation) != "mean"


def is_drawn_by(layer: Any, rate: RateLike | PyTree, deterministic: bool) -> bool:
    """Whether a layer needs a key: for its rate, or a tree of them, or for another."""
    off = deterministic and not is_sampled(layer)
    at_one = getattr(layer, "draws_at_one", False)
    others = {name: getattr(layer, name, None) for name in _OTHER_RATES}
    biased = getattr(layer, "use_bias", True)
    # All of them, so that each is checked.
    drawn = [
        is_drawn(one, off, draws_at_one=at_one, name=name)
        and (biased or name != "bias_rate")
        for name, rates in {"rate": rate, **others}.items()
        for one in jax.tree.leaves(rates)
    ]
    return any(drawn)


def answer(
    layer: Layer,
    functions: tuple[Callable[..., Array], Callable[..., Array]],
    arrays: tuple[KeyLike, Array, Array, RateLike],
    options: Mapping[str, Any],
    deterministic: bool,
) -> Array:
    """The activation of a method, or the mean of it over samples.

    The two functions are the method and the one that samples it from Gaussians, the
    options are those that they have in common.
    """
    method, sampler = functions
    key, x, kernel, rate = arrays
    training = {"mask_per": layer.mask_per, "noise": layer.noise}

    def activated(key: KeyLike, deterministic: bool = False) -> Array:
        given = {**options, **training, "deterministic": deterministic}
        y = method(key, x, kernel, rate, **given)
        return y if layer.activation is None else layer.activation(y)

    sampled = is_sampled(layer)
    num_samples = check_count(layer.num_samples, "num_samples")
    if not (deterministic and sampled):
        return activated(key, deterministic)
    if not noise_is_drawn(rate, options["bias"], options["bias_rate"]):
        return activated(key)
    if layer.inference == "monte_carlo":
        return mean_of_samples(check_key(key), activated, num_samples)
    given = {"num_samples": num_samples, **options}
    return sampler(key, x, kernel, rate, layer.activation, **given)
