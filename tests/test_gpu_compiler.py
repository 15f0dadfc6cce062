"""What a GPU would run: JAX's plugin for CUDA needs no GPU to compile for one."""

import functools
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


# Attention in blocks, both ways, in bfloat16.


BLOCKS = 16
# Once a block has many mask values, XLA computes what its rows and its columns add to
# an index in launches of their own, forward and back.
INDICES = {None: 0, "threefry": 12, "fast": 6}


def report_of_attention(batch, heads, generator, causal=False):
    """With dropout unless there is no generator; called in a process of its own."""
    from onpaper.gpu.compiler import compile_for

    impl = GENERATORS[generator or "fast"]
    key = jax.eval_shape(lambda: jax.random.key(0, impl=impl))
    x = jax.ShapeDtypeStruct((batch, 2048, heads, 64), jnp.bfloat16)
    options = {"dropout_rate": 0.1, "deterministic": generator is None}

    def both(key, cotangent, *arrays):
        attend = functools.partial(
            dj.dot_product_attention, dropout_rng=key, is_causal=causal, **options
        )
        y, back = jax.vjp(attend, *arrays)
        return y, back(cotangent)

    return compile_for("H100", both, key, *(x,) * 4)


@pytest.fixture(scope="module")
def attention(apart):
    return functools.cache(functools.partial(apart, report_of_attention))


@pytest.mark.parametrize("generator", INDICES)
def test_launches_of_attention_do_not_grow_with_batch_and_heads(attention, generator):
    few, many, more = (
        attention(*sizes, generator)["launches"]
        for sizes in ((1, 8), (8, 16), (32, 16))
    )
    assert max(many, more) <= few + BLOCKS * INDICES[generator]


@pytest.mark.parametrize("generator", GENERATORS)
def test_attention_stores_no_mask_and_multiplies_on_tensor_cores(attention, generator):
    report = attention(8, 16, generator)
    assert report["stored"] == []
    assert report["products"] == ["library bf16 bf16"]


def test_causal_attention_stores_which_keys_of_a_block_are_seen_alone(gpus, attention):
    from hlo import size_of

    report = attention(8, 16, "fast", True)
    assert report["products"] == ["library bf16 bf16"]
    for shape in report["stored"]:
        assert shape.startswith("pred")
        assert size_of(shape) <= size_of("pred[512,512]")


def test_the_mask_that_flaxs_attention_stores_is_seen(gpus):
    name = "dot_product_attention, 8x2048x16x64"
    (row,) = compiled(gpus, name, "forward+backward", gpus.FLAX, "fast").values()
    assert "pred[8,16,2048,2048]" in row["stored"]


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
