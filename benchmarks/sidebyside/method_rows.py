"""Rows of the other methods, compared with the libraries that have them."""

import functools
import importlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, TypeAlias

import flax.linen as nn
import jax
import jax.numpy as jnp

import dropjax
import dropjax.linen as djl
from sidebyside import contenders as who
from sidebyside import memory
from sidebyside.contenders import RATE, Contender
from sidebyside.timing import Call, Row, both_ways, jitted

GROUP = "method"

Shape: TypeAlias = tuple[int, ...]
Layer: TypeAlias = Callable[..., jax.Array]


@dataclass(frozen=True)
class Method:
    """A method, and the libraries that have it.

    Attributes:
      name: what the row is called.
      ours: a function of (key, *arrays).
      shapes: the shapes of the arrays.
      peers: what makes the call of a library, by its name.
      backward: whether gradients are taken, as in training.
      plain: the work without the method, the floor; None for `x * c`.
      first: the axes in the order of PyTorch's libraries.
      params: what makes parameters, an array before the others, of a key.
    """

    name: str
    ours: Layer
    shapes: tuple[Shape, ...]
    peers: Mapping[str, Callable[["Method"], Call]]
    backward: bool = True
    plain: Layer | None = None
    first: tuple[int, ...] | None = None
    params: Callable[[jax.Array], Any] | None = None


class Shapes(NamedTuple):
    """What the methods act on."""

    array: Shape = (4096, 2048)
    maps: Shape = (16, 56, 56, 256)
    sequences: Shape = (64, 512, 256)
    heads: Shape = (8, 512, 8, 64)
    images: Shape = (64, 224, 224, 3)
    tokens: Shape = (64, 197, 768)
    steps: Shape = (32, 64, 256)
    queries: Shape = (8, 512, 512)


FULL = Shapes()


def rows_of(shapes: Shapes = FULL) -> Iterator[Row]:
    """A row for every method of which a peer is installed."""
    missing = who.absent()
    for method in _methods(shapes):
        peers = {k: build for k, build in method.peers.items() if k not in missing}
        if peers:
            yield _row(replace(method, peers=peers))


def _methods(shapes: Shapes) -> Iterator[Method]:
    yield from _of_arrays(shapes.array)
    yield from _of_maps(shapes.maps)
    yield _variational_dropout(shapes.sequences)
    for shared in (True, False):
        words = ", shared by heads and examples" if shared else ""
        yield _of_attention(f"attention dropout{words}", shapes.heads, shared)
    yield _attention_layer(shapes.queries)
    yield _random_erasing(shapes.images)
    yield _patch_dropout(shapes.tokens)
    yield _recurrent_dropout(shapes.steps)


def _of_arrays(shape: Shape) -> Iterator[Method]:
    yield Method(
        "gaussian dropout",
        lambda key, x: dropjax.gaussian_dropout(key, x, RATE),
        (shape,),
        {"keras": _keras("GaussianDropout", RATE)},
    )
    yield Method(
        "gaussian noise",
        lambda key, x: dropjax.gaussian_noise(key, x, RATE),
        (shape,),
        {"keras": _keras("GaussianNoise", RATE)},
    )
    yield Method(
        "alpha dropout",
        lambda key, x: dropjax.alpha_dropout(key, x, RATE),
        (shape,),
        {
            "keras": _keras("AlphaDropout", RATE),
            "torch": _torch("torch.nn", "AlphaDropout", RATE),
        },
    )


def _of_maps(shape: Shape) -> Iterator[Method]:
    images = functools.partial(Method, shapes=(shape,), first=(0, 3, 1, 2))
    own = (shape[0], 1, 1, shape[3])
    yield images(
        "feature alpha dropout",
        lambda key, x: dropjax.feature_alpha_dropout(key, x, RATE),
        peers={
            "keras": _keras("AlphaDropout", RATE, noise_shape=own),
            "torch": _torch("torch.nn", "FeatureAlphaDropout", RATE),
        },
    )
    yield images(
        "drop path",
        lambda key, x: dropjax.drop_path(key, x, RATE),
        peers={
            who.FLAX: _jax(who.flax_drop(RATE, (1, 2, 3))),
            "keras": _keras("Dropout", RATE, noise_shape=(None, 1, 1, 1)),
            "torchvision": _torch("torchvision.ops", "StochasticDepth", RATE, "row"),
            "timm": _torch("timm.layers", "DropPath", RATE),
        },
    )
    yield images(
        "drop block",
        lambda key, x: dropjax.drop_block(key, x, RATE),
        peers={
            "torchvision": _torch("torchvision.ops", "DropBlock2d", RATE, 7),
            "timm": _torch("timm.layers", "DropBlock2d", RATE, couple_channels=False),
        },
    )
    yield images(
        "drop block, shared by channels",
        lambda key, x: dropjax.drop_block(key, x, RATE, per_channel=False),
        peers={"timm": _torch("timm.layers", "DropBlock2d", RATE)},
    )


