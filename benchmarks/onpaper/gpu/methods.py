"""The methods at usual sizes: functions, layers, and those of Flax."""

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, TypeAlias

import flax.linen as nn
import jax
import jax.numpy as jnp

import dropjax as dj
import dropjax.linen as djl
import dropjax.nnx as djn
from onpaper.bars import BLOCKS, OTHER, OWN, SHARED

RATE = 0.1
LEFT_OUT = 0.5

Drop: TypeAlias = Callable[..., Any]
Shape: TypeAlias = tuple[int, ...]


ARRAY: Shape = (4096, 4096)
MAPS: Shape = (32, 56, 56, 256)
SEQUENCES: Shape = (64, 512, 512)
WEIGHTS: Shape = (8, 16, 512, 256)


class Method(NamedTuple):
    """What is compiled of a method.

    Attributes:
      name: what the rows are called.
      kind: who shares a coin, which decides what it may cost.
      shapes: of the arrays.
      faces: (key, *arrays) -> y, the function and its layers.
      flax: the same by flax, where it has it.
      plain: (*arrays) -> y, the work without the method, the floor.
      dtypes: those that are compiled.
      smooth: whether it has gradients.
      generators: of the keys.
    """

    name: str
    kind: str
    shapes: tuple[Shape, ...]
    faces: dict[str, Drop]
    flax: Drop | None = None
    plain: Drop = lambda x, *others: x * jnp.asarray(1.125, x.dtype)
    dtypes: tuple[str, ...] = ("float32",)
    smooth: bool = True
    generators: tuple[str, ...] = ("threefry", "fast")


def methods() -> dict[str, Method]:
    """All of them, by name."""
    rooms = (_elementwise(), _shared(), _others(), _weights())
    return {method.name: method for room in rooms for method in room}


def _elementwise() -> Iterator[Method]:
    dropout = _activation("dropout", OWN, ARRAY, _flax())
    generators = (*dropout.generators, "rbg")
    yield dropout._replace(dtypes=("float32", "bfloat16"), generators=generators)
    for name in ("gaussian_dropout", "gaussian_noise", "alpha_dropout"):
        yield _activation(name, OWN, ARRAY)
    yield _activation("drop_activation", OWN, ARRAY, activation=jax.nn.relu)
    yield Method(
        "multi_sample_dropout",
        OWN,
        ((1024, 4096),),
        _faces("multi_sample_dropout", samples=4),
        plain=lambda x: jnp.broadcast_to(x * 1.125, (4, *x.shape)),
    )
    yield _function(
        "concrete_dropout",
        lambda key, x: dj.concrete_dropout(key, x, jnp.float32(-2)),
        ARRAY,
    )
    yield _function(
        "zoneout",
        lambda key, x, old: dj.zoneout(key, x, old, RATE),
        *(ARRAY,) * 2,
        plain=lambda x, old: x + old,
    )
    yield _activation(
        "word_dropout", OWN, SEQUENCES, dtypes=("int32",), smooth=False, unknown_id=0
    )
    yield _function("dropconnect", lambda key, x: dj.dropconnect(key, x, RATE), ARRAY)
    yield _function(
        "mixout",
        lambda key, x, old: dj.mixout(key, x, old, RATE),
        *(ARRAY,) * 2,
        plain=lambda x, old: x + old,
    )


def _shared() -> Iterator[Method]:
    yield _activation(
        "dropout, broadcast_dims", SHARED, SEQUENCES, _flax(1), broadcast_dims=(1,)
    )
    yield _activation("spatial_dropout", SHARED, MAPS, _flax(1, 2), "SpatialDropout2D")
    yield _activation("feature_alpha_dropout", SHARED, MAPS)
    yield _activation("drop_path", SHARED, MAPS, _flax(1, 2, 3))
    yield _activation("variational_dropout", SHARED, SEQUENCES, _flax(1))
    yield _activation("embedding_dropout", SHARED, ARRAY, _flax(1))
    yield _activation(
        "attention_dropout", SHARED, WEIGHTS, _flax(0, 1), broadcast_dropout=True
    )
    blocks = functools.partial(dj.dropconnect, rate=RATE, block_size=(8, 8))
    yield _function("dropconnect, blocks", blocks, ARRAY, kind=SHARED)


