"""The nets in Flax Linen.

Whatever the method, the layers are the same, all but its own at rate 0, which costs
nothing and draws nothing: two methods differ in their noise alone.
"""

from collections.abc import Callable
from typing import Any

import jax
from flax import linen as nn
from jaxtyping import PyTree
from ml_collections import ConfigDict

from dropjax import linen as djl


class MLP(nn.Module):
    """Dense layers with ReLU; DropConnect masks the weights of all but the last."""

    method: str
    rate: float
    hidden: tuple[int, ...]
    classes: int

    @nn.compact
    def __call__(self, x: jax.Array, deterministic: bool) -> jax.Array:
        """Return the logits of a batch of images."""
        x = x.reshape(x.shape[0], -1)
        for index, width in enumerate(self.hidden):
            rate = _rate(self, "dropconnect")
            layer = djl.DropConnectDense(width, rate, name=f"hidden_{index}")
            x = nn.relu(layer(x, deterministic))
            x = djl.Dropout(_rate(self, "dropout"))(x, deterministic)
        return nn.Dense(self.classes, name="logits")(x)


class CNN(nn.Module):
    """Blocks of convolution, ReLU and max pooling, then an `MLP`."""

    method: str
    rate: float
    channels: tuple[int, ...]
    hidden: tuple[int, ...]
    classes: int

    @nn.compact
    def __call__(self, x: jax.Array, deterministic: bool) -> jax.Array:
        """Return the logits of a batch of images."""
        for index, width in enumerate(self.channels):
            rate = _rate(self, "dropconnect")
            layer = djl.DropConnectConv(width, (3, 3), rate, name=f"conv_{index}")
            x = nn.relu(layer(x, deterministic))
            x = nn.max_pool(x, (2, 2), strides=(2, 2))
            x = djl.Dropout(_rate(self, "dropout"))(x, deterministic)
            x = djl.SpatialDropout2D(_rate(self, "spatial"))(x, deterministic)
        head = MLP(self.method, self.rate, self.hidden, self.classes, name="head")
        return head(x, deterministic)


def _rate(net: MLP | CNN, method: str) -> float:
    return net.rate if net.method == method else 0.0


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
    net: MLP | CNN
    if config.model == "mlp":
        net = MLP(config.method, config.rate, config.hidden, classes)
    else:
        net = CNN(config.method, config.rate, config.channels, config.hidden, classes)

    def init(key: jax.Array) -> PyTree:
        images = jax.numpy.zeros((1, *shape))
        return net.init(key, images, deterministic=True)["params"]

    def apply(
        params: PyTree, images: jax.Array, key: jax.Array | None, deterministic: bool
    ) -> jax.Array:
        rngs = {} if key is None else {"dropout": key}
        return net.apply({"params": params}, images, deterministic, rngs=rngs)

    return init, apply
