"""MLPs without their dropped hidden units."""

import functools
import itertools
import re

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.sharding import NamedSharding, PartitionSpec

import dropjax as dj
import dropjax.linen as djl
import dropjax.nnx as djn
from tests.methods import array
from tests.programs import compiled, scratch, steps

KEY = jax.random.key(2024)
FEATURES, HIDDEN, OUT = 6, 24, 5
X = array((8, 3, FEATURES))
KERNELS = {
    "kernel_in": array((FEATURES, HIDDEN), seed=1),
    "kernel_out": array((HIDDEN, OUT), seed=2),
}
BIASES = {"bias_in": array((HIDDEN,), seed=3), "bias_out": array((OUT,), seed=4)}
GATE = {
    "kernel_gate": array((FEATURES, HIDDEN), seed=5),
    "bias_gate": array((HIDDEN,), seed=6),
}
WEIGHTS = {
    "kernels": KERNELS,
    "biases": {**KERNELS, **BIASES},
    "gate": {**KERNELS, **BIASES, **GATE},
}
OPTIONS = {
    "units": {},
    "blocks": {"block_size": 4},
    "groups": {"block_size": 2, "groups": 3},
    "examples": {"mask_per": "example"},
    "some examples": {"mask_per": 3, "block_size": 2},
    "more examples than there are": {"mask_per": 20},
}
every_weights = pytest.mark.parametrize("weights", WEIGHTS.values(), ids=WEIGHTS)
every_option = pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)


def mlp(x, weights, rate=0.4, key=KEY, **options):
    return dj.structured_dropout_mlp(key, x, rate=rate, **weights, **options)


def masked(x, weights, rate=0.4, **options):
    """The definition: all units are computed, and the dropped ones are zeros."""
    mask = dj.structured_dropout_mlp_mask(KEY, (*x.shape[:-1], HIDDEN), rate, **options)

    def affine(x, name):
        y, bias = x @ weights[f"kernel_{name}"], weights.get(f"bias_{name}")
        return y if bias is None else y + bias[None, None]

    units = affine(x, "in")
    if "kernel_gate" in weights:
        units = jax.nn.gelu(affine(x, "gate")) * units
    else:
        units = jax.nn.gelu(units)
    return affine(jnp.where(mask, units / mask[0].mean(), 0), "out")


@every_weights
@every_option
def test_it_is_the_mlp_with_masked_units(weights, options):
    both = [functools.partial(it, **options) for it in (mlp, masked)]

    def facts(function, x, weights):
        y, back = jax.vjp(function, x, weights)
        pushed = jax.jvp(function, (x, weights), (x, weights))[1]
        return y, pushed, back(y)

    for wrap in (lambda f: f, jax.jit):
        own, wanted = (wrap(functools.partial(facts, it))(X, weights) for it in both)
        own, wanted = jax.tree.leaves(own), jax.tree.leaves(wanted)
        for one, other in zip(own, wanted, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-2)


@every_weights
def test_gradients_of_dropped_units_are_zeros_in_the_full_kernels(weights):
    slope = jax.grad(lambda weights: mlp(X, weights).sum())(weights)
    keep = dj.structured_dropout_mlp_mask(KEY, (HIDDEN,), 0.4)
    assert keep.sum() == round(0.6 * HIDDEN)
    for name in set(weights) - {"bias_out"}:
        own = slope[name] if name == "kernel_out" else slope[name].T
        assert own.shape[0] == HIDDEN
        np.testing.assert_array_equal((own != 0).reshape(HIDDEN, -1).any(1), keep)


@pytest.mark.parametrize(("rate", "kept"), [(0.1, 5), (0.5, 3), (0.9, 1), (0.99, 1)])
@pytest.mark.parametrize("generator", ["threefry2x32", dj.fast_prng])
def test_the_number_of_kept_blocks_is_exact(rate, kept, generator):
    keys = jax.random.split(jax.random.key(3, impl=generator), 100)
    draw = functools.partial(dj.structured_dropout_mlp_mask, block_size=4)
    masks = jax.vmap(lambda key: draw(key, (2, HIDDEN), rate))(keys)
    blocks = np.asarray(masks).reshape(100, 6, 4)
    assert (blocks.any(-1) == blocks.all(-1)).all()
    assert (blocks.all(-1).sum(-1) == kept).all()


