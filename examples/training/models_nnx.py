"""The networks of `training.models_linen` in Flax NNX."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import PyTree
from ml_collections import ConfigDict

from dropjax import nnx as djn
from training.layers import is_recurrent, style
from training.transformer import Transformer


class MLP(nnx.Module):
    """Dense layers; DropConnect masks the weights of all but the last."""

    def __init__(
        self, config: ConfigDict, inputs: int, classes: int, rngs: nnx.Rngs
    ) -> None:
        """Create the layers, for ``inputs`` numbers per example."""
        self.style = style(config)
        self.depth = len(config.hidden)
        self.drop = djn.Dropout(**self.style.dropout())
        options = self.style.dropconnect()
        for index, width in enumerate(config.hidden):
            layer = djn.DropConnectLinear(inputs, width, rngs=rngs, **options)
            setattr(self, f"hidden_{index}", layer)
            inputs = width
        kernel_init = self.style.kernel_init()
        self.logits = nnx.Linear(inputs, classes, kernel_init=kernel_init, rngs=rngs)

    def __call__(
        self, x: jax.Array, *, deterministic: bool, rngs: nnx.Rngs
    ) -> jax.Array:
        """Return the logits of a batch of images."""
        noise = {"deterministic": deterministic, "rngs": rngs}
        x = x.reshape(x.shape[0], -1)
        for index in range(self.depth):
            layer = getattr(self, f"hidden_{index}")
            x = self.drop(self.style.activate(layer(x, **noise)), **noise)
        if self.style.method != "multi_sample":
            return self.logits(x)
        logits = self.logits(djn.MultiSampleDropout(self.style.rate)(x, **noise))
        return logits[0] if deterministic else logits


class CNN(nnx.Module):
    """Blocks of convolution, activation and max pooling, then an `MLP`."""

    def __init__(
        self, config: ConfigDict, shape: tuple[int, ...], classes: int, rngs: nnx.Rngs
    ) -> None:
        """Create the layers, for images of this shape."""
        height, width, inputs = shape
        self.style = style(config)
        self.depth = len(config.channels)
        self.drop = djn.Dropout(**self.style.dropout())
        self.drop_maps = djn.SpatialDropout2D(**self.style.dropout("spatial"))
        options = self.style.dropconnect()
        for index, channels in enumerate(config.channels):
            layer = djn.DropConnectConv(inputs, channels, (3, 3), rngs=rngs, **options)
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
            x = nnx.max_pool(
                self.style.activate(layer(x, **noise)), (2, 2), strides=(2, 2)
            )
            x = self.drop_maps(self.drop(x, **noise), **noise)
        return self.head(x, **noise)


class LSTM(nnx.Module):
    """LSTMs over characters; DropConnect masks only their recurrent kernels.

    The wrapper is around the `nnx.RNN`, not the cell: one mask serves all time steps.
    """

    def __init__(self, config: ConfigDict, classes: int, rngs: nnx.Rngs) -> None:
        """Create the layers, for ``classes`` different characters."""
        own = style(config)
        self.classes = classes
        self.hidden = config.hidden
        self.drop = djn.Dropout(**own.dropout())
        inputs = classes
        for index, width in enumerate(config.hidden):
            cell = nnx.LSTMCell(inputs, width, keep_rngs=False, rngs=rngs)
            layer = djn.DropConnect(
                nnx.RNN(cell, rngs=False),
                own.rate_of("dropconnect"),
                where=is_recurrent,
                scaling=own.scaling,
            )
            setattr(self, f"lstm_{index}", layer)
            inputs = width
        self.logits = nnx.Linear(inputs, classes, rngs=rngs)

    def __call__(
        self, x: jax.Array, *, deterministic: bool, rngs: nnx.Rngs
    ) -> jax.Array:
        """Return the logits of the next character at each position of a sequence."""
        noise = {"deterministic": deterministic, "rngs": rngs}
        x = jax.nn.one_hot(x, self.classes)
        for index, width in enumerate(self.hidden):
            start = (jnp.zeros((len(x), width)),) * 2
            layer = getattr(self, f"lstm_{index}")
            x = self.drop(layer(x, initial_carry=start, **noise), **noise)
        return self.logits(x)


# The layers' own random streams, which a key passed to the call overrides.
_UNUSED = 0


def build(
    config: ConfigDict, shape: tuple[int, ...], classes: int
) -> tuple[Callable[..., Any], Callable[..., jax.Array]]:
    """Make the two functions of a `training.models.Model`.

    Args:
      config: the settings; see `training.settings`.
      shape: the shape of one example.
      classes: the number of logits.

    Returns:
      ``init`` and ``apply``.
    """

    def make(rngs: nnx.Rngs) -> nnx.Module:
        if config.model == "mlp":
            return MLP(config, math.prod(shape), classes, rngs)
        if config.model == "cnn":
            return CNN(config, shape, classes, rngs)
        if config.model == "transformer":
            return Transformer(config, shape, classes, rngs)
        return LSTM(config, classes, rngs)

    def init(key: jax.Array) -> PyTree:
        net = make(nnx.Rngs(params=key, dropout=_UNUSED))
        return nnx.to_pure_dict(nnx.state(net, nnx.Param))

    def apply(
        params: PyTree,
        examples: jax.Array,
        key: jax.Array | None,
        deterministic: bool,
        step: jax.Array | None = None,
    ) -> jax.Array:
        del step  # no method of these networks has a scheduled rate
        abstract = nnx.eval_shape(lambda: make(nnx.Rngs(_UNUSED)))
        graph, state, streams = nnx.split(abstract, nnx.Param, ...)
        nnx.replace_by_pure_dict(state, params)
        net = nnx.merge(graph, state, streams)
        rngs = nnx.Rngs() if key is None else nnx.Rngs(dropout=key)
        return net(examples, deterministic=deterministic, rngs=rngs)

    return init, apply
