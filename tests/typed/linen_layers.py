"""Linen layers and models, as users write them."""

from typing import assert_type

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

import dropjax.linen as djl

key = jax.random.key(0)
x = jnp.ones((4, 8))


class Net(nn.Module):
    rate: float = 0.5

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        x = nn.relu(
            djl.DropConnectDense(16, rate=self.rate)(x, deterministic=not train)
        )
        x = djl.Dropout(self.rate, deterministic=not train)(x)
        x = x + djl.DropPath(0.1)(x, not train)
        hidden: Array = djl.DropConnect(nn.Dense(8), self.rate)(
            x, deterministic=not train
        )
        y: Array = djl.LayerDrop(nn.Dense(8), 0.2)(hidden, deterministic=not train)
        return y

    def width(self) -> int:
        return 16


def halved(rate: Array) -> Array:
    return 0.5 * rate


def models() -> None:
    model = Net()
    variables = model.init(key, x, train=False)
    logits = model.apply(variables, x, train=True, rngs={"dropout": key})
    assert isinstance(logits, Array)
    rates = djl.rates(model, x, train=True)
    weaker = jax.tree.map(halved, rates)
    model.apply({**variables, "rates": weaker}, x, train=True, rngs={"dropout": key})


def layers() -> None:
    maps = jnp.ones((4, 8, 8, 3))
    images: list[djl.SpatialDropout2D | djl.Cutout | djl.DropBlock2D] = [
        djl.SpatialDropout2D(0.5, deterministic=True),
        djl.Cutout(0.5, size=2, deterministic=True),
        djl.DropBlock2D(0.1, block_size=3, deterministic=True),
    ]
    for layer in images:
        layer.apply({}, maps)
    dropout: nn.Dropout = djl.Dropout(0.5)
    dropout.apply({}, x, deterministic=True)
    djl.AlphaDropout(0.5).apply({}, x, deterministic=True)
    djl.GaussianDropout(0.5).apply({}, x, deterministic=True)
    rnn = nn.RNN(djl.Zoneout(nn.LSTMCell(4), 0.1, deterministic=True))
    rnn.init(key, jnp.ones((2, 7, 3)))
    bound = djl.DropPath(0.5, mode="batch").bind({}, rngs={"dropout": key})
    assert_type(bound((x, x), deterministic=False), tuple[Array, Array])


models()
layers()