@pytest.mark.parametrize("generator", ["threefry2x32", dj.fast_prng])
def test_every_subset_is_as_likely(generator):
    keys = jax.random.split(jax.random.key(4, impl=generator), 4000)
    draw = lambda key: dj.structured_dropout_mlp_mask(key, (6,), 0.5)  # noqa: E731
    masks = np.asarray(jax.jit(jax.vmap(draw))(keys))
    _, counts = np.unique(masks, axis=0, return_counts=True)
    assert len(counts) == 20
    # Chi-square with 19 degrees of freedom: 50 has a probability of 1e-4.
    assert ((counts - 200) ** 2 / 200).sum() < 50


def test_examples_and_keys_draw_independently():
    keys = jax.random.split(KEY, 500)
    options = {"mask_per": 2}
    draw = lambda key: dj.structured_dropout_mlp_mask(key, (6, 8), 0.5, **options)  # noqa: E731
    masks = np.asarray(jax.jit(jax.vmap(draw))(keys))
    np.testing.assert_array_equal(masks[:, ::2], masks[:, 1::2])
    for first, second in itertools.combinations(range(0, 6, 2), 2):
        signs = np.where(masks[:, first] == masks[:, second], 1, -1)
        assert abs(signs.mean()) * np.sqrt(signs.size) < 5
    # Any two examples have masks of their own keys, whatever the number of examples.
    few = dj.structured_dropout_mlp_mask(KEY, (4, 8), 0.5, mask_per=2)
    more = dj.structured_dropout_mlp_mask(KEY, (9, 8), 0.5, mask_per=2)
    np.testing.assert_array_equal(few, more[:4])


@every_option
def test_the_mean_over_subsets_is_exact(options):
    """Every unit is kept equally often among all subsets of 2 of 4 blocks."""
    weights = {name: it.astype(np.float32) for name, it in WEIGHTS["gate"].items()}
    keys = jax.random.split(KEY, 3000)
    mean = lambda x: jax.vmap(lambda key: mlp(x, weights, 0.5, key, **options))(keys)  # noqa: E731
    y = jax.jit(mean)(X[:3])
    wanted = mlp(X[:3], weights, 0.0)
    error = y.std(0) / np.sqrt(len(keys))
    assert (abs(y.mean(0) - wanted) < 5 * error + 1e-3).all()


@every_weights
def test_it_needs_no_key_where_nothing_is_drawn(weights):
    plain = masked(X, weights, 0.0)
    off = [{"rate": 0}, {"rate": 0.4, "deterministic": True}, {"rate": 0.01}]
    for options in off:
        y = mlp(X, weights, key=None, **options)
        np.testing.assert_allclose(y, plain, rtol=1e-5, atol=1e-4)
    bias = weights.get("bias_out", jnp.zeros(OUT))
    y, back = jax.vjp(lambda weights: mlp(X, weights, 1, None), weights)
    np.testing.assert_array_equal(y, jnp.broadcast_to(bias, y.shape))
    (slope,) = back(jnp.ones_like(y))
    assert all((slope[name] == 0).all() for name in set(weights) - {"bias_out"})


def test_one_example_without_a_batch_axis():
    for options in ({}, {"mask_per": "example"}, {"mask_per": 4}):
        batched = mlp(X[:1, 0], WEIGHTS["gate"], **options)
        np.testing.assert_allclose(
            mlp(X[0, 0], WEIGHTS["gate"], **options), batched[0], rtol=1e-6
        )


def test_the_last_group_may_be_short_and_its_fillers_have_no_gradient():
    weights = WEIGHTS["biases"]
    root = lambda x: jnp.sqrt(jnp.abs(x))  # noqa: E731
    options = {"mask_per": 3, "activation": root}
    slopes = jax.grad(lambda w: mlp(X, w, **options).sum())(weights)
    assert all(np.isfinite(slope).all() for slope in slopes.values())


def test_an_activation_with_parameters_may_be_given():
    def loss(slope):
        activation = lambda x: jnp.where(x > 0, x, slope * x)  # noqa: E731
        return mlp(X, KERNELS, activation=activation).sum()

    assert jax.grad(loss)(0.5) != 0
    assert jax.jit(jax.grad(loss))(0.5) != 0


# Layers.


@pytest.mark.parametrize("gated", [False, True])
@every_option
def test_layers_and_function_give_the_same_bits(gated, options):
    made = {"gated": gated, "activation": jax.nn.silu, **options}
    linen = djl.StructuredDropoutMLP(HIDDEN, OUT, 0.4, **made)
    params = linen.init(KEY, X, True)["params"]
    layer = djn.StructuredDropoutMLP(
        FEATURES, HIDDEN, OUT, 0.4, **made, rngs=new_rngs()
    )
    for name, own in params.items():
        getattr(layer, name).kernel = nnx.Param(own["kernel"])
    arrays = {
        f"{kind}_{name.removeprefix('linear_')}": it
        for name, own in params.items()
        for kind, it in own.items()
    }
    for deterministic in (False, True):
        off = {"deterministic": deterministic}
        y = mlp(X, arrays, activation=jax.nn.silu, **options, **off)
        of_linen = linen.apply({"params": params}, X, rng=KEY, **off)
        np.testing.assert_array_equal(y, of_linen)
        np.testing.assert_array_equal(y, layer(X, rngs=KEY, **off))


