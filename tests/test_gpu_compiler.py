"""What a GPU would run: JAX's plugin for CUDA needs no GPU to compile for one."""

import importlib
import importlib.util
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

import dropjax as dj
from tests.methods import METHODS

pytestmark = [
    pytest.mark.gpu_compiler,
    pytest.mark.skipif(
        importlib.util.find_spec("jax_cuda13_plugin") is None,
        reason="there is no plugin for CUDA",
    ),
]
GENERATORS = {"threefry": "threefry2x32", "fast": dj.fast_prng}


@pytest.fixture(scope="module")
def gpus():
    """The program whose rows these are, and its bars."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(Path(__file__).parents[1] / "benchmarks"))
        yield importlib.import_module("gpus")


def compiled(gpus, *wanted):
    """The rows whose names have these words, for an H100."""
    rows = {}
    chosen = [case for case in gpus.cases() if {"H100", *wanted} <= set(case)]
    assert chosen
    assert list(gpus.compile_missing(chosen, rows)) == chosen
    return rows


def missed(gpus, rows):
    return {name: what for name in rows if (what := gpus.missed_by(name, rows))}


@pytest.mark.parametrize("kind", ["OWN", "SHARED"])
def test_methods_are_one_launch_and_store_no_mask(gpus, kind):
    kind = getattr(gpus.bars, kind)
    for name, method in gpus.METHODS.items():
        if method.kind == kind:
            assert not missed(gpus, compiled(gpus, name, "forward"))


def test_dropout_is_a_launch_for_each_pass(gpus):
    assert not missed(gpus, compiled(gpus, "dropout", "forward+backward"))


@pytest.mark.parametrize("form", ["scanned", "unrolled"])
def test_a_deep_net_keeps_no_masks(gpus, form):
    rows = compiled(gpus, "MLP", form)
    assert not missed(gpus, rows)
    flax, plain = (
        next(row for row in rows.values() if row["who"] == who)
        for who in (gpus.FLAX, gpus.PLAIN)
    )
    # Flax's masks are kept, and this must be seen.
    assert list(gpus.bars.of_step(flax, plain, flax))


@pytest.mark.parametrize("passes", ["forward", "forward+backward"])
def test_masks_per_example_are_a_handful_of_launches(gpus, passes):
    name = "dropconnect_dense, rate=0.5, mask_per='example'"
    assert not missed(gpus, compiled(gpus, name, passes))


def test_every_method_is_compiled(gpus):
    table = {method.public[0].__name__ for method in METHODS}
    found = {name.partition(",")[0] for name in gpus.METHODS}
    # These are wrapped around a layer or a cell, which is most of their work, and
    # these are dense layers of other axes.
    wrapped = {"layer_drop", "RecurrentDropout", "Zoneout"}
    general = {"dropconnect_dense_general", "dropconnect_einsum"}
    assert table - found == wrapped | general


@pytest.fixture(scope="module")
def apart(gpus):
    return importlib.import_module("onpaper.apart").Apart()


def launches_of(index, generator, face):
    """Of a row of the table of methods; called in a process of its own."""
    from onpaper.gpu.compiler import compile_for

    method = METHODS[index]
    key = jax.eval_shape(lambda: jax.random.key(0, impl=GENERATORS[generator]))
    drop = getattr(method, face)

    def value_and_gradient(key, x):
        value = lambda x: jnp.sum(drop(key, x, 0.3))  # noqa: E731
        return jax.value_and_grad(value)(x) if method.smooth else value(x)

    return compile_for("H100", value_and_gradient, key, method.array())["launches"]


@pytest.mark.slow
@pytest.mark.parametrize("generator", GENERATORS)
@pytest.mark.parametrize("index", range(len(METHODS)), ids=lambda it: METHODS[it].name)
def test_every_method_compiles_for_a_gpu(apart, index, generator):
    assert apart(launches_of, index, generator, METHODS[index].faces[0])
