"""Rows of networks: training steps with and without dropout, and compile time."""

import functools
from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias

import flax.linen as nn
import jax
import jax.numpy as jnp

import dropjax.linen as djl
from sidebyside import contenders as who
from sidebyside import training
from sidebyside.contenders import RATE, Contender
from sidebyside.timing import Call, Row, jitted, scratch

SITES = 48

Nets: TypeAlias = dict[str, tuple[training.Net, int]]


def rows_of(nets: Nets) -> Iterator[Row]:
    """Training steps of nets of so many blocks, unrolled and scanned."""
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
    drops = who.in_training()
    elements = training.dropped_elements(net)
    grown = functools.partial(growth, net, depth, scanned)
    plain = grown(drops[who.NONE])
    params, x = training.initial(net, depth, scanned=scanned)
    calls = {}
    for name, one in drops.items():
        step = training.training_step(net, one.drop, depth, scanned=scanned)
        residual = (grown(one) - plain) / elements
        inputs = [(params, one.key, x)]
        calls[name] = jitted(step, inputs, residual_bytes_per_element=residual)
    return calls


def growth(net: training.Net, depth: int, scanned: bool, one: Contender) -> float:
    """The bytes of scratch memory that each further block needs."""

    def needed(depth: int) -> int:
        step = training.training_step(net, one.drop, depth, scanned=scanned)
        shapes = jax.eval_shape(lambda: training.initial(net, depth, scanned=scanned))
        lowered = jax.jit(step).lower(shapes[0], one.key, shapes[1])
        return scratch(lowered.compile())

    # The compiler packs its buffers with some waste, which many blocks make small; a
    # scan takes no longer to compile for it.
    near, far = (8, 40) if scanned else (depth, 2 * depth)
    return (needed(far) - needed(near)) / (far - near)


def compile_row(sites: int = SITES, repeats: int | None = None) -> Row:
    """How long a net with many dropouts takes from Python to a program."""
    build = functools.partial(_compile_calls, sites)
    name = f"trace and compile a net with {sites} dropouts"
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