def new_rngs():
    return nnx.Rngs(0)


class _Block(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.Dense(HIDDEN)(x)
        return nn.Dense(OUT)(nn.gelu(x))


@pytest.mark.parametrize("use_bias", [False, True])
def test_linens_checkpoints_move_over(use_bias):
    layer = djl.StructuredDropoutMLP(HIDDEN, OUT, 0.4, use_bias=use_bias)
    own = layer.init(KEY, X, True)["params"]
    for name, width in (("linear_in", HIDDEN), ("linear_out", OUT)):
        inputs = X if name == "linear_in" else jnp.ones(HIDDEN)
        dense = nn.Dense(width, use_bias=use_bias)
        theirs = jax.eval_shape(dense.init, KEY, inputs)["params"]
        assert jax.tree.structure(own[name]) == jax.tree.structure(theirs)
        assert jax.tree.map(jnp.shape, own[name]) == jax.tree.map(jnp.shape, theirs)
    if use_bias:
        params = _Block().init(KEY, X)["params"]
        moved = {"linear_in": params["Dense_0"], "linear_out": params["Dense_1"]}
        y = layer.apply({"params": moved}, X, True)
        np.testing.assert_array_equal(y, _Block().apply({"params": params}, X))


def test_nnxs_layers_move_over():
    rngs = new_rngs()
    first = nnx.Linear(FEATURES, HIDDEN, rngs=rngs)
    second = nnx.Linear(HIDDEN, OUT, rngs=rngs)
    layer = djn.StructuredDropoutMLP(FEATURES, HIDDEN, OUT, 0.4, rngs=new_rngs())
    y = second(nnx.gelu(first(X)))
    np.testing.assert_array_equal(layer(X, deterministic=True), y)  # The same rngs.
    other = djn.StructuredDropoutMLP(FEATURES, HIDDEN, OUT, 0.4, rngs=nnx.Rngs(1))
    other.linear_in, other.linear_out = first, second
    np.testing.assert_array_equal(other(X, deterministic=True), y)


@pytest.mark.parametrize("name", ["kernel", "bias"])
def test_the_outputs_parameters_may_have_initializers_of_their_own(name):
    ones, twos = (nn.initializers.constant(it) for it in (1.0, 2.0))
    made = {f"{name}_init": ones, f"out_{name}_init": twos, "gated": True}
    params = djl.StructuredDropoutMLP(HIDDEN, OUT, 0.4, **made).init(KEY, X, True)
    layer = djn.StructuredDropoutMLP(
        FEATURES, HIDDEN, OUT, 0.4, **made, rngs=new_rngs()
    )
    for part, value in (("in", 1), ("gate", 1), ("out", 2)):
        assert (params["params"][f"linear_{part}"][name] == value).all()
        assert (getattr(getattr(layer, f"linear_{part}"), name)[...] == value).all()


def test_the_outputs_variables_may_have_metadata_of_their_own():
    layer = djn.StructuredDropoutMLP(
        *(FEATURES, HIDDEN, OUT, 0.4),
        kernel_metadata={"axes": "embed mlp"},
        out_kernel_metadata={"axes": "mlp embed"},
        rngs=new_rngs(),
    )
    assert layer.linear_in.kernel.axes == "embed mlp"
    assert layer.linear_out.kernel.axes == "mlp embed"


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_layers_compute_in_their_dtype(dtype):
    linen = djl.StructuredDropoutMLP(HIDDEN, OUT, 0.4, dtype=dtype)
    layer = djn.StructuredDropoutMLP(
        FEATURES, HIDDEN, OUT, 0.4, dtype=dtype, rngs=new_rngs()
    )
    params = linen.init(KEY, X, True)
    for y in (linen.apply(params, X, False, rng=KEY), layer(X)):
        assert y.dtype == dtype


# Structure: what the program computes and stores.


def bar(rate, **options):
    """The program of value and gradient, and that of the MLP without dropout."""
    shapes = (1024, 768), (768, 3072), (3072, 768)
    arrays = [jax.ShapeDtypeStruct(shape, "float32") for shape in shapes]

    def value_and_gradient(rate, key, *arrays):
        run = functools.partial(dj.structured_dropout_mlp, key, rate=rate, **options)
        return jax.value_and_grad(lambda *a: (run(*a) ** 2).mean(), (0, 1, 2))(*arrays)

    return [
        compiled(functools.partial(value_and_gradient, it), KEY, *arrays)
        for it in (rate, 0.0)
    ]


def flops(program):
    return program.cost_analysis()["flops"]


@pytest.mark.parametrize("block_size", [1, 128])
def test_half_of_the_units_take_half_of_the_products_and_of_the_memory(block_size):
    ours, plain = bar(0.5, block_size=block_size)
    assert flops(ours) < 0.51 * flops(plain)
    assert scratch(ours) < 0.5 * scratch(plain)
    # Of the size of the hidden units there is nothing.
    assert not [step for step in steps(ours) if step.size == 1024 * 3072]


def test_a_low_rate_takes_fewer_products_than_the_plain_mlp():
    ours, plain = bar(0.1, block_size=128)
    assert flops(ours) < 0.93 * flops(plain)
    assert scratch(ours) < 1.15 * scratch(plain)


@pytest.mark.parametrize("block_size", [1, 8])
def test_gradients_are_gathered_and_not_scattered(block_size):
    """A scatter takes twice the time, and memory for another kernel."""
    x, *kernels = [
        jax.ShapeDtypeStruct(shape, "float32")
        for shape in ((64, 32), (32, 128), (128, 32))
    ]

    def loss(key, x, *kernels):
        options = {"rate": 0.5, "block_size": block_size}
        return dj.structured_dropout_mlp(key, x, *kernels, **options).sum()

    program = compiled(jax.grad(loss, (2, 3)), KEY, x, *kernels)
    large = [step for step in steps(program, 32 * 64) if step.count("scatter")]
    assert not large


def test_kernels_of_groups_of_examples_are_not_stored():
    shapes = (1024, 64), (64, 256), (256, 64)
    arrays = [jax.ShapeDtypeStruct(shape, "float32") for shape in shapes]

    def loss(key, *arrays):
        options = {"rate": 0.5, "mask_per": 32}
        return dj.structured_dropout_mlp(key, *arrays, **options).sum()

    program = compiled(jax.grad(loss, (1, 2)), KEY, *arrays)
    kept, kernels = 1024 * 128, 32 * 2 * 64 * 128
    assert scratch(program) < 4 * (2.5 * kept + kernels / 4)


# Meshes.


def collectives(function, mesh, specs, arrays):
    with jax.set_mesh(mesh):
        shards = [
            jax.device_put(it, NamedSharding(mesh, PartitionSpec(*spec)))
            for it, spec in zip(arrays, specs, strict=True)
        ]
        program = jax.jit(function).lower(*shards).compile()
        names = "all-reduce|all-gather|all-to-all|collective-permute|reduce-scatter"
        found = re.findall(rf" ({names})(?:-start)?\(", program.as_text())
        return sorted(found), program(*shards)


LAYOUTS = {
    "data": ([("data",), (), ()], {}),
    "model": ([("data",), (None, "model"), ("model",)], {"groups": 4}),
    "fsdp": ([("data",), ("data",), (None, "data")], {"block_size": 2}),
}


@pytest.mark.parametrize(("specs", "options"), LAYOUTS.values(), ids=LAYOUTS)
@pytest.mark.parametrize("axis_type", ["Auto", "Explicit"])
def test_meshes_have_no_more_collectives_than_the_plain_mlp(specs, options, axis_type):
    arrays = [array((16, 8)), array((8, 64), seed=1), array((64, 8), seed=2)]
    run = lambda rate, *a: dj.structured_dropout_mlp(KEY, *a, rate, **options)  # noqa: E731
    loss = lambda rate, *a: (run(rate, *a) ** 2).sum()  # noqa: E731
    for function in (run, jax.grad(loss, (1, 2, 3))):
        found = {}
        for rate, kind in ((0.5, axis_type), (0.0, "Auto")):
            kinds = (getattr(jax.sharding.AxisType, kind),) * 2
            mesh = jax.make_mesh((2, 4), ("data", "model"), kinds)
            here = functools.partial(function, rate)
            found[rate], y = collectives(here, mesh, specs, arrays)
            wanted = jax.tree.leaves(here(*arrays))
            for one, other in zip(jax.tree.leaves(y), wanted, strict=True):
                error = 1e-5 * abs(other).max()
                np.testing.assert_allclose(one, other, rtol=1e-4, atol=error)
        if axis_type == "Auto" or function is run:
            assert found[0.5] == found[0.0]
