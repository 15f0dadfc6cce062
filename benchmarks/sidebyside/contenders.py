"""The contenders: the same dropout, as users of each library write it."""

import functools
import importlib.util
import itertools
import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import nnx

import dropjax
from sidebyside.timing import Call

FLOOR = "x * c"
FLAX = "flax linen"
NNX = "flax nnx"
FLAX_FAST = "flax linen, fast key"
OURS = "dropjax"
OURS_FAST = "dropjax, fast key"
NONE = "no dropout"
BY_HAND = "tree_map by hand"

RATE = 0.1

PEERS = (
    "haiku",
    "equinox",
    "keras",
    "torch",
    "torchvision",
    "timm",
    "dropconnect",
    "transformers",
)

Drop: TypeAlias = Callable[[Any, jax.Array], jax.Array]


class Contender(NamedTuple):
    """A pure function of (key, x), and a key for it."""

    drop: Drop
    key: Any


def absent() -> list[str]:
    """The peers that are not installed."""
    return [name for name in PEERS if importlib.util.find_spec(name) is None]


def threefry_key() -> jax.Array:
    """JAX's default key."""
    return jax.random.key(0)


def fast_key() -> jax.Array:
    """A key of dropjax's own generator."""
    return jax.random.key(0, impl=dropjax.fast_prng)


def dropouts(
    rate: float, shared: Sequence[int] = (), dtype: str = "float32"
) -> dict[str, Contender]:
    """Dropout by each JAX library that has it, coins shared along the given axes."""
    shared = tuple(shared)
    flax, ours = flax_drop(rate, shared), dropjax_drop(rate, shared)
    found = {
        FLAX: Contender(flax, threefry_key()),
        NNX: Contender(_nnx_drop(rate, shared), threefry_key()),
        OURS: Contender(ours, threefry_key()),
        OURS_FAST: Contender(ours, fast_key()),
        FLAX_FAST: Contender(flax, fast_key()),
    }
    missing = absent()
    if "haiku" not in missing:
        found["haiku"] = Contender(haiku_drop(rate, shared), threefry_key())
    if "equinox" not in missing and not shared:
        found["equinox"] = Contender(_equinox_drop(rate), threefry_key())
    if "keras" not in missing:
        state = [jnp.zeros(2, jnp.uint32)]
        found["keras"] = Contender(_keras_drop(rate, shared, dtype), state)
    return found


def flax_drop(rate: float, shared: tuple[int, ...] = ()) -> Drop:
    """Flax Linen's layer as a function."""
    layer = nn.Dropout(rate, broadcast_dims=shared, deterministic=False)
    return lambda key, x: layer.apply({}, x, rngs={"dropout": key})


def dropjax_drop(rate: float, shared: tuple[int, ...] = ()) -> Drop:
    """Our function."""
    return lambda key, x: dropjax.dropout(key, x, rate, broadcast_dims=shared)


def haiku_drop(rate: float, shared: tuple[int, ...] = ()) -> Drop:
    """Haiku's function."""
    import haiku as hk

    return lambda key, x: hk.dropout(key, rate, x, broadcast_dims=shared)


def in_training() -> dict[str, Contender]:
    """What a net is trained with: nothing, flax's dropout and ours, with both keys."""
    ours, flax = dropjax_drop(RATE), flax_drop(RATE)
    return {
        NONE: Contender(lambda key, x: x, threefry_key()),
        FLAX: Contender(flax, threefry_key()),
        OURS: Contender(ours, threefry_key()),
        OURS_FAST: Contender(ours, fast_key()),
        FLAX_FAST: Contender(flax, fast_key()),
    }


def torch_calls(
    shape: tuple[int, ...],
    dtype: str,
    rate: float,
    *,
    backward: bool,
    channels: bool,
    moved: int,
) -> dict[str, Call]:
    """PyTorch's dropout, on a GPU if it has one; channels come first, as is its way."""
    if "torch" in absent():
        return {}
    import torch

    if channels:
        shape = (shape[0], shape[-1], *shape[1:-1])
    kind = torch.nn.functional.dropout2d if channels else torch.nn.functional.dropout
    drop = functools.partial(kind, p=rate, training=True)
    return {
        "torch": torch_call(drop, [shape], dtype, backward=backward, bytes_moved=moved)
    }


def torch_call(
    function: Callable[..., Any],
    shapes: Sequence[tuple[int, ...]],
    dtype: str = "float32",
    *,
    backward: bool,
    parameters: Sequence[Any] = (),
    **facts: float,
) -> Call:
    """A call of a function of tensors of ones, and the gradients of all it reads."""
    import torch

    where = {"dtype": getattr(torch, dtype), "device": torch_device()}
    tensors = [torch.ones(shape, requires_grad=backward, **where) for shape in shapes]
    read = [*tensors, *parameters]
    cotangent = torch.ones_like(function(*tensors))

    def run() -> object:
        with torch.set_grad_enabled(backward):
            y = function(*tensors)
        gradients = torch.autograd.grad(y, read, cotangent) if backward else ()
        if where["device"] == "cuda":
            torch.cuda.synchronize()
        return y, gradients

    return Call(run, facts)


