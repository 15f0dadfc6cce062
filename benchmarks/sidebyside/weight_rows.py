"""Rows of DropConnect in a dense layer: a mask per example, Gaussian noise, moments."""

import functools
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp

import dropjax
from sidebyside import contenders as who
from sidebyside.contenders import Contender
from sidebyside.timing import Call, Row, both_ways, jitted

DENSE = "dense layer"
EINSUM = "bernoulli and einsum"
EINSUM_FAST = f"{EINSUM}, fast key"
PACKAGE = "torch, dropconnect"
NOISE = "dropjax, gaussian noise"
MOMENTS = "dropjax, moments"
EXAMPLES = "dropconnect per example"
GAUSSIAN = "dropconnect without masks"
QUICK = "32x256x256"
PASSES = ("forward", "forward+backward")


def rows_of(quick: bool) -> Iterator[Row]:
    """A mask per example at two rates and in a wide layer; what draws no masks."""
    batch, width = (32, 256) if quick else (128, 800)
    for rate in (0.5,) if quick else (0.5, 0.3):
        for passes in PASSES:
            yield examples_row(batch, width, rate, passes)
    if not quick:
        for passes in PASSES:
            yield examples_row(256, 4096, 0.5, passes, plain=False)
    for passes in PASSES:
        yield gaussian_row(batch, width, passes)


def examples_row(
    batch: int, width: int, rate: float, passes: str, *, plain: bool = True
) -> Row:
    """A mask of the weights for every example; `plain` ways need its whole memory."""
    build = functools.partial(_examples_calls, batch, width, rate, passes, plain)
    baseline = EINSUM if plain else who.OURS
    repeats = None if plain else 3
    return _row(EXAMPLES, batch, width, rate, passes, build, baseline, repeats)


def gaussian_row(batch: int, width: int, passes: str) -> Row:
    """Noise of the same mean and variance, and these two themselves."""
    build = functools.partial(_gaussian_calls, batch, width, passes)
    return _row(GAUSSIAN, batch, width, 0.5, passes, build, DENSE)


def _row(
    group: str,
    batch: int,
    width: int,
    rate: float,
    passes: str,
    build: Callable[[], dict[str, Call]],
    baseline: str,
    repeats: int | None = None,
) -> Row:
    shape = [batch, width, width]
    settings = {"shape": shape, "dtype": "float32", "rate": rate, "pass": passes}
    name = f"{group} {'x'.join(map(str, shape))} rate {rate} {passes}"
    return Row(name, group, settings, build, DENSE, baseline, repeats)


def _examples_calls(
    batch: int, width: int, rate: float, passes: str, plain: bool
) -> dict[str, Call]:
    def ours(key: Any, x: jax.Array, w: jax.Array) -> jax.Array:
        return dropjax.dropconnect_dense(key, x, w, rate, mask_per="example")

    def einsum(key: Any, x: jax.Array, w: jax.Array) -> jax.Array:
        kept = jax.random.bernoulli(key, 1 - rate, (batch, *w.shape))
        return jnp.einsum("bi,bio->bo", x, jnp.where(kept, w / (1 - rate), 0))

    found = {DENSE: _dense()}
    if plain:
        found[EINSUM] = Contender(einsum, who.threefry_key())
        found[EINSUM_FAST] = Contender(einsum, who.fast_key())
    found[who.OURS] = Contender(ours, who.threefry_key())
    found[who.OURS_FAST] = Contender(ours, who.fast_key())
    calls = _calls(found, batch, width, passes)
    return {**calls, **(_package_calls(batch, width, rate, passes) if plain else {})}


def _gaussian_calls(batch: int, width: int, passes: str) -> dict[str, Call]:
    def noise(key: Any, x: jax.Array, w: jax.Array) -> jax.Array:
        return dropjax.dropconnect_dense(key, x, w, 0.5, noise="gaussian")

    def moments(key: Any, x: jax.Array, w: jax.Array) -> jax.Array:
        return jnp.stack(dropjax.dropconnect_moments(x, w, 0.5))

    found = {
        DENSE: _dense(),
        NOISE: Contender(noise, who.threefry_key()),
        f"{NOISE}, fast key": Contender(noise, who.fast_key()),
        MOMENTS: Contender(moments, who.threefry_key()),
    }
    return _calls(found, batch, width, passes)


def _dense() -> Contender:
    return Contender(lambda key, x, w: x @ w, who.threefry_key())


def _calls(
    found: dict[str, Contender], batch: int, width: int, passes: str
) -> dict[str, Call]:
    arrays = jnp.ones((batch, width)), jnp.ones((width, width))
    # Of the layer's own product: there and back it is three.
    flops = 2.0 * batch * width**2 * (1 if passes == "forward" else 3)
    calls = {}
    for name, one in found.items():
        inputs = (one.key, *arrays)
        if passes == "forward":
            calls[name] = jitted(one.drop, [inputs], flops=flops)
            continue
        y = jax.eval_shape(one.drop, *inputs)
        inputs = (*inputs, jnp.ones(y.shape))
        calls[name] = jitted(both_ways(one.drop), [inputs], flops=flops)
    return calls


def _package_calls(batch: int, width: int, rate: float, passes: str) -> dict[str, Call]:
    """The package dropconnect, on torch: there where both are installed."""
    if {"torch", "dropconnect"} & set(who.absent()):
        return {}
    import torch
    from dropconnect import Dropconnect

    # The package makes its masks on the CPU.
    layer = Dropconnect(width, width, bias=False, p=rate)
    x = torch.ones(batch, width, requires_grad=passes != "forward")

    def run() -> object:
        x.grad = layer.weight.grad = None
        if passes == "forward":
            with torch.no_grad():
                return layer(x)
        layer(x).sum().backward()
        return x.grad

    return {PACKAGE: Call(run)}
