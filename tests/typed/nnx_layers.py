"""NNX layers and models, as users write them."""

from typing import assert_type

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array

import dropjax as dj
import dropjax.nnx as djn

x = jnp.ones((4, 8))


class Net(nnx.Module):
    def __init__(self, rate: float, rngs: nnx.Rngs) -> None:
        self.dense = djn.DropConnectLinear(8, 16, rate=rate, rngs=rngs)
        self.dropout = djn.Dropout(rate, rngs=rngs)
        self.path = djn.DropPath(0.1, mode="row", rngs=rngs)
        self.wrapped = djn.DropConnect(nnx.Linear(16, 8, rngs=rngs), rate, rngs=rngs)
        self.block = djn.LayerDrop(nnx.Linear(8, 8, rngs=rngs), 0.2, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        x = self.dropout(nnx.relu(self.dense(x)))
        x = x + self.path(x)
        hidden: Array = self.wrapped(x)
        logits: Array = self.block(hidden)
        return logits


def models() -> None:
    model = Net(0.5, nnx.Rngs(0))
    assert_type(model(x), Array)
    djn.set_rates(model, 0.1)
    djn.set_rates(model, lambda path, layer: 0.5 * layer.rate)
    djn.set_rates(model, jnp.float32(0.3), where=lambda path, layer: path == "dropout")
    model.eval()  # type: ignore[no-untyped-call]  # flax leaves it untyped
    assert_type(model(x), Array)


def layers() -> None:
    rngs = nnx.Rngs(0)
    maps = jnp.ones((4, 8, 8, 3))
    assert_type(djn.SpatialDropout2D(0.5, rngs=rngs)(maps), Array)
    assert_type(djn.Cutout(0.5, 2, rngs=rngs)(maps), Array)
    assert_type(djn.DropBlock2D(0.1, block_size=3, rngs=rngs)(maps), Array)
    assert_type(djn.AlphaDropout(0.5, rngs=rngs)(x, deterministic=True), Array)
    assert_type(djn.GaussianDropout(0.5)(x, rngs=jax.random.key(0)), Array)
    assert_type(djn.DropPath(0.5, rngs=rngs)((x, x)), tuple[Array, Array])
    dropout: nnx.Dropout = djn.Dropout(0.5, rngs=rngs)
    dropout(x)
    rnn = nnx.RNN(djn.Zoneout(nnx.LSTMCell(3, 4, rngs=rngs), 0.1, rngs=rngs))
    rnn(jnp.ones((2, 7, 3)))


def lazily() -> None:
    layer = dj.nnx.Dropout(0.5, rngs=nnx.Rngs(0))
    assert_type(layer(x), Array)
    assert_type(dj.linen.Dropout(0.5), dj.linen.Dropout)


models()
layers()
lazily()
