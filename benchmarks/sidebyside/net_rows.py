"""Rows of whole nets: training steps with and without dropout, and compile time."""

import functools
from collections.abc import Iterator, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

import dropjax.linen as djl
from sidebyside import contenders as who
from sidebyside import training
from sidebyside.contenders import RATE, Contender
from sidebyside.timing import Call, Row, jitted, scratch

SITES = 48


def training_rows(quick: bool) -> Iterator[Row]:
    """An MLP, a ResNet-ish CNN and transformer blocks, unrolled and scanned."""
    nets = {
        "mlp": (training.mlp(1024, 256), 4),
        "resnet": (training.resnet(64, 32, 16), 2),
        "transformer": (training.transformer(768, 12, 128, 8), 2),
    }
    if quick:
        nets = {"mlp": (training.mlp(512, 128), 2)}
    for kind, (net, depth) in nets.items():
        for scanned in (False, True):
            yield _training_row(kind, net, depth, scanned)


def _training_row(kind: str, net: training.Net, depth: int, scanned: bool) -> Row:
    form = "scanned" if scanned else "unrolled"
    settings = {
        "net": kind,
        "batch": list(net.x),
        "blocks": depth,
        "form": form,
        "rate": RATE,
        "dropped_elements_per_block": training.dropped_elements(net),
    }
    build = functools.partial(_training_calls, net, depth, scanned)
    name = f"training step of a {kind}, {form}"
    return Row(name, "training step", settings, build, who.NONE, who.FLAX)


def _training_calls(net: training.Net, depth: int, scanned: bool) -> dict[str, Call]:
    drops = {
        who.NONE: Contender(lambda key, x: x, who.threefry_key()),
        who.FLAX: Contender(who.flax_drop(RATE), who.threefry_key()),
        who.OURS: Contender(who.dropjax_drop(RATE), who.threefry_key()),
        who.OURS_FAST: Contender(who.dropjax_drop(RATE), who.fast_key()),
        who.FLAX_FAST: Contender(who.flax_drop(RATE), who.fast_key()),
    }
    elements = training.dropped_elements(net) * depth
    grown = functools.partial(_growth, net, depth, scanned)
    plain = grown(drops[who.NONE])
    params, x = training.initial(net, depth, scanned=scanned)
    calls = {}
    for name, one in drops.items():
        step = training.training_step(net, one.drop, depth, scanned=scanned)
        residual = (grown(one) - plain) / elements
        inputs = [(params, one.key, x)]
        calls[name] = jitted(step, inputs, residual_bytes_per_element=residual)
    return calls


def _growth(net: training.Net, depth: int, scanned: bool, one: Contender) -> int:
    """Scratch memory of a net of twice the depth, less that of the net."""

    def needed(depth: int) -> int:
        step = training.training_step(net, one.drop, depth, scanned=scanned)
        shapes = jax.eval_shape(lambda: training.initial(net, depth, scanned=scanned))
        lowered = jax.jit(step).lower(shapes[0], one.key, shapes[1])
        return scratch(lowered.compile())

    return needed(2 * depth) - needed(depth)


def compile_row(quick: bool) -> Row:
    """How long a net with many dropouts takes from Python to a program."""
    sites = 6 if quick else SITES
    build = functools.partial(_compile_calls, sites)
    name = f"trace and compile a net with {sites} dropouts"
    repeats = 2 if quick else None
    settings = {"sites": sites, "rate": RATE, "shape": [256, 256]}
    return Row(name, "compile", settings, build, None, who.FLAX, repeats)


def _compile_calls(sites: int) -> dict[str, Call]:
    class Net(nn.Module):
        dropout: Sequence[type[nn.Module]]

        @nn.compact
        def __call__(self, x: jax.Array) -> jax.Array:
            for _ in range(sites):
                x = nn.relu(nn.Dense(x.shape[-1])(x))
                for kind in self.dropout:
                    x = kind(RATE, deterministic=False)(x)
            return x

    def call(dropout: Sequence[type[nn.Module]], key: jax.Array) -> Call:
        net, x = Net(dropout), jax.ShapeDtypeStruct((256, 256), jnp.float32)
        params = jax.eval_shape(Net(()).init, key, x)

        def loss(params: Any, x: jax.Array, key: jax.Array) -> jax.Array:
            return net.apply(params, x, rngs={"dropout": key}).sum()

        def run() -> jax.stages.Compiled:
            jax.clear_caches()
            return jax.jit(jax.grad(loss)).lower(params, x, key).compile()

        return Call(run)

    slow, fast = who.threefry_key(), who.fast_key()
    return {
        who.NONE: call((), slow),
        who.FLAX: call((nn.Dropout,), slow),
        who.OURS: call((djl.Dropout,), slow),
        who.OURS_FAST: call((djl.Dropout,), fast),
        who.FLAX_FAST: call((nn.Dropout,), fast),
    }
