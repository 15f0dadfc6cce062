"""The nets in Flax Linen.

Whatever the method, the layers bear the same names and so get the same initial
parameters from the same key: two methods differ in their noise alone.
"""

from collections.abc import Callable
from typing import Any

import jax
from flax import linen as nn
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
            x = nn.relu(_dense(self, width, f"hidden_{index}")(x, deterministic))
            x = _drop_units(self, x, deterministic)
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
            x = nn.relu(_conv(self, width, f"conv_{index}")(x, deterministic))
            x = nn.max_pool(x, (2, 2), strides=(2, 2))
            x = _drop_maps(self, x, deterministic)
        head = MLP(self.method, self.rate, self.hidden, self.classes, name="head")
        return head(x, deterministic)


_Layer = Callable[[jax.Array, bool], jax.Array]
_Net = MLP | CNN


def _dense(net: _Net, width: int, name: str) -> _Layer:
    if net.method == "dropconnect":
        return djl.DropConnectDense(width, net.rate, name=name)
    return _always(nn.Dense(width, name=name))


def _conv(net: _Net, width: int, name: str) -> _Layer:
    if net.method == "dropconnect":
        return djl.DropConnectConv(width, (3, 3), net.rate, name=name)
    return _always(nn.Conv(width, (3, 3), name=name))


def _always(layer: Callable[[jax.Array], jax.Array]) -> _Layer:
    return lambda x, deterministic: layer(x)


def _drop_units(net: _Net, x: jax.Array, deterministic: bool) -> jax.Array:
    if net.method == "dropout":
        return djl.Dropout(net.rate)(x, deterministic)
    return x


def _drop_maps(net: _Net, x: jax.Array, deterministic: bool) -> jax.Array:
    if net.method == "spatial":
        return djl.SpatialDropout2D(net.rate)(x, deterministic)
    return _drop_units(net, x, deterministic)


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
    net: _Net
    if config.model == "mlp":
        net = MLP(config.method, config.rate, config.hidden, classes)
    else:
        net = CNN(config.method, config.rate, config.channels, config.hidden, classes)

    def init(key: jax.Array) -> Any:
        images = jax.numpy.zeros((1, *shape))
        return net.init(key, images, deterministic=True)["params"]

    def apply(
        params: Any, images: jax.Array, key: jax.Array | None, deterministic: bool
    ) -> jax.Array:
        rngs = {} if key is None else {"dropout": key}
        return net.apply({"params": params}, images, deterministic, rngs=rngs)

    return init, apply
