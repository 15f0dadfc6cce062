"""All rows of the benchmark, in full and in quick form."""

import functools
import math
from collections.abc import Iterator

import jax
import jax.numpy as jnp

from sidebyside import (
    attention_rows,
    memory,
    method_rows,
    model_rows,
    subset_rows,
    training,
    weight_rows,
)
from sidebyside import contenders as who
from sidebyside.contenders import RATE, Contender
from sidebyside.net_rows import SITES, Nets, compile_row, rows_of
from sidebyside.timing import Call, Row, both_ways, input_sets, jitted

SCALE = 1.125
MIB = 2**20
FLAX_256 = f"{who.FLAX}, 256"


def all_rows(*, quick: bool) -> list[Row]:
    """Every row.

    Dropout in both dtypes runs forward and forward+backward at rate 0.1, in cache and
    at 64 MiB, there in fresh and in reused memory; rate 0.5 and 256 MiB, which change
    little, run forward only.

    Args:
      quick: a few of the rows, with small nets.
    """
    rows = [
        *_dropout_rows(quick),
        *(() if quick else _vector_rows()),
        *_spatial_rows(quick),
        _tree_row(quick),
        *weight_rows.rows_of(quick),
        *rows_of(_nets(quick)),
        *subset_rows.rows_of(quick),
        compile_row(*((6, 2) if quick else (SITES, None))),
        eager_row(),
        *(() if quick else method_rows.rows_of()),
        *(() if quick else attention_rows.rows_of()),
        *(() if quick else model_rows.rows_of()),
    ]
    # Last: what has been kept once is handed out again, whatever is chosen later.
    return sorted(rows, key=lambda row: row.settings.get("memory") == memory.REUSED)


