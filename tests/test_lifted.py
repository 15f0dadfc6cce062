"""Every layer under Flax's lifted jit, remat, vmap and scan, in both APIs."""

import functools
import inspect

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import dropjax.linen as djl
import dropjax.nnx as djn
from tests.methods import array

COPIES = 6
KEYS = [jax.random.key(seed) for seed in range(COPIES)]
KEY = KEYS[0]
ROWS, HEADS = array((16, 12)), array((4, 6, 3, 5))
MAPS, SEQUENCES = array((4, 6, 6, 8)), array((8, 7, 12))
BY_RATE = {
    "AlphaDropout": ROWS,
    "AttentionDropout": array((4, 3, 7, 7)),
    "DropActivation": ROWS,
    "DropBlock1D": SEQUENCES,
    "DropBlock2D": MAPS,
    "DropBlock3D": array((4, 3, 4, 5, 2)),
    "DropHead": HEADS,
    "DropPath": SEQUENCES,
    "Dropout": ROWS,
    "EmbeddingDropout": ROWS,
    "FeatureAlphaDropout": MAPS,
    "GaussianDropout": ROWS,
    "GaussianNoise": ROWS,
    "MaxDropout": MAPS,
    "MultiSampleDropout": ROWS,
    "Neftune": SEQUENCES,
    "PatchDropout": SEQUENCES,
    "RandomErasing": MAPS,
    "RandomMasking": SEQUENCES,
    "ShakeDrop": SEQUENCES,
    "SpanDropout": array((4, 15, 6)),
    "SpatialDropout1D": SEQUENCES,
    "SpatialDropout2D": MAPS,
    "SpatialDropout3D": array((4, 3, 4, 5, 2)),
    "SpecAugment": SEQUENCES,
    "UniformNoise": ROWS,
    "VariationalDropout": SEQUENCES,
    "WeightedChannelDropout": abs(MAPS),
}
INPUTS = BY_RATE | {
    "ConcreteDropout": ROWS,
    "ConditionDropout": ROWS,
    "Cutout": MAPS,
    "DropConnect": ROWS,
    "DropConnectConv": MAPS,
    "DropConnectDense": ROWS,
    "DropConnectDenseGeneral": SEQUENCES,
    "DropConnectEinsum": SEQUENCES,
    "DropConnectLinear": ROWS,
    "DropConnectLinearGeneral": SEQUENCES,
    "LayerDrop": ROWS,
    "ModalityDropout": (ROWS, ROWS),
    "RecurrentDropout": SEQUENCES,
    "StructuredDropoutMLP": ROWS,
    "SubsetBranch": ROWS,
    "WordDropout": jnp.arange(60).reshape(4, 15),
    "Zoneout": SEQUENCES,
}


def classes(room):
    things = {name: getattr(room, name) for name in room.__all__}
    return {name: thing for name, thing in things.items() if inspect.isclass(thing)}


def linen(name):
    kind = functools.partial(getattr(djl, name), deterministic=False)
    special = {
        "ConcreteDropout": lambda: kind(nn.Dense(12), 100),
        "ConditionDropout": lambda: kind(0.5, fill=0.0),
        "Cutout": lambda: kind(0.5, size=3),
        "DropConnect": lambda: kind(nn.Dense(12), 0.5),
        "DropConnectConv": lambda: kind(4, (3, 3), 0.5),
        "DropConnectDense": lambda: kind(12, 0.5),
        "DropConnectDenseGeneral": lambda: kind((3, 4), 0.5),
        "DropConnectEinsum": lambda: kind((SEQUENCES.shape[-1], 5), 0.5, "bti,io->bto"),
        "LayerDrop": lambda: kind(nn.Dense(12), 0.5),
        "RecurrentDropout": lambda: nn.RNN(kind(nn.GRUCell(12), 0.5)),
        "StructuredDropoutMLP": lambda: kind(16, 12, 0.5),
        "SubsetBranch": lambda: kind(nn.Dense(12), 0.5),
        "WordDropout": lambda: kind(0.5, unknown_id=0),
        "Zoneout": lambda: nn.RNN(kind(nn.GRUCell(12), 0.5)),
    }
    return special.get(name, lambda: kind(0.5))()