def _others() -> Iterator[Method]:
    maps = functools.partial(_activation, kind=OTHER, shape=MAPS)
    yield maps("drop_block", layer="DropBlock2D")
    yield maps("drop_block, per_channel=False", layer="DropBlock2D", per_channel=False)
    yield maps("cutout", size=8)
    yield maps("random_erasing")
    yield maps("max_dropout")
    yield maps("shake_drop")
    yield maps("weighted_channel_dropout")
    yield _activation("drop_head", OTHER, (8, 512, 16, 64))
    yield _function(
        "patch_dropout",
        lambda key, x: dj.patch_dropout(key, x, 0.5)[0],
        (64, 197, 768),
        kind=OTHER,
        plain=lambda x: x[:, ::2] * 1.125,
    )
    yield from _inputs()
    yield from _attention()
    yield from _subsets()


def _attention() -> Iterator[Method]:
    for batch, heads in ((1, 8), (8, 16)):
        name = f"dot_product_attention, {batch}x2048x{heads}x64"
        shape = (batch, 2048, heads, 64)
        yield _attend(name, shape)
        yield _attend(f"{name}, is_causal", shape, causal=True)
        yield _attend(f"{name}, deterministic", shape, deterministic=True)


def _attend(
    name: str, shape: Shape, *, causal: bool = False, deterministic: bool = False
) -> Method:
    """Attention in blocks, with Flax's, which has the whole weights."""
    options = {"dropout_rate": RATE, "deterministic": deterministic}

    def ours(key: Any, *arrays: jax.Array) -> Any:
        return dj.dot_product_attention(
            *arrays, is_causal=causal, dropout_rng=key, **options
        )

    def flax(key: Any, *arrays: jax.Array) -> Any:
        mask = None
        if causal:
            mask = nn.make_causal_mask(jnp.ones((1, shape[1])), dtype=bool)
        return nn.dot_product_attention(
            *arrays, mask=mask, dropout_rng=key, broadcast_dropout=False, **options
        )

    return Method(
        name,
        BLOCKS,
        (shape,) * 3,
        {"function": ours},
        flax,
        functools.partial(dj.dot_product_attention, is_causal=causal),
        ("bfloat16",),
        generators=("fast",) if causal or deterministic else ("threefry", "fast"),
    )


def _subsets() -> Iterator[Method]:
    """Parts that are left out; Flax's dropout computes all of the same work."""

    def mlp(x: jax.Array, up: jax.Array, down: jax.Array) -> jax.Array:
        return jax.nn.gelu(x @ up) @ down

    kernels = (768, 3072), (3072, 768)

    def subset(axis: int, key: jax.Array, x: jax.Array, *kernels: jax.Array) -> Any:
        branch = functools.partial(dj.subset_branch, axis=axis)
        return branch(key, x, lambda x: mlp(x, *kernels), LEFT_OUT)

    def masked(shared: Shape, key: jax.Array, *arrays: jax.Array) -> Any:
        return flax_dropout(key, mlp(*arrays), shared, LEFT_OUT)

    for axis, of, shared in ((0, "examples", (1, 2)), (1, "tokens", (2,))):
        yield Method(
            f"subset_branch, {of}, rate={LEFT_OUT}",
            OTHER,
            ((16, 1024, 768), *kernels),
            {"function": functools.partial(subset, axis)},
            functools.partial(masked, shared),
            mlp,
            ("bfloat16",),
            generators=("fast",),
        )

    def dropped(key: jax.Array, x: jax.Array, up: jax.Array, down: jax.Array) -> Any:
        return flax_dropout(key, jax.nn.gelu(x @ up), rate=LEFT_OUT) @ down

    thinned = functools.partial(
        dj.structured_dropout_mlp, rate=LEFT_OUT, block_size=128
    )
    yield Method(
        f"structured_dropout_mlp, rate={LEFT_OUT}",
        OTHER,
        ((16384, 768), *kernels),
        {"function": thinned},
        dropped,
        mlp,
        ("bfloat16",),
        generators=("fast",),
    )


