"""Inference with trained networks: the mean network, or the method of the paper.

A network that was trained with DropConnect represents all networks its masks define.
The mean network scales its weights; Wan et al., 2013, treat the inputs of an activation
as Gaussian instead, and average the activation over samples. Both are compared here
with the same averages in closed form.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree
from ml_collections import ConfigDict

import dropjax as dj
from dropjax import inference
from training import ensemble, layers, steps
from training.data import Split
from training.models import Model

Form = Callable[[jax.Array, PyTree, jax.Array], jax.Array]
_Layer = Callable[..., jax.Array]
_MEANS = {
    "relu": inference.relu_mean,
    "sigmoid": inference.sigmoid_mean,
    "tanh": inference.tanh_mean,
}
_BATCH = 500


def forms(config: ConfigDict, model: Model) -> dict[str, Form]:
    """Return the forms of inference available for an experiment's network.

    Args:
      config: the settings; see `training.settings`.
      model: the network.

    Returns:
      Functions ``(key, params, inputs) -> logits`` of one network, by name.
    """
    mean: dict[str, Form] = {
        "mean network": lambda key, params, inputs: model.apply(
            params, inputs, None, True
        )
    }
    if config.model != "mlp" or config.method != "dropconnect":
        return mean
    return mean | {
        "closed form": _gaussian_mlp(config, _closed_form),
        "Gaussian sampling": _gaussian_mlp(config, _sampling),
    }


def measure(
    forms: Mapping[str, Form], params: PyTree, split: Split
) -> dict[str, dict[str, object]]:
    """Measure several networks, and their vote, with each form of inference.

    Args:
      forms: see `forms`.
      params: the networks' parameters, with a first axis of networks.
      split: images to measure them on.

    Returns:
      The results of `training.ensemble.errors`, by name.
    """
    return {
        name: ensemble.errors(_probabilities(form, params, split), split.labels)
        for name, form in forms.items()
    }


def _probabilities(form: Form, params: PyTree, split: Split) -> np.ndarray:
    @jax.jit
    def batch(key: jax.Array, inputs: jax.Array) -> jax.Array:
        def one(params: PyTree) -> jax.Array:
            return jax.nn.softmax(form(key, params, steps.as_numbers(inputs)))

        return jax.lax.map(one, params)

    key = jax.random.key(0, impl=dj.fast_prng)
    starts = range(0, len(split), _BATCH)
    parts = [
        batch(jax.random.fold_in(key, start), split.inputs[start : start + _BATCH])
        for start in starts
    ]
    return np.concatenate(parts, axis=1)


def _gaussian_mlp(config: ConfigDict, mean_activation: _Layer) -> Form:
    style, depth = layers.style(config), len(config.hidden)
    options = {
        "rate": style.rate,
        "bias_rate": style.rate if style.drop_biases else None,
        "scaling": style.scaling,
    }

    def apply(key: jax.Array, params: PyTree, inputs: jax.Array) -> jax.Array:
        x = inputs.reshape(len(inputs), -1)
        for index in range(depth):
            layer, own = params[f"hidden_{index}"], jax.random.fold_in(key, index)
            weights = {"kernel": layer["kernel"], "bias": layer["bias"]}
            x = mean_activation(config, own, x, **weights, **options)
        last = params["logits"]
        return jnp.dot(x, last["kernel"]) + last["bias"][None]

    return apply


def _closed_form(
    config: ConfigDict, key: jax.Array, x: jax.Array, **options: Any
) -> jax.Array:
    return _MEANS[config.activation](*dj.dropconnect_moments(x, **options))


def _sampling(
    config: ConfigDict, key: jax.Array, x: jax.Array, **options: Any
) -> jax.Array:
    return dj.dropconnect_gaussian(
        key,
        x,
        activation=layers.ACTIVATIONS[config.activation],
        num_samples=config.samples,
        **options,
    )