def _variational_dropout(shape: Shape) -> Method:
    return Method(
        "variational dropout",
        lambda key, x: dropjax.variational_dropout(key, x, RATE),
        (shape,),
        {
            who.FLAX: _jax(who.flax_drop(RATE, (1,))),
            "keras": _keras("SpatialDropout1D", RATE),
            "torch": _torch("torch.nn", "Dropout1d", RATE),
        },
        first=(0, 2, 1),
    )


def _of_attention(name: str, shape: Shape, shared: bool) -> Method:
    def flax(
        key: Any, q: jax.Array, k: jax.Array, v: jax.Array, **options: Any
    ) -> jax.Array:
        options = {"dropout_rng": key, "dropout_rate": RATE, **options}
        return nn.dot_product_attention(q, k, v, deterministic=False, **options)

    def ours(
        key: Any, q: jax.Array, k: jax.Array, v: jax.Array, **options: Any
    ) -> jax.Array:
        options = {"dropout_rng": key, "dropout_rate": RATE, **options}
        return dropjax.dot_product_attention(q, k, v, **options)

    def plain(key: None, q: jax.Array, k: jax.Array, v: jax.Array) -> jax.Array:
        return dropjax.dot_product_attention(q, k, v)

    options = {"broadcast_dropout": shared}
    peers = {who.FLAX: _jax(functools.partial(flax, **options))}
    if not shared:
        sdpa = "scaled_dot_product_attention"
        peers["torch"] = _torch("torch.nn.functional", sdpa, dropout_p=RATE)
    return Method(
        name,
        functools.partial(ours, **options),
        (shape,) * 3,
        peers,
        plain=plain,
        first=(0, 2, 1, 3),
    )


