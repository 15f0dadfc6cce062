"""The nets in Flax NNX; the same ones as in `training.models_linen`."""

import math
from collections.abc import Callable
from typing import Any

import jax
from flax import nnx
from ml_collections import ConfigDict

from dropjax import nnx as djn


class MLP(nnx.Module):
    """Dense layers with ReLU; DropConnect masks the weights of all but the last."""

    def __init__(
        self, config: ConfigDict, inputs: int, classes: int, rngs: nnx.Rngs
    ) -> None:
        """Make the layers, for ``inputs`` numbers per example."""
        self.depth = len(config.hidden)
        self.drop = _drop_units(config)
        for index, width in enumerate(config.hidden):
            setattr(self, f"hidden_{index}", _dense(config, inputs, width, rngs))
            inputs = width
        self.logits = nnx.Linear(inputs, classes, rngs=rngs)

    def __call__(
        self, x: jax.Array, *, deterministic: bool, rngs: nnx.Rngs
    ) -> jax.Array:
        """Return the logits of a batch of images."""
        noise = {"deterministic": deterministic, "rngs": rngs}
        x = x.reshape(x.shape[0], -1)
        for index in range(self.depth):
            layer = getattr(self, f"hidden_{index}")
            x = self.drop(nnx.relu(layer(x, **noise)), **noise)
        return self.logits(x)


class CNN(nnx.Module):
    """Blocks of convolution, ReLU and max pooling, then an `MLP`."""

    def __init__(
        self, config: ConfigDict, shape: tuple[int, ...], classes: int, rngs: nnx.Rngs
    ) -> None:
        """Make the layers, for images of this shape."""
        height, width, inputs = shape
        self.depth = len(config.channels)
        self.drop = _drop_maps(config)
        for index, channels in enumerate(config.channels):
            setattr(self, f"conv_{index}", _conv(config, inputs, channels, rngs))
            height, width, inputs = height // 2, width // 2, channels
        self.head = MLP(config, height * width * inputs, classes, rngs)

    def __call__(
        self, x: jax.Array, *, deterministic: bool, rngs: nnx.Rngs
    ) -> jax.Array:
        """Return the logits of a batch of images."""
        noise = {"deterministic": deterministic, "rngs": rngs}
        for index in range(self.depth):
            layer = getattr(self, f"conv_{index}")
            x = nnx.max_pool(nnx.relu(layer(x, **noise)), (2, 2), strides=(2, 2))
            x = self.drop(x, **noise)
        return self.head(x, **noise)


class _Always(nnx.Module):
    def __init__(self, layer: Callable[[jax.Array], jax.Array]) -> None:
        self.layer = layer

    def __call__(self, x: jax.Array, **noise: Any) -> jax.Array:
        return self.layer(x)


def _dense(config: ConfigDict, inputs: int, width: int, rngs: nnx.Rngs) -> nnx.Module:
    if config.method == "dropconnect":
        return djn.DropConnectLinear(inputs, width, config.rate, rngs=rngs)
    return _Always(nnx.Linear(inputs, width, rngs=rngs))


def _conv(config: ConfigDict, inputs: int, width: int, rngs: nnx.Rngs) -> nnx.Module:
    if config.method == "dropconnect":
        return djn.DropConnectConv(inputs, width, (3, 3), config.rate, rngs=rngs)
    return _Always(nnx.Conv(inputs, width, (3, 3), rngs=rngs))


def _drop_units(config: ConfigDict) -> nnx.Module:
    if config.method == "dropout":
        return djn.Dropout(config.rate)
    return _Always(nnx.identity)


def _drop_maps(config: ConfigDict) -> nnx.Module:
    if config.method == "spatial":
        return djn.SpatialDropout2D(config.rate)
    return _drop_units(config)


def build(
    config: ConfigDict, shape: tuple[int, ...], classes: int
) -> tuple[Callable[..., Any], Callable[..., jax.Array]]:
    """Make the two functions of a `training.models.Model`.

    Args:
      config: the settings; see `training.settings`.
      shape: the shape of one image.
      classes: the number of logits.

    Returns:
      ``init`` and ``apply``.
    """

    def make(rngs: nnx.Rngs) -> nnx.Module:
        if config.model == "mlp":
            return MLP(config, math.prod(shape), classes, rngs)
        return CNN(config, shape, classes, rngs)

    def init(key: jax.Array) -> Any:
        return nnx.to_pure_dict(nnx.state(make(nnx.Rngs(params=key)), nnx.Param))

    def apply(
        params: Any, images: jax.Array, key: jax.Array | None, deterministic: bool
    ) -> jax.Array:
        graph, state = nnx.split(nnx.eval_shape(lambda: make(nnx.Rngs(0))))
        nnx.replace_by_pure_dict(state, params)
        net = nnx.merge(graph, state)
        rngs = nnx.Rngs() if key is None else nnx.Rngs(dropout=key)
        return net(images, deterministic=deterministic, rngs=rngs)

    return init, apply
