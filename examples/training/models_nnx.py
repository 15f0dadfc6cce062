"""The nets in Flax NNX; the same ones as in `training.models_linen`."""

import math
from collections.abc import Callable
from typing import Any

import jax
from flax import nnx
from jaxtyping import PyTree
from ml_collections import ConfigDict

from dropjax import nnx as djn


class MLP(nnx.Module):
    """Dense layers with ReLU; DropConnect masks the weights of all but the last."""

    def __init__(
        self, config: ConfigDict, inputs: int, classes: int, rngs: nnx.Rngs
    ) -> None:
        """Make the layers, for ``inputs`` numbers per example."""
        self.depth = len(config.hidden)
        self.drop = djn.Dropout(_rate(config, "dropout"))
        for index, width in enumerate(config.hidden):
            rate = _rate(config, "dropconnect")
            layer = djn.DropConnectLinear(inputs, width, rate, rngs=rngs)
            setattr(self, f"hidden_{index}", layer)
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
        self.drop = djn.Dropout(_rate(config, "dropout"))
        self.drop_maps = djn.SpatialDropout2D(_rate(config, "spatial"))
        for index, channels in enumerate(config.channels):
            rate = _rate(config, "dropconnect")
            layer = djn.DropConnectConv(inputs, channels, (3, 3), rate, rngs=rngs)
            setattr(self, f"conv_{index}", layer)
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
            x = self.drop_maps(self.drop(x, **noise), **noise)
        return self.head(x, **noise)


def _rate(config: ConfigDict, method: str) -> float:
    return config.rate if config.method == method else 0.0


# The layers' own random streams, which a key brought by the call overrides.
_UNUSED = 0


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

    def init(key: jax.Array) -> PyTree:
        net = make(nnx.Rngs(params=key, dropout=_UNUSED))
        return nnx.to_pure_dict(nnx.state(net, nnx.Param))

    def apply(
        params: PyTree, images: jax.Array, key: jax.Array | None, deterministic: bool
    ) -> jax.Array:
        abstract = nnx.eval_shape(lambda: make(nnx.Rngs(_UNUSED)))
        graph, state, streams = nnx.split(abstract, nnx.Param, ...)
        nnx.replace_by_pure_dict(state, params)
        net = nnx.merge(graph, state, streams)
        rngs = nnx.Rngs() if key is None else nnx.Rngs(dropout=key)
        return net(images, deterministic=deterministic, rngs=rngs)

    return init, apply