def torch_scratch(run: Callable[[], Any]) -> int:
    """The most bytes allocated at a time during a call, less those of its results."""
    import torch

    options = {"activities": [torch.profiler.ProfilerActivity.CPU]}
    with torch.profiler.profile(profile_memory=True, **options) as profiled:
        results = run()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "trace.json")
        profiled.export_chrome_trace(str(path))
        events = json.loads(path.read_text())["traceEvents"]
    changes = [event for event in events if event["name"] == "[memory]"]
    changes.sort(key=lambda event: event["ts"])
    held = itertools.accumulate(event["args"]["Bytes"] for event in changes)
    return max(held, default=0) - sum(x.nbytes for x in jax.tree.leaves(results))


def torch_device() -> str:
    """Where PyTorch computes: on a GPU, if it has one."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def torch_threads() -> int | None:
    """The threads that PyTorch computes with."""
    if "torch" in absent():
        return None
    import torch

    return torch.get_num_threads()


def eager_calls(rate: float) -> dict[str, Call]:
    """A call outside jit: functions and layers as a user at a prompt calls them."""
    import dropjax.linen as djl
    import dropjax.nnx as djn

    x, slow, fast = jnp.ones((64, 64)), threefry_key(), fast_key()
    linen = nn.Dropout(rate, deterministic=False)
    ours = djl.Dropout(rate, deterministic=False)
    layers = {
        NNX: nnx.Dropout(rate, deterministic=False, rngs=nnx.Rngs(dropout=0)),
        "dropjax nnx": djn.Dropout(rate, deterministic=False, rngs=nnx.Rngs(dropout=0)),
    }
    runs: dict[str, Callable[[], Any]] = {
        FLAX: lambda: linen.apply({}, x, rngs={"dropout": slow}),
        "dropjax linen": lambda: ours.apply({}, x, rngs={"dropout": slow}),
        "dropjax linen, fast key": lambda: ours.apply({}, x, rngs={"dropout": fast}),
        FLAX_FAST: lambda: linen.apply({}, x, rngs={"dropout": fast}),
        OURS: lambda: dropjax.dropout(slow, x, rate),
        OURS_FAST: lambda: dropjax.dropout(fast, x, rate),
        NNX: lambda: layers[NNX](x),
        "dropjax nnx": lambda: layers["dropjax nnx"](x),
    }
    for name, one in dropouts(rate).items():
        if name in ("haiku", "equinox"):
            runs[name] = lambda one=one: one.drop(one.key, x)
    return {name: Call(run) for name, run in runs.items()}


def tree_masks(rate: float) -> Mapping[str, Contender]:
    """DropConnect over a tree: ours, and what repositories write by hand."""

    def by_hand(key: jax.Array, params: Any) -> Any:
        leaves, structure = jax.tree.flatten(params)
        keys = structure.unflatten(list(jax.random.split(key, len(leaves))))

        def mask(key: jax.Array, leaf: jax.Array) -> jax.Array:
            kept = jax.random.bernoulli(key, 1 - rate, leaf.shape)
            return jnp.where(kept, leaf / (1 - rate), 0)

        return jax.tree.map(mask, keys, params)

    def ours(key: jax.Array, params: Any) -> Any:
        return dropjax.dropconnect(key, params, rate)

    return {
        BY_HAND: Contender(by_hand, threefry_key()),
        OURS: Contender(ours, threefry_key()),
        OURS_FAST: Contender(ours, fast_key()),
        f"{BY_HAND}, fast key": Contender(by_hand, fast_key()),
    }


def _nnx_drop(rate: float, shared: tuple[int, ...]) -> Drop:
    layer = nnx.Dropout(rate, broadcast_dims=shared, deterministic=False)
    return lambda key, x: layer(x, rngs=nnx.Rngs(dropout=key))


def _equinox_drop(rate: float) -> Drop:
    import equinox as eqx

    layer = eqx.nn.Dropout(rate)
    return lambda key, x: layer(x, key=key)


def _keras_drop(rate: float, shared: tuple[int, ...], dtype: str) -> Drop:
    import keras

    kind = keras.layers.SpatialDropout2D if shared else keras.layers.Dropout
    layer = kind(rate, seed=0, dtype=dtype)

    def drop(state: list[jax.Array], x: jax.Array) -> jax.Array:
        return layer.stateless_call([], state, x, training=True)[0]

    return drop