def _weights() -> Iterator[Method]:
    def targeted(key: Any, x: jax.Array) -> jax.Array:
        return dj.targeted_dropout(key, {"kernel": x}, RATE)["kernel"]

    yield _function("targeted_dropout", targeted, (1024, 4096), kind=OTHER)
    for rate in (0.5, 0.3):
        for masks in ("batch", 4, "example"):
            yield _dense(rate, masks)
    for masks in ("batch", "example"):
        yield _conv(0.5, masks)


def _dense(rate: float, masks: Any) -> Method:
    drop = functools.partial(dj.dropconnect_dense, rate=rate, mask_per=masks)
    return Method(
        _weighted("dropconnect_dense", rate, masks),
        OTHER,
        ((128, 800), (800, 800)),
        {"function": drop},
        plain=lambda x, kernel: x @ kernel,
    )


def _conv(rate: float, masks: Any) -> Method:
    drop = functools.partial(dj.dropconnect_conv, rate=rate, mask_per=masks)
    return Method(
        _weighted("dropconnect_conv", rate, masks),
        OTHER,
        ((32, 28, 28, 64), (3, 3, 64, 64)),
        {"function": drop},
        plain=lambda x, kernel: nn.Conv(64, (3, 3), use_bias=False).apply(
            {"params": {"kernel": kernel}}, x
        ),
    )


def _weighted(name: str, rate: float, masks: Any) -> str:
    return f"{name}, rate={rate}, mask_per={masks!r}"


def _activation(
    name: str,
    kind: str,
    shape: Shape,
    flax: Drop | None = None,
    layer: str | None = None,
    dtypes: tuple[str, ...] = ("float32",),
    smooth: bool = True,
    **options: Any,
) -> Method:
    faces = _faces(name.partition(",")[0], layer, **options)
    return Method(name, kind, (shape,), faces, flax, dtypes=dtypes, smooth=smooth)


def _inputs() -> Iterator[Method]:
    """Methods whose mask values belong to examples or spans, and noise."""
    yield _function(
        "uniform_noise", lambda key, x: dj.uniform_noise(key, x, 0.1), ARRAY, kind=OTHER
    )
    calls: dict[str, Callable[..., Any]] = {
        "neftune": lambda key, x: dj.neftune(key, x, 5.0),
        "spec_augment": lambda key, x: dj.spec_augment(key, x, 1.0),
        "span_dropout": lambda key, x: dj.span_dropout(key, x, 0.5),
        "random_masking": lambda key, x: dj.random_masking(key, x, 0.75).tokens,
        "condition_dropout": lambda key, x: dj.condition_dropout(
            key, x, RATE, fill=0.0
        ),
        "modality_dropout": lambda key, x: dj.modality_dropout(key, [x, x], RATE)[0][0],
    }
    for name, call in calls.items():
        yield _function(name, call, (64, 512, 768), kind=OTHER)


def _function(
    name: str,
    function: Drop,
    *shapes: Shape,
    kind: str = OWN,
    plain: Drop | None = None,
) -> Method:
    method = Method(name, kind, shapes, {"function": function})
    return method._replace(plain=plain) if plain else method


def _faces(name: str, layer: str | None = None, **options: Any) -> dict[str, Drop]:
    """A function of activations and its layers, named as it is."""
    layer = layer or "".join(map(str.capitalize, name.split("_")))
    function, linen, nnx = (
        getattr(place, called)
        for place, called in ((dj, name), (djl, layer), (djn, layer))
    )
    return {
        "function": lambda key, x: function(key, x, RATE, **options),
        "linen": lambda key, x: linen(RATE, **options).apply(
            {}, x, deterministic=False, rng=key
        ),
        "nnx": lambda key, x: nnx(RATE, **options)(x, deterministic=False, rngs=key),
    }


def _flax(*shared: int) -> Drop:
    return functools.partial(flax_dropout, shared=shared)


def flax_dropout(
    key: jax.Array, x: jax.Array, shared: Sequence[int] = (), rate: float = RATE
) -> Any:
    """Flax's own layer, as a function."""
    layer = nn.Dropout(rate, broadcast_dims=tuple(shared), deterministic=False)
    return layer.apply({}, x, rngs={"dropout": key})
