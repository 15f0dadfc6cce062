"""The output of a DropConnect layer: one draw in training, a mean in inference."""

import dataclasses
from collections.abc import Callable
from typing import Any, Protocol

import jax
from jaxtyping import Array

from dropjax._checks import check_count, check_inference, check_key, check_real
from dropjax._masks import is_drawn
from dropjax._types import (
    Inference,
    KeyLike,
    MaskPer,
    Noise,
    PyTree,
    RateLike,
    Scaling,
)
from dropjax.functional.weights._dropped import dropped_product
from dropjax.functional.weights._gaussian import mean_activation
from dropjax.functional.weights._linear import Drops, Linear
from dropjax.functional.weights._samples import mean_of_samples

_OTHER_RATES = ("bias_rate", "selected_rate")


class Layer(Protocol):
    """The attributes that the layers of Linen and NNX have in common."""

    mask_per: MaskPer
    noise: Noise
    bias_rate: RateLike | None
    scaling: Scaling
    inference: Inference
    activation: Callable[[Array], Array] | None
    num_samples: int


def is_sampled(layer: Any) -> bool:
    """Whether inference draws samples."""
    if not hasattr(layer, "inference"):
        return False
    return check_inference(layer.inference, layer.activation) != "mean"


def is_drawn_by(layer: Any, rate: RateLike | PyTree, deterministic: bool) -> bool:
    """Whether a layer needs a key, for its rate, a tree of rates, or another rate."""
    off = deterministic and not is_sampled(layer)
    at_one = getattr(layer, "draws_at_one", False)
    others = {name: getattr(layer, name, None) for name in _OTHER_RATES}
    biased = getattr(layer, "use_bias", True)
    # Evaluate all of them, so that each rate is checked.
    drawn = [
        is_drawn(one, off, draws_at_one=at_one, name=name)
        and (biased or name != "bias_rate")
        for name, rates in {"rate": rate, **others}.items()
        for one in jax.tree.leaves(rates)
    ]
    return any(drawn)


def answer(
    key: KeyLike,
    layer: Layer,
    linear: Linear,
    arrays: tuple[Array, Array, Array | None],
    rate: RateLike,
    deterministic: bool,
) -> Array:
    """The activation of a layer's output, or the mean of activations over samples."""
    operands = linear.operands(*arrays)
    options = (layer.scaling, layer.mask_per, layer.noise)
    drops = Drops(rate, layer.bias_rate, *options, deterministic)
    training = dataclasses.replace(drops, deterministic=False)

    def activated(key: KeyLike, drops: Drops = training) -> Array:
        y = dropped_product(key, linear, operands, drops)
        return y if layer.activation is None else layer.activation(y)

    sampled = is_sampled(layer)
    num_samples = check_count(layer.num_samples, "num_samples")
    if not (deterministic and sampled):
        return activated(key, drops)
    if not training.are_drawn(operands.bias):
        return activated(key)
    if layer.inference == "monte_carlo":
        return mean_of_samples(check_key(key), activated, num_samples)
    check_real(operands.x)
    return mean_activation(
        key, linear, operands, training, layer.activation, num_samples
    )
