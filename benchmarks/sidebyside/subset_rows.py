"""Rows of transformer blocks and MLPs whose dropped parts are not computed."""

import functools
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp

import dropjax
from sidebyside import contenders as who
from sidebyside import training
from sidebyside.timing import Call, Row, scratch

GROUP = "left out"
DROP_PATH = "drop_path"
DROPOUT = "dropout"
EXAMPLES, TOKENS = "subset_branch, examples", "subset_branch, tokens"
UNITS = "structured_dropout_mlp"
RATES = (0.1, 0.4)
UNIT_RATES = (0.1, 0.5)
WIDTH = 256
_DEPTH = 2

# Of (key, x, branch): what a block adds to x.
Residual: TypeAlias = Callable[
    [jax.Array, jax.Array, Callable[[jax.Array], jax.Array]], jax.Array
]


def rows_of(quick: bool) -> Iterator[Row]:
    """Value and gradient, at a low and a high rate, of two blocks and of an MLP."""
    net = (64, 2, 32, 8) if quick else (WIDTH, 4, 512, 8)
    for rate in RATES:
        yield subset_row(*net, rate)
    mlp = (64, 256, 128, 32) if quick else (768, 3072, 1024, 128)
    for rate in UNIT_RATES:
        yield units_row(*mlp, rate)


def subset_row(width: int, heads: int, length: int, batch: int, rate: float) -> Row:
    """Two blocks with each way to drop their branches, and without."""
    settings = {
        "width": width,
        "heads": heads,
        "batch": [batch, length],
        "blocks": _DEPTH,
        "rate": rate,
        "dtype": "float32",
    }
    net = training.transformer(width, heads, length, batch)
    build = functools.partial(_calls, net, rate)
    name = f"branches left out, width {width}, {batch}x{length} tokens, rate {rate}"
    return Row(name, GROUP, settings, build, who.NONE, DROP_PATH)


def units_row(width: int, hidden: int, rows: int, block: int, rate: float) -> Row:
    """An MLP with each way to drop its hidden units, and without."""
    settings = {
        "width": width,
        "hidden": hidden,
        "rows": rows,
        "block_size": block,
        "rate": rate,
        "dtype": "float32",
    }
    shapes = (rows, width), (width, hidden), (hidden, width)
    build = functools.partial(_mlp_calls, shapes, block, rate)
    name = f"units left out, {width}-{hidden}-{width}, {rows} rows, rate {rate}"
    return Row(name, GROUP, settings, build, who.NONE, DROPOUT)


def _mlp_calls(
    shapes: tuple[tuple[int, int], ...], block: int, rate: float
) -> dict[str, Call]:
    keys = jax.random.split(jax.random.key(0), len(shapes))
    x, *kernels = (
        jax.random.normal(key, shape) / shape[0] ** 0.5
        for key, shape in zip(keys, shapes, strict=True)
    )
    inputs = (tuple(kernels), who.threefry_key(), x)

    def plain(drop: Any, kernels: Any, key: jax.Array, x: jax.Array) -> jax.Array:
        hidden = jax.nn.gelu(x @ kernels[0])
        return jnp.mean((drop(key, hidden) @ kernels[1]) ** 2)

    def structured(kernels: Any, key: jax.Array, x: jax.Array) -> jax.Array:
        mlp = dropjax.structured_dropout_mlp
        return jnp.mean(mlp(key, x, *kernels, rate, block_size=block) ** 2)

    def dropped(key: jax.Array, x: jax.Array) -> jax.Array:
        return dropjax.dropout(key, x, rate)

    losses = {
        who.NONE: functools.partial(plain, lambda key, x: x),
        DROPOUT: functools.partial(plain, dropped),
        UNITS: structured,
    }
    return {
        name: _call(jax.value_and_grad(loss, (0, 2)), inputs)
        for name, loss in losses.items()
    }


def _calls(net: training.Net, rate: float) -> dict[str, Call]:
    params, x = training.initial(net, _DEPTH, scanned=False)
    inputs = (params, who.threefry_key(), x)
    return {
        name: _call(jax.value_and_grad(_loss(residual)), inputs)
        for name, residual in _residuals(rate).items()
    }


def _residuals(rate: float) -> dict[str, Residual]:
    def dropped(key: jax.Array, x: jax.Array, branch: Any) -> jax.Array:
        return dropjax.drop_path(key, branch(x), rate)

    def left_out(axis: int, key: jax.Array, x: jax.Array, branch: Any) -> jax.Array:
        return dropjax.subset_branch(key, x, branch, rate, axis=axis)

    return {
        who.NONE: lambda key, x, branch: branch(x),
        DROP_PATH: dropped,
        EXAMPLES: functools.partial(left_out, 0),
        TOKENS: functools.partial(left_out, 1),
    }


def _loss(residual: Residual) -> Callable[..., jax.Array]:
    branches = training.attention_branch, training.dense_branch

    def loss(params: Any, key: jax.Array, x: jax.Array) -> jax.Array:
        keys = iter(jax.random.split(key, len(branches) * len(params)))
        for p in params:
            for branch in branches:
                calm = functools.partial(branch, lambda key, x: x, p, key=key)
                x = x + residual(next(keys), x, calm)
        return jnp.mean(x**2)

    return loss


def _call(function: Callable[..., Any], inputs: tuple) -> Call:
    compiled = jax.jit(function).lower(*inputs).compile()
    flops = compiled.cost_analysis()["flops"]
    facts = {"flops": flops, "scratch_bytes": scratch(compiled)}
    return Call(lambda: compiled(*inputs), facts)