def _attention_layer(shape: Shape) -> Method:
    heads, width = 8, shape[-1]

    def layer(rate: float, **options: Any) -> Layer:
        module = nn.MultiHeadDotProductAttention(
            heads, dropout_rate=rate, broadcast_dropout=False, **options
        )

        def run(key: Any, params: Any, x: jax.Array) -> jax.Array:
            options = {"deterministic": rate == 0, "rngs": {"dropout": key}}
            return module.apply(params, x, **options)

        return run

    def to_itself(call: Callable[..., Any], x: Any) -> Any:
        return call(x, x, x, need_weights=False)[0]

    ours = {"attention_fn": dropjax.dot_product_attention}
    of_torch = ("torch.nn", "MultiheadAttention", width, heads, RATE)
    return Method(
        "attention layer",
        layer(RATE, **ours),
        (shape,),
        {
            who.FLAX: _jax(layer(RATE)),
            "keras": _keras("MultiHeadAttention", heads, width // heads, dropout=RATE),
            "torch": _torch(*of_torch, call=to_itself, batch_first=True),
        },
        plain=layer(0.0, **ours),
        params=lambda key: nn.MultiHeadDotProductAttention(heads).init(
            key, jnp.ones(shape)
        ),
    )


def _random_erasing(shape: Shape) -> Method:
    def each(erase: Callable[..., Any], images: Any) -> Any:
        import torch

        return torch.stack([erase(image) for image in images])

    def on_a_copy(erase: Callable[..., Any], images: Any) -> Any:
        return erase(images.clone())

    vision = ("torchvision.transforms", "RandomErasing", 0.5)
    timm = ("timm.data.random_erasing", "RandomErasing", 0.5)
    return Method(
        "random erasing",
        lambda key, x: dropjax.random_erasing(key, x, 0.5),
        (shape,),
        {
            "keras": _keras("RandomErasing", (0.5, 0.5), fill_value=0.0),
            "torchvision": _torch(*vision, call=each),
            "timm": _torch(*timm, call=on_a_copy, device="cpu"),
        },
        backward=False,
        first=(0, 3, 1, 2),
    )


def _patch_dropout(shape: Shape) -> Method:
    def ours(key: Any, x: jax.Array) -> jax.Array:
        y, _ = dropjax.patch_dropout(key, x, 0.5, prefix_tokens=1, ordered=False)
        return y

    return Method(
        "patch dropout",
        ours,
        (shape,),
        {"timm": _torch("timm.layers", "PatchDropout", 0.5)},
    )


def _recurrent_dropout(shape: Shape) -> Method:
    cell = nn.OptimizedLSTMCell(shape[-1])
    dropped = djl.RecurrentDropout(cell, RATE, input_rate=RATE, deterministic=False)

    def run(cell: nn.RNNCellBase, key: Any, params: Any, x: jax.Array) -> jax.Array:
        return nn.RNN(cell).apply(params, x, rngs={"dropout": key})

    options = {"dropout": RATE, "recurrent_dropout": RATE, "return_sequences": True}
    return Method(
        "recurrent dropout",
        functools.partial(run, dropped),
        (shape,),
        {"keras": _keras("LSTM", shape[-1], **options)},
        plain=functools.partial(run, cell),
        params=lambda key: nn.RNN(cell).init(key, jnp.ones(shape)),
    )


def _row(method: Method) -> Row:
    shape, passes = method.shapes[0], "forward"
    if method.backward:
        passes += "+backward"
    kept = jax.default_backend() == "cpu" and memory.prepare()
    settings = {
        "shape": list(shape),
        "dtype": "float32",
        "mib": 4 * math.prod(shape) / 2**20,
        "pass": passes,
        # Fresh memory, cleared by the system, would be most of what is timed.
        "memory": memory.REUSED if kept else memory.FRESH,
    }
    name = f"{method.name} {'x'.join(map(str, shape))} {passes}"
    floor = who.NONE if method.plain else who.FLOOR
    build = functools.partial(_calls, method, floor)
    return Row(name, GROUP, settings, build, floor, next(iter(method.peers)))


def _calls(method: Method, floor: str) -> dict[str, Call]:
    plain = method.plain or (lambda key, x: x * jnp.float32(1.125))
    return {
        floor: _jax(plain)(method),
        **{name: build(method) for name, build in method.peers.items()},
        who.OURS: _jax(method.ours)(method),
        who.OURS_FAST: _jax(method.ours, who.fast_key)(method),
    }


def _jax(
    layer: Layer, key: Callable[[], Any] = who.threefry_key
) -> Callable[[Method], Call]:
    """A function of (key, *arrays), jitted, with its gradients."""

    def build(method: Method) -> Call:
        arrays = [jnp.ones(shape) for shape in method.shapes]
        if method.params is not None:
            arrays.insert(0, method.params(jax.random.key(1)))
        return _call(Contender(layer, key()), arrays, method.backward)

    return build


def _keras(kind: str, *args: Any, **options: Any) -> Callable[[Method], Call]:
    """A layer of Keras, on JAX, with the gradients of its weights."""

    def build(method: Method) -> Call:
        import keras

        layer = getattr(keras.layers, kind)(*args, seed=0, **options)
        inputs = 1 + (kind == "MultiHeadAttention")
        layer.build(*method.shapes * inputs)
        values = [variable.value for variable in layer.trainable_variables]
        state = [variable.value for variable in layer.non_trainable_variables]

        def apply(state: Any, weights: Any, x: jax.Array) -> jax.Array:
            xs = (x,) * inputs
            return layer.stateless_call(weights, state, *xs, training=True)[0]

        arrays = [values, jnp.ones(method.shapes[0])]
        return _call(Contender(apply, state), arrays, method.backward)

    return build


def _call(one: Contender, arrays: Sequence[Any], backward: bool) -> Call:
    inputs = (one.key, *arrays)
    if not backward:
        return jitted(one.drop, [inputs])
    y = jax.eval_shape(one.drop, *inputs)
    return jitted(both_ways(one.drop), [(*inputs, jnp.ones(y.shape))])


def _torch(
    module: str,
    kind: str,
    *args: Any,
    call: Callable[..., Any] | None = None,
    **options: Any,
) -> Callable[[Method], Call]:
    """A layer, or a function, of PyTorch's libraries, channels first."""

    def build(method: Method) -> Call:
        found = getattr(importlib.import_module(module), kind)
        made = isinstance(found, type)
        layer = found(*args, **options) if made else functools.partial(found, **options)
        parameters: tuple[Any, ...] = ()
        if hasattr(layer, "parameters"):
            parameters = tuple(layer.to(who.torch_device()).parameters())
        function = functools.partial(call, layer) if call else layer
        shapes = [
            tuple(shape[axis] for axis in method.first or range(len(shape)))
            for shape in method.shapes
        ]
        return who.torch_call(
            function, shapes, backward=method.backward, parameters=parameters
        )

    return build
