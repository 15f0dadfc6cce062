"""Rows of attention with dropout: its time, and its memory at great lengths."""

import functools
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, TypeAlias

import flax.linen as nn
import jax
import jax.numpy as jnp

import dropjax
from sidebyside import contenders as who
from sidebyside import memory
from sidebyside.contenders import RATE, Contender
from sidebyside.timing import Call, Row, both_ways, jitted, scratch

TIMED, COMPILED = "attention", "attention, compiled"
EVERY, MASK, CAUSAL = "every key", "mask", "causal"
FLAX_NONE = f"{who.FLAX}, no dropout"
OURS_NONE = f"{who.OURS}, no dropout"
# What short sequences are computed in anyway, and what long ones once were.
PIECE = f"{who.OURS}, one piece"
PIECE_FAST = f"{PIECE}, fast key"
_HEADS, _DEPTH = 8, 64

# Of ((key, mask), query, key, value), the mask None where there is none.
Attend: TypeAlias = Callable[..., Any]


class Size(NamedTuple):
    """The examples, and how many queries and keys each of them has."""

    batch: int
    length: int


def rows_of() -> Iterator[Row]:
    """Value and gradient, timed and compiled."""
    for batch, length in ((32, 64), (32, 128)):
        yield timed_row(Size(batch, length))
    for length in (1024, 4096):
        for seen in (EVERY, MASK, CAUSAL):
            yield timed_row(Size(1, length), seen)
    for length in (2048, 8192, 32768):
        for seen in (EVERY, MASK, CAUSAL):
            yield compiled_row(Size(1, length), seen)


def timed_row(size: Size, seen: str = EVERY) -> Row:
    """The time of value and gradient, beside Flax's attention without dropout."""
    kept = jax.default_backend() == "cpu" and memory.prepare()
    settings = {
        **_settings(size, seen),
        "memory": memory.REUSED if kept else memory.FRESH,
    }
    build = functools.partial(_timed_calls, size, seen)
    return Row(_name(size, seen), TIMED, settings, build, FLAX_NONE, who.FLAX)


def compiled_row(size: Size, seen: str = EVERY, repeats: int = 1) -> Row:
    """The time from Python to a program, which is not run, and its memory."""
    name = f"{_name(size, seen)}, compiled"
    build = functools.partial(_compiled_calls, size, seen)
    settings = _settings(size, seen)
    return Row(name, COMPILED, settings, build, None, PIECE, repeats)


def _settings(size: Size, seen: str) -> dict[str, Any]:
    return {
        "shape": [*size, _HEADS, _DEPTH],
        "dtype": "float32",
        "rate": RATE,
        "seen": seen,
        "pass": "forward+backward",
    }


def _name(size: Size, seen: str) -> str:
    batch = f", batch {size.batch}" if size.batch > 1 else ""
    return f"attention of {size.length:,} tokens{batch}" + (
        "" if seen == EVERY else f", {seen}"
    )


def _timed_calls(size: Size, seen: str) -> dict[str, Call]:
    keys = jax.random.split(jax.random.key(1), 4)
    arrays = [jax.random.normal(key, (*size, _HEADS, _DEPTH)) for key in keys]
    mask = None
    if seen == MASK:
        mask = jax.random.bernoulli(keys[0], 0.9, _mask_shape(size))
    calls = {
        name: jitted(both_ways(one.drop), [((one.key, mask), *arrays)])
        for name, one in _contenders(size, seen).items()
    }
    if seen == EVERY and "torch" not in who.absent():
        return {**calls, "torch": _torch_call(size)}
    return calls


def _compiled_calls(size: Size, seen: str) -> dict[str, Call]:
    array = jax.ShapeDtypeStruct((*size, _HEADS, _DEPTH), jnp.float32)
    mask = jax.ShapeDtypeStruct(_mask_shape(size), bool) if seen == MASK else None

    def call(one: Contender) -> Call:
        facts: dict[str, float] = {}

        def run() -> None:
            jax.clear_caches()
            function = jax.jit(both_ways(one.drop))
            compiled = function.lower((one.key, mask), *(array,) * 4).compile()
            facts["scratch_bytes"] = scratch(compiled)

        return Call(run, facts)

    return {
        name: call(one)
        for name, one in _contenders(size, seen).items()
        if name not in (FLAX_NONE, OURS_NONE)
    }


