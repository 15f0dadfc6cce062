"""The networks in Flax Linen.

The layers are the same for all methods; those of the other methods have rate 0, which
costs nothing and draws nothing. Methods therefore differ only in their noise.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import PyTree
from ml_collections import ConfigDict

from dropjax import linen as djl
from training.decoder import Decoder
from training.layers import ON_TEXT, Style, is_recurrent, style
from training.perceptron import Perceptron
from training.residual import Residual


class MLP(nn.Module):
    """Dense layers; DropConnect masks the weights of all but the last."""

    style: Style
    hidden: tuple[int, ...]
    classes: int

    @nn.compact
    def __call__(self, x: jax.Array, deterministic: bool) -> jax.Array:
        """Return the logits of a batch of images."""
        x = x.reshape(x.shape[0], -1)
        options, kernel_init = self.style.dropconnect(), self.style.kernel_init()
        for index, width in enumerate(self.hidden):
            layer = djl.DropConnectDense(width, name=f"hidden_{index}", **options)
            x = self.style.activate(layer(x, deterministic))
            x = djl.Dropout(**self.style.dropout())(x, deterministic)
        head = nn.Dense(self.classes, kernel_init=kernel_init, name="logits")
        if self.style.method != "multi_sample":
            return head(x)
        logits = head(djl.MultiSampleDropout(self.style.rate)(x, deterministic))
        return logits[0] if deterministic else logits


class CNN(nn.Module):
    """Blocks of convolution, activation and max pooling, then an `MLP`."""

    style: Style
    channels: tuple[int, ...]
    hidden: tuple[int, ...]
    classes: int

    @nn.compact
    def __call__(self, x: jax.Array, deterministic: bool) -> jax.Array:
        """Return the logits of a batch of images."""
        options = self.style.dropconnect()
        for index, width in enumerate(self.channels):
            name = f"conv_{index}"
            layer = djl.DropConnectConv(width, (3, 3), name=name, **options)
            x = self.style.activate(layer(x, deterministic))
            x = nn.max_pool(x, (2, 2), strides=(2, 2))
            x = djl.Dropout(**self.style.dropout())(x, deterministic)
            drop_maps = djl.SpatialDropout2D(**self.style.dropout("spatial"))
            x = drop_maps(x, deterministic)
        head = MLP(self.style, self.hidden, self.classes, name="head")
        return head(x, deterministic)


class LSTM(nn.Module):
    """LSTMs over characters; DropConnect masks only their recurrent kernels.

    The wrapper is around the `nn.RNN`, not the cell: one mask serves all time steps.
    """

    style: Style
    hidden: tuple[int, ...]
    classes: int

    @nn.compact
    def __call__(self, x: jax.Array, deterministic: bool) -> jax.Array:
        """Return the logits of the next character at each position of a sequence."""
        x = jax.nn.one_hot(x, self.classes)
        for index, width in enumerate(self.hidden):
            # With parent=None the cell belongs to the RNN, and is wrapped with it.
            cell = nn.OptimizedLSTMCell(width, parent=None)
            rnn = nn.RNN(cell, name=f"lstm_{index}")
            rate = self.style.rate_of("dropconnect")
            layer = djl.DropConnect(
                rnn, rate, where=is_recurrent, scaling=self.style.scaling
            )
            x = layer(x, deterministic=deterministic)
            x = djl.Dropout(**self.style.dropout())(x, deterministic)
        return nn.Dense(self.classes, name="logits")(x)


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
    net: nn.Module
    if config.model == "mlp":
        net = MLP(style(config), config.hidden, classes)
    elif config.model == "cnn":
        net = CNN(style(config), config.channels, config.hidden, classes)
    elif config.model == "residual":
        net = Residual(config.method, config.rate, config.channels, classes)
    elif config.model == "decoder":
        net = Decoder(
            method=config.method,
            rate=config.rate,
            early_steps=config.early_steps,
            hidden=config.hidden,
            heads=config.heads,
            expansion=config.expansion,
            classes=classes,
        )
    elif config.model == "perceptron":
        net = Perceptron(config.method, config.rate, config.hidden, classes)
    else:
        net = LSTM(style(config), config.hidden, classes)

    def init(key: jax.Array) -> PyTree:
        dtype = jnp.int32 if config.model in ON_TEXT else jnp.float32
        examples = jnp.zeros((1, *shape), dtype)
        return net.init(key, examples, deterministic=True)["params"]

    def apply(
        params: PyTree,
        examples: jax.Array,
        key: jax.Array | None,
        deterministic: bool,
        step: jax.Array | None = None,
    ) -> jax.Array:
        rngs = {} if key is None else {"dropout": key}
        # The only network with a method whose rate is scheduled.
        more = {"step": step} if isinstance(net, Decoder) else {}
        return net.apply({"params": params}, examples, deterministic, **more, rngs=rngs)

    return init, apply
