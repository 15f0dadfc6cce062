"""Training steps of two networks with optional dropping, and their sharding."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import PartitionSpec

import dropjax as dj

RATE = 0.1
DATA, MODEL = "data", "model"

Params: TypeAlias = dict[str, jax.Array]


class Noise(NamedTuple):
    """The dropping in a network.

    Attributes:
      drop: (key, x) -> x, on activations.
      dense: (key, x, kernel) -> product.
      mask: (key, parameters of a block) -> parameters.
    """

    drop: Callable[[jax.Array, jax.Array], jax.Array] = lambda key, x: x
    dense: Callable[[jax.Array, jax.Array, jax.Array], jax.Array] = (
        lambda key, x, kernel: x @ kernel
    )
    mask: Callable[[jax.Array, Params], Params] = lambda key, params: params


NONE = "none"
NOISES = {
    NONE: Noise(),
    "dropout": Noise(drop=lambda key, x: dj.dropout(key, x, RATE)),
    "dropconnect": Noise(mask=lambda key, params: dj.dropconnect(key, params, RATE)),
    "dropconnect_dense": Noise(
        dense=lambda key, x, kernel: dj.dropconnect_dense(key, x, kernel, RATE)
    ),
}


class Net(NamedTuple):
    """A stack of equal blocks.

    Attributes:
      block: (noise, parameters, x, key) -> x.
      shapes: the shapes of one block's parameters.
      shares: the axis of each that is split over the mesh's axis "model", or None.
      x: the shape of the batch on one device.
      depth: the number of blocks.
    """

    block: Callable[[Noise, Params, jax.Array, jax.Array], jax.Array]
    shapes: dict[str, tuple[int, ...]]
    shares: dict[str, int | None]
    x: tuple[int, ...]
    depth: int


def mlp(width: int, batch: int, depth: int) -> Net:
    """Blocks of two dense layers, the inner one four times as wide."""

    def block(noise: Noise, p: Params, x: jax.Array, key: jax.Array) -> jax.Array:
        keys = jax.random.split(key, 3)
        hidden = jax.nn.relu(noise.dense(keys[0], x, p["up"]))
        return noise.dense(keys[1], noise.drop(keys[2], hidden), p["down"])

    shapes = {"up": (width, 4 * width), "down": (4 * width, width)}
    return Net(block, shapes, {"up": 1, "down": 0}, (batch, width), depth)


def transformer(width: int, heads: int, length: int, batch: int, depth: int) -> Net:
    """Pre-norm blocks with dropout in the usual four places."""

    def norm(x: jax.Array, scale: jax.Array) -> jax.Array:
        centred = x - x.mean(-1, keepdims=True)
        return centred * lax.rsqrt(jnp.var(x, -1, keepdims=True) + 1e-6) * scale

    def attend(noise: Noise, p: Params, x: jax.Array, keys: jax.Array) -> jax.Array:
        q, k, v = (
            noise.dense(keys[index], x, p[name]).reshape(*x.shape[:-1], heads, -1)
            for index, name in enumerate("qkv")
        )
        scores = jnp.einsum("bqhe,bkhe->bhqk", q, k) / math.sqrt(width / heads)
        weights = noise.drop(keys[3], jax.nn.softmax(scores))
        mixed = jnp.einsum("bhqk,bkhe->bqhe", weights, v).reshape(x.shape)
        return noise.drop(keys[4], noise.dense(keys[5], mixed, p["out"]))

    def block(noise: Noise, p: Params, x: jax.Array, key: jax.Array) -> jax.Array:
        keys = jax.random.split(key, 10)
        x = x + attend(noise, p, norm(x, p["scale1"]), keys)
        hidden = jax.nn.gelu(noise.dense(keys[6], norm(x, p["scale2"]), p["up"]))
        y = noise.dense(keys[8], noise.drop(keys[7], hidden), p["down"])
        return x + noise.drop(keys[9], y)

    square, wide = (width, width), (width, 4 * width)
    shapes = {"q": square, "k": square, "v": square, "out": square}
    shapes |= {"up": wide, "down": wide[::-1], "scale1": (width,), "scale2": (width,)}
    shares = {"q": 1, "k": 1, "v": 1, "out": 0, "up": 1, "down": 0}
    shares |= {"scale1": None, "scale2": None}
    return Net(block, shapes, shares, (batch, length, width), depth)


def training_step(net: Net, noise: Noise, scanned: bool = True) -> Callable[..., Any]:
    """One step of gradient descent.

    Args:
      net: the net.
      noise: what it drops.
      scanned: whether the blocks are in a scan, their parameters stacked; else they
        are unrolled, and their parameters a list.

    Returns:
      A function of (parameters, key, x) that returns the loss and new parameters.
    """

    def body(x: jax.Array, layer: tuple[Params, jax.Array]) -> tuple[jax.Array, None]:
        params, key = layer
        masking, rest = jax.random.split(key)
        return net.block(noise, noise.mask(masking, params), x, rest), None

    def run(params: Any, keys: jax.Array, x: jax.Array) -> jax.Array:
        if scanned:
            return lax.scan(body, x, (params, keys))[0]
        for layer in zip(params, keys, strict=True):
            x, _ = body(x, layer)
        return x

    def step(params: Any, key: jax.Array, x: jax.Array) -> tuple[jax.Array, Any]:
        def loss(params: Any) -> jax.Array:
            return jnp.mean(run(params, jax.random.split(key, net.depth), x) ** 2)

        value, gradients = jax.value_and_grad(loss)(params)
        return value, jax.tree.map(lambda p, g: p - 0.01 * g, params, gradients)

    return step


def specs(net: Net) -> dict[str, PartitionSpec]:
    """The partition specs of the stacked parameters of all blocks."""
    return {
        name: PartitionSpec(
            None, *(MODEL if axis == share else None for axis in range(len(shape)))
        )
        for (name, shape), share in zip(
            net.shapes.items(), net.shares.values(), strict=True
        )
    }