def _dropout_rows(quick: bool) -> Iterator[Row]:
    for dtype in ("float32", "bfloat16"):
        small, large = (512, 1024), (4096, 4096 * 4 // jnp.dtype(dtype).itemsize)
        if quick:
            cases = [(large, RATE, False)]
        else:
            cases = [
                (small, RATE, False),
                (small, RATE, True),
                (large, RATE, False),
                (large, RATE, True),
                (large, 0.5, False),
                ((4 * large[0], large[1]), RATE, False),
            ]
        for shape, rate, backward in cases:
            for how in _memories(shape is not small):
                yield array_row(
                    "dropout", shape, dtype, rate, backward=backward, memory_is=how
                )
    if quick:
        yield array_row("dropout", (512, 1024), "float32", RATE, backward=True)


def _memories(large: bool) -> tuple[str, ...]:
    """Both ways where they differ: large arrays in the system's memory, under glibc."""
    both = large and jax.default_backend() == "cpu" and memory.prepare()
    return (memory.FRESH, memory.REUSED) if both else (memory.FRESH,)


def _vector_rows() -> Iterator[Row]:
    """How wide the vectors are that XLA makes loops of, which it is told on a CPU."""
    if jax.default_backend() != "cpu":
        return
    for dtype, shape in (("float32", (4096, 4096)), ("bfloat16", (4096, 8192))):
        settings = {"shape": list(shape), "dtype": dtype, "rate": RATE}
        settings["memory"] = memory.REUSED
        name = f"vectors of 256 and 512 bits, {dtype} {shape[0]}x{shape[1]} forward"
        build = functools.partial(_vector_calls, shape, dtype)
        yield Row(name, "vectors", settings, build, f"{who.FLOOR}, 256", FLAX_256)


def _vector_calls(shape: tuple[int, ...], dtype: str) -> dict[str, Call]:
    x, ours = jnp.ones(shape, dtype), who.dropjax_drop(RATE)
    found = {
        who.FLOOR: _floor(),
        who.FLAX: Contender(who.flax_drop(RATE), who.threefry_key()),
        who.OURS: Contender(ours, who.threefry_key()),
        who.OURS_FAST: Contender(ours, who.fast_key()),
    }
    return {
        f"{name}, {bits}": jitted(
            one.drop, [(one.key, x)], {"xla_cpu_prefer_vector_width": bits}
        )
        for name, one in found.items()
        for bits in (256, 512)
    }


def _floor() -> Contender:
    return Contender(lambda key, x: x * jnp.asarray(SCALE, x.dtype), None)


def _spatial_rows(quick: bool) -> Iterator[Row]:
    shape = (4 if quick else 32, 56, 56, 256)
    for backward in (True,) if quick else (False, True):
        yield array_row(
            "spatial dropout", shape, "float32", RATE, backward=backward, shared=(1, 2)
        )


def array_row(
    group: str,
    shape: tuple[int, ...],
    dtype: str,
    rate: float,
    *,
    backward: bool = False,
    shared: tuple[int, ...] = (),
    memory_is: str = memory.FRESH,
) -> Row:
    """Dropout of one array, coins shared along the given axes."""
    settings = {
        "shape": list(shape),
        "dtype": dtype,
        "rate": rate,
        "mib": jnp.dtype(dtype).itemsize * math.prod(shape) / MIB,
        "pass": "forward+backward" if backward else "forward",
        "memory": memory_is,
    }
    size = "x".join(map(str, shape))
    name = f"{group} {dtype} {size} rate {rate} {settings['pass']}"
    if memory_is == memory.REUSED:
        name += ", memory reused"
    build = functools.partial(_array_calls, shape, dtype, rate, backward, shared)
    return Row(name, group, settings, build, who.FLOOR, who.FLAX)


def _array_calls(
    shape: tuple[int, ...],
    dtype: str,
    rate: float,
    backward: bool,
    shared: tuple[int, ...],
) -> dict[str, Call]:
    nbytes = jnp.dtype(dtype).itemsize * math.prod(shape)
    arrays = 2 if backward else 1
    moved = 2 * arrays * nbytes
    sets = [
        tuple(jnp.ones(shape, dtype) for _ in range(arrays))
        for _ in range(input_sets(nbytes))
    ]
    calls = {}
    for name, one in {who.FLOOR: _floor(), **who.dropouts(rate, shared, dtype)}.items():
        function = both_ways(one.drop) if backward else one.drop
        inputs = [(one.key, *set_) for set_ in sets]
        calls[name] = jitted(function, inputs, bytes_moved=moved)
    torch = who.torch_calls(
        shape, dtype, rate, backward=backward, channels=bool(shared), moved=moved
    )
    return {**calls, **torch}


def _nets(quick: bool) -> Nets:
    if quick:
        return {"mlp": (training.mlp(512, 128), 2)}
    return {
        "mlp": (training.mlp(1024, 256), 4),
        "resnet": (training.resnet(64, 32, 16), 2),
        "transformer": (training.transformer(768, 12, 128, 8), 2),
    }


def _tree_row(quick: bool) -> Row:
    width = 192 if quick else 768

    def build() -> dict[str, Call]:
        block = training.transformer(width, 12, 128, 1)
        params, _ = training.initial(block, 12, scanned=False)
        params = [
            {name: leaf for name, leaf in layer.items() if leaf.ndim > 1}
            for layer in params
        ]
        moved = 2 * sum(leaf.nbytes for leaf in jax.tree.leaves(params))
        scaled = Contender(lambda key, p: jax.tree.map(lambda w: w * SCALE, p), None)
        masks = {who.FLOOR: scaled, **who.tree_masks(0.5)}
        return {
            name: jitted(one.drop, [(one.key, params)], bytes_moved=moved)
            for name, one in masks.items()
        }

    settings = {"layers": 12, "width": width, "rate": 0.5, "dtype": "float32"}
    name = f"dropconnect over a transformer of 12 layers, width {width}"
    return Row(name, "dropconnect", settings, build, who.FLOOR, who.BY_HAND)


def eager_row() -> Row:
    """A call outside jit."""
    settings = {"shape": [64, 64], "dtype": "float32", "rate": RATE}
    build = functools.partial(who.eager_calls, RATE)
    return Row("an eager call, 64x64", "eager call", settings, build, None, who.FLAX)
