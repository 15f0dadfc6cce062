"""What a TPU would run: its compiler, libtpu, needs no TPU to compile for one."""

import importlib
import importlib.util
import os
from pathlib import Path

os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
os.environ.setdefault("ALLOW_MULTIPLE_LIBTPU_LOAD", "1")

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental import topologies
from jax.sharding import Mesh, NamedSharding, PartitionSpec

import dropjax as dj
from tests.methods import METHODS

pytestmark = [
    pytest.mark.tpu_compiler,
    pytest.mark.skipif(
        importlib.util.find_spec("libtpu") is None, reason="there is no libtpu"
    ),
]
RATE = 0.3
KEYS = {"threefry": jax.random.key(0), "fast": jax.random.key(0, impl=dj.fast_prng)}


@pytest.fixture(scope="session")
def chip():
    """One chip of four that are not there."""
    pod = topologies.get_topology_desc(platform="tpu", topology_name="v5e:2x2")
    return NamedSharding(Mesh(np.array(pod.devices[:1]), "chip"), PartitionSpec())


def compile_for(chip, function, *arguments):
    def there(array):
        return jax.ShapeDtypeStruct(array.shape, array.dtype, sharding=chip)

    return jax.jit(function).lower(*map(there, arguments)).compile()


@pytest.mark.parametrize("generator", KEYS)
@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_every_method_compiles_for_a_tpu(method, generator, chip):
    def value_and_gradient(key, x):
        drop = lambda x: method.function(key, x, RATE).sum()  # noqa: E731
        return jax.value_and_grad(drop)(x) if method.smooth else drop(x)

    compile_for(chip, value_and_gradient, KEYS[generator], method.array())


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("generator", KEYS)
def test_no_mask_in_memory_on_a_tpu(dtype, generator, chip):
    def backward(key, x, cotangent):
        _, back = jax.vjp(lambda x: dj.dropout(key, x, 0.1), x)
        return back(cotangent)

    key, scratch = KEYS[generator], set()
    for side in (1024, 4096):
        x = jnp.ones((side, side), dtype)
        forward = compile_for(chip, lambda key, x: dj.dropout(key, x, 0.1), key, x)
        for compiled in (forward, compile_for(chip, backward, key, x, x)):
            scratch.add(compiled.memory_analysis().temp_size_in_bytes)
    # The key's words, each of which takes 4 KiB, whatever the array's size.
    assert len(scratch) == 1
    assert scratch.pop() <= 2**17


@pytest.fixture
def onpaper(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "benchmarks"))
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield importlib.import_module("onpaper.tpu.compiler")


def test_masks_cost_no_talk_and_no_memory_on_four_chips(onpaper):
    from onpaper import nets

    def flax_dropout(key, x):
        return nn.Dropout(RATE, deterministic=False).apply({}, x, rngs={"dropout": key})

    mesh, net = onpaper.chips("v5e:2x2"), nets.mlp(width=256, batch=2048, depth=8)
    plain, ours, flax = (
        onpaper.compile_step(net, noise, "fast", mesh)
        for noise in (nets.Noise(), nets.NOISES["dropout"], nets.Noise(flax_dropout))
    )
    assert not onpaper.worse(ours, plain)
    assert onpaper.worse(flax, plain), "flax keeps its masks, and this must be seen"


def test_masks_cost_no_talk_where_sixteen_chips_share_a_model(onpaper):
    from onpaper import nets

    mesh = onpaper.chips("v6e:4x4", model=4)
    net = nets.transformer(width=256, heads=4, length=128, batch=4, depth=8)
    plain, *noisy = (
        onpaper.compile_step(net, nets.NOISES[name], "fast", mesh)
        for name in (nets.NONE, "dropout", "dropconnect")
    )
    assert plain["collectives"]
    assert not any(onpaper.worse(one, plain) for one in noisy)