def nnx_layer(name, rngs):
    kind = functools.partial(getattr(djn, name), deterministic=False, rngs=rngs)
    special = {
        "ConcreteDropout": lambda: kind(nnx.Linear(12, 12, rngs=rngs), 100),
        "ConditionDropout": lambda: kind(0.5, fill=0.0),
        "Cutout": lambda: kind(0.5, size=3),
        "DropConnect": lambda: kind(nnx.Linear(12, 12, rngs=rngs), 0.5),
        "DropConnectConv": lambda: kind(8, 4, (3, 3), 0.5),
        "DropConnectEinsum": lambda: kind("bti,io->bto", (SEQUENCES.shape[-1], 5), 0.5),
        "DropConnectLinear": lambda: kind(12, 12, 0.5),
        "DropConnectLinearGeneral": lambda: kind(SEQUENCES.shape[-1], (3, 4), 0.5),
        "LayerDrop": lambda: kind(nnx.Linear(12, 12, rngs=rngs), 0.5),
        "RecurrentDropout": lambda: nnx.RNN(
            kind(nnx.GRUCell(12, 12, rngs=rngs), 0.5), rngs=rngs
        ),
        "StructuredDropoutMLP": lambda: kind(12, 16, 12, 0.5),
        "SubsetBranch": lambda: kind(nnx.Linear(12, 12, rngs=rngs), 0.5),
        "WordDropout": lambda: kind(0.5, unknown_id=0),
        "Zoneout": lambda: nnx.RNN(
            kind(nnx.GRUCell(12, 12, rngs=rngs), 0.5), rngs=rngs
        ),
    }
    return special.get(name, lambda: kind(0.5))()


def apply(layer, x):
    return layer(x)


def leaves(y):
    return [np.asarray(leaf) for leaf in jax.tree.leaves(y)]


def assert_all_equal(one, other):
    for mine, yours in zip(leaves(one), leaves(other), strict=True):
        np.testing.assert_allclose(mine, yours, rtol=1e-5, atol=1e-5)


def assert_copies_differ(copies):
    """Not all are alike: a layer with one mask entry may draw the same twice."""
    first, *others = copies
    assert len(others) == COPIES - 1
    assert not all(np.array_equal(first, other) for other in others)


def test_every_layer_is_here():
    assert set(classes(djl)) | set(classes(djn)) == set(INPUTS)


def splitting(lift, split):
    rngs = {"params": False, "dropout": split}
    if lift is nn.vmap:
        return lift(apply, variable_axes={"params": None}, split_rngs=rngs)
    step = lambda layer, carry, x: (carry, layer(x))  # noqa: E731
    scan = lift(step, variable_broadcast="params", split_rngs=rngs)
    return lambda layer, x: scan(layer, 0, x)[1]


@pytest.mark.parametrize("name", classes(djl))
def test_linen(name):
    layer, x = linen(name), INPUTS[name]
    variables = layer.init({"params": KEY, "dropout": KEY}, x)
    many = jax.tree.map(lambda x: jnp.stack([x] * COPIES), x)

    def run(method, variables, x, key=KEY):
        return nn.apply(method, layer)(variables, x, rngs={"dropout": key})

    @jax.jit
    def everything(variables):
        jitted = [run(nn.jit(apply), variables, x, key) for key in KEYS]
        split = [
            run(splitting(lift, own), variables, many)
            for own in (True, False)
            for lift in (nn.vmap, nn.scan)
        ]
        plain, remat = (
            run(method, variables, x) for method in (apply, nn.remat(apply))
        )
        return jitted, plain, remat, *split

    jitted, plain, remat, *drawn, mapped, scanned = everything(variables)
    assert_all_equal(remat, plain)
    # What it jits and scans Flax gives rngs of their own.
    assert_copies_differ([leaves(y)[0] for y in jitted])
    for y in drawn:
        assert_copies_differ(leaves(y)[0])
    assert_all_equal(mapped, jax.tree.map(lambda y: jnp.stack([y] * COPIES), plain))
    assert_all_equal(
        scanned, jax.tree.map(lambda y: jnp.stack([y[0]] * COPIES), scanned)
    )


@pytest.mark.parametrize("name", classes(djn))
def test_nnx(name):
    make, x = functools.partial(nnx_layer, name), INPUTS[name]
    many = jax.tree.map(lambda x: jnp.stack([x] * COPIES), x)
    plain = apply(make(nnx.Rngs(0)), x)
    for lift in (nnx.jit, nnx.remat):
        layer, lifted = make(nnx.Rngs(0)), lift(apply)
        calls = [lifted(layer, x) for _ in range(COPIES)]
        assert_all_equal(calls[0], plain)
        # The stream goes on outside.
        assert_copies_differ([leaves(y)[0] for y in calls])

    stacked = nnx.split_rngs(splits=COPIES)(nnx.vmap(make))(nnx.Rngs(0))
    assert_copies_differ(leaves(nnx.vmap(apply)(stacked, many))[0])

    @nnx.scan(in_axes=(nnx.Carry, 0, 0), out_axes=(nnx.Carry, 0))
    def scanned(carry, layer, x):
        return carry, layer(x)

    assert_copies_differ(leaves(scanned(jnp.float32(0), stacked, many)[1])[0])
