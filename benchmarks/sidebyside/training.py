"""Training steps of three networks, with a given dropout or without."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
from jax import lax

from sidebyside.contenders import Drop

Params: TypeAlias = dict[str, jax.Array]
Block: TypeAlias = Callable[[Drop, Params, jax.Array, jax.Array], jax.Array]


class Net(NamedTuple):
    """Equal blocks on top of each other.

    Attributes:
      block: applies one block to (drop, parameters, x, key).
      shapes: the shapes of one block's parameters.
      x: the shape of a batch, which every block keeps.
    """

    block: Block
    shapes: dict[str, tuple[int, ...]]
    x: tuple[int, ...]


def mlp(width: int, batch: int) -> Net:
    """A dense layer, ReLU and dropout."""

    def block(drop: Drop, p: Params, x: jax.Array, key: jax.Array) -> jax.Array:
        return drop(key, jax.nn.relu(x @ p["kernel"] + p["bias"]))

    return Net(block, {"kernel": (width, width), "bias": (width,)}, (batch, width))


def resnet(channels: int, side: int, batch: int) -> Net:
    """Two convolutions and a shortcut, dropout between them as in wide ResNets."""

    def conv(x: jax.Array, kernel: jax.Array) -> jax.Array:
        layout = ("NHWC", "HWIO", "NHWC")
        return lax.conv_general_dilated(
            x, kernel, (1, 1), "SAME", dimension_numbers=layout
        )

    def block(drop: Drop, p: Params, x: jax.Array, key: jax.Array) -> jax.Array:
        inner = jax.nn.relu(conv(jax.nn.relu(x), p["first"]))
        return x + conv(drop(key, inner), p["second"])

    kernel = (3, 3, channels, channels)
    shapes = {"first": kernel, "second": kernel}
    return Net(block, shapes, (batch, side, side, channels))


def transformer(width: int, heads: int, length: int, batch: int) -> Net:
    """A pre-norm block, dropout at the four places of the usual one."""

    def block(drop: Drop, p: Params, x: jax.Array, key: jax.Array) -> jax.Array:
        keys = jax.random.split(key, 4)
        x = x + drop(keys[1], attention_branch(drop, p, x, keys[0]))
        return x + drop(keys[3], dense_branch(drop, p, x, keys[2]))

    shapes = {
        "qkv": (width, 3, heads, width // heads),
        "out": (heads, width // heads, width),
        "up": (width, 4 * width),
        "down": (4 * width, width),
        "scale1": (width,),
        "scale2": (width,),
    }
    return Net(block, shapes, (batch, length, width))


def attention_branch(drop: Drop, p: Params, x: jax.Array, key: jax.Array) -> jax.Array:
    """A norm and self-attention, dropout of its weights."""
    q, k, v = jnp.einsum("bld,dnhe->nbhle", _norm(x, p["scale1"]), p["qkv"])
    scores = jnp.einsum("bhqe,bhke->bhqk", q, k) / math.sqrt(q.shape[-1])
    weights = drop(key, jax.nn.softmax(scores))
    return jnp.einsum("bhqk,bhke,hed->bqd", weights, v, p["out"])


def dense_branch(drop: Drop, p: Params, x: jax.Array, key: jax.Array) -> jax.Array:
    """A norm and two dense layers, dropout between them."""
    hidden = jax.nn.gelu(_norm(x, p["scale2"]) @ p["up"])
    return drop(key, hidden) @ p["down"]


def _norm(x: jax.Array, scale: jax.Array) -> jax.Array:
    centred = x - x.mean(-1, keepdims=True)
    return centred * lax.rsqrt(jnp.var(x, -1, keepdims=True) + 1e-6) * scale


def training_step(net: Net, drop: Drop, depth: int, *, scanned: bool) -> Callable:
    """One step of gradient descent on a net of `depth` blocks.

    Returns:
      A function of (parameters, key, x) that returns the loss and new parameters.
    """

    def layers(params: Any, x: jax.Array, keys: jax.Array) -> jax.Array:
        if not scanned:
            for p, key in zip(params, keys, strict=True):
                x = net.block(drop, p, x, key)
            return x

        def body(x: jax.Array, layer: tuple) -> tuple[jax.Array, None]:
            return net.block(drop, layer[0], x, layer[1]), None

        return lax.scan(body, x, (params, keys))[0]

    def step(params: Any, key: jax.Array, x: jax.Array) -> tuple[jax.Array, Any]:
        def loss(params: Any) -> jax.Array:
            return jnp.mean(layers(params, x, jax.random.split(key, depth)) ** 2)

        value, gradients = jax.value_and_grad(loss)(params)
        return value, jax.tree.map(lambda p, g: p - 0.01 * g, params, gradients)

    return step


def initial(net: Net, depth: int, *, scanned: bool) -> tuple[Any, jax.Array]:
    """Parameters, stacked where they are scanned over, and a batch."""
    keys = jax.random.split(jax.random.key(1), depth)
    batch = jax.random.normal(jax.random.key(2), net.x)
    if scanned:
        return jax.vmap(lambda key: _block_params(net, key))(keys), batch
    return [_block_params(net, key) for key in keys], batch


def dropped_elements(net: Net) -> int:
    """The elements per block that go through a dropout."""
    sizes = []

    def record(key: jax.Array, x: jax.Array) -> jax.Array:
        sizes.append(x.size)
        return x

    def trace(key: jax.Array, x: jax.Array) -> jax.Array:
        return net.block(record, _block_params(net, key), x, key)

    jax.eval_shape(trace, jax.random.key(0), jax.ShapeDtypeStruct(net.x, jnp.float32))
    return sum(sizes)


def _block_params(net: Net, key: jax.Array) -> Params:
    keys = jax.random.split(key, len(net.shapes))
    return {
        name: jax.random.normal(key, shape) / math.sqrt(math.prod(shape[:-1]))
        for key, (name, shape) in zip(keys, net.shapes.items(), strict=True)
    }