def _mask_shape(size: Size) -> tuple[int, ...]:
    return (1, 1, size.length, size.length)


def _contenders(size: Size, seen: str) -> Mapping[str, Contender]:
    """Those that JAX compiles; other libraries only where every key is seen."""
    flax, ours = functools.partial(_flax, seen), functools.partial(_ours, seen)
    piece = functools.partial(ours, block_size=size.length)
    slow, fast = who.threefry_key(), who.fast_key()
    return {
        FLAX_NONE: Contender(functools.partial(flax, deterministic=True), slow),
        who.FLAX: Contender(flax, slow),
        **(_peers(size) if seen == EVERY else {}),
        PIECE: Contender(piece, slow),
        PIECE_FAST: Contender(piece, fast),
        OURS_NONE: Contender(functools.partial(ours, deterministic=True), slow),
        who.OURS: Contender(ours, slow),
        who.OURS_FAST: Contender(ours, fast),
    }


def _flax(
    seen: str, given: Any, *arrays: jax.Array, deterministic: bool = False
) -> jax.Array:
    key, mask = given
    if seen == CAUSAL:
        mask = nn.make_causal_mask(jnp.ones((1, arrays[0].shape[1])), dtype=bool)
    return nn.dot_product_attention(
        *arrays,
        mask=mask,
        dropout_rng=key,
        dropout_rate=RATE,
        broadcast_dropout=False,
        deterministic=deterministic,
    )


def _ours(seen: str, given: Any, *arrays: jax.Array, **options: Any) -> jax.Array:
    key, mask = given
    return dropjax.dot_product_attention(
        *arrays,
        mask=mask,
        is_causal=seen == CAUSAL,
        dropout_rng=key,
        dropout_rate=RATE,
        **options,
    )


def _peers(size: Size) -> dict[str, Contender]:
    """Other libraries that have it, on JAX; Haiku does not."""
    missing, found = who.absent(), {}
    if "equinox" not in missing:
        found["equinox"] = Contender(_equinox(), who.threefry_key())
    if "keras" not in missing:
        found["keras"] = Contender(_keras(size), [jnp.zeros(2, jnp.uint32)])
    return found


def _equinox() -> Attend:
    """The function of `eqx.nn.MultiheadAttention`, between its projections."""
    import equinox as eqx
    from equinox.nn._attention import dot_product_attention

    dropout = eqx.nn.Dropout(RATE)

    def attend(key: jax.Array, *arrays: jax.Array) -> jax.Array:
        return dot_product_attention(*arrays, dropout=dropout, key=key)

    def run(given: Any, *arrays: jax.Array) -> jax.Array:
        keys = jax.random.split(given[0], (len(arrays[0]), _HEADS))
        heads = jax.vmap(attend, (0, 1, 1, 1), 1)
        return jax.vmap(heads)(keys, *arrays)

    return run


def _keras(size: Size) -> Attend:
    """Keras's layer of attention alone, with the heads beside the examples."""
    import keras

    layer = keras.layers.Attention(dropout=RATE, seed=0)
    shape = (size.batch * _HEADS, size.length, _DEPTH)
    layer.build([shape] * 3)

    def run(given: Any, *arrays: jax.Array) -> jax.Array:
        query, key, value = (x.swapaxes(1, 2).reshape(shape) for x in arrays)
        inputs = [query / math.sqrt(_DEPTH), value, key]
        y, _ = layer.stateless_call([], given[0], inputs, training=True)
        return y.reshape(size.batch, _HEADS, *shape[1:]).swapaxes(1, 2)

    return run


def _torch_call(size: Size) -> Call:
    """PyTorch's function, and the most memory that it allocates beside its results."""
    import torch

    function = functools.partial(
        torch.nn.functional.scaled_dot_product_attention, dropout_p=RATE
    )
    shapes = [(size.batch, _HEADS, size.length, _DEPTH)] * 3
    call = who.torch_call(function, shapes, backward=True)
    return Call(call.run, {"scratch_bytes": who.torch_scratch(call.run)})
