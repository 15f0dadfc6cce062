"""Programs have the structure that makes them fast, for every method that has a bar.

The bars are in docs/speed.md. Nothing is timed here: the compiler says which loops a
program has, what they write and what memory they need. These tests run with the oldest
versions and with the newest, whose compilers make different programs of the same code.
"""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest
from jax import lax

import dropjax as dj
import dropjax.linen as djl
from tests.programs import (
    both_ways,
    compiled,
    instructions,
    scratch,
    steps,
)

KEYS = {"threefry": jax.random.key(0), "fast": jax.random.key(0, impl=dj.fast_prng)}
every_key = pytest.mark.parametrize("key", KEYS.values(), ids=KEYS)
every_pass = pytest.mark.parametrize("backward", [False, True], ids=["there", "back"])
ARRAY, MAPS, SEQUENCES = (512, 256), (4, 24, 24, 64), (16, 64, 64)


def shaped(*shapes, dtype="float32"):
    return [jax.ShapeDtypeStruct(shape, dtype) for shape in shapes]


def program(function, key, *arrays, backward=False):
    if not backward:
        return compiled(function, key, *arrays)
    return compiled(
        both_ways(function), key, *arrays, jax.eval_shape(function, key, *arrays)
    )


# Activations: an array is read and written once, and no mask is stored.


ELEMENTWISE = {
    "dropout": dj.dropout,
    "gaussian_dropout": dj.gaussian_dropout,
    "gaussian_noise": dj.gaussian_noise,
    "uniform_noise": dj.uniform_noise,
    "uniform_noise-multiplicative": functools.partial(
        dj.uniform_noise, multiplicative=True
    ),
    "neftune": functools.partial(dj.neftune, batch_axis=None),
    "alpha_dropout": dj.alpha_dropout,
}
SHARED = {
    "spatial_dropout": (dj.spatial_dropout, MAPS),
    "feature_alpha_dropout": (dj.feature_alpha_dropout, MAPS),
    "drop_path": (dj.drop_path, MAPS),
    "condition_dropout": (functools.partial(dj.condition_dropout, fill=1.0), MAPS),
    "drop_block": (functools.partial(dj.drop_block, per_channel=False), MAPS),
    "variational_dropout": (dj.variational_dropout, SEQUENCES),
    "random_erasing": (dj.random_erasing, MAPS),
    "spec_augment": (functools.partial(dj.spec_augment, time_width=20), SEQUENCES),
    "span_dropout": (dj.span_dropout, (16, 64, 128)),
}


@pytest.mark.parametrize("function", ELEMENTWISE.values(), ids=ELEMENTWISE)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@every_key
@every_pass
def test_an_elementwise_method_is_one_loop_without_scratch(
    function, dtype, key, backward
):
    (x,) = shaped(ARRAY, dtype=dtype)
    made = program(lambda key, x: function(key, x, 0.1), key, x, backward=backward)
    assert len(steps(made, x.size)) == 1 + backward
    assert scratch(made) <= 1024


@pytest.mark.parametrize(("function", "shape"), SHARED.values(), ids=SHARED)
@every_key
@every_pass
def test_a_method_with_shared_coins_is_one_loop_beside_its_coins(
    function, shape, key, backward
):
    (x,) = shaped(shape)
    made = program(lambda key, x: function(key, x, 0.1), key, x, backward=backward)
    assert len(steps(made, x.size)) == 1 + backward
    assert scratch(made) < x.size * 4 / 8


@every_key
@every_pass
def test_drop_block_stores_a_number_for_each_place_and_no_words(key, backward):
    (x,) = shaped(MAPS)
    drop = lambda key, x: dj.drop_block(key, x, 0.1)  # noqa: E731
    made = program(drop, key, x, backward=backward)
    large = steps(made, x.size)
    assert len(large) <= (7 if backward else 4)
    assert sum(step.shape.startswith("f32") for step in large) == 1 + backward
    assert not any(step.shape.startswith("u32") for step in large)
    assert scratch(made) < 0.75 * x.size * 4


@every_key
def test_patch_dropout_writes_what_it_keeps_alone(key):
    (x,) = shaped((16, 65, 64))
    drop = lambda key, x: dj.patch_dropout(key, x, 0.5, ordered=False)[0]  # noqa: E731
    assert not steps(program(drop, key, x), x.size)
    assert scratch(program(drop, key, x)) < x.size * 4 / 8


@every_key
def test_recurrent_dropout_draws_before_the_loop_over_time(key):
    cell = nn.OptimizedLSTMCell(32)
    dropped = djl.RecurrentDropout(cell, 0.1, input_rate=0.1, deterministic=False)
    x = jnp.ones((8, 16, 32))
    params = nn.RNN(cell).init(jax.random.key(0), x)
    run = lambda key, x: nn.RNN(dropped).apply(params, x, rngs={"dropout": key})  # noqa: E731
    (coins,) = {step.size for step in steps(program(run, key, x), 256) if draws(step)}
    assert coins == 8 * 32


def draws(step):
    return step.count("xor") >= 3


@pytest.mark.parametrize("scanned", [True, False])
@every_key
def test_a_deep_net_keeps_no_masks(scanned, key):
    layers, x = 16, jnp.ones((512, 512))

    def loss(x, key):
        keys = jax.random.split(key, layers)
        step = lambda x, key: (dj.dropout(key, x, 0.1), None)  # noqa: E731
        if scanned:
            return lax.scan(step, x, keys)[0].sum()
        return functools.reduce(lambda x, key: step(x, key)[0], keys, x).sum()

    assert scratch(compiled(jax.grad(loss), x, key)) < 2.1 * x.nbytes


@every_key
def test_a_policy_that_keeps_products_keeps_nothing_for_a_dropout(key):
    """As the guide has it: neither the activation nor what is left of it."""
    layers, shape = 8, (256, 256)
    (x,) = shaped(shape)

    def memory(drop, policy):
        def layer(key, x, kernel):
            return drop(key, jax.nn.gelu(x @ kernel))

        step = jax.checkpoint(layer, policy=policy) if policy else layer

        def loss(kernels, x, key):
            for own, kernel in zip(jax.random.split(key, layers), kernels, strict=True):
                x = step(own, x, kernel)
            return x.sum()

        made = compiled(jax.grad(loss, (0, 1)), shaped(*[shape] * layers), x, key)
        return scratch(made) / (layers * 256 * 256)

    drop = lambda key, x: dj.dropout(key, x, 0.1)  # noqa: E731
    dots = jax.checkpoint_policies.dots_saveable
    assert memory(drop, None) > 7
    assert memory(drop, dots) < 4.2
    assert memory(drop, dots) < 1.05 * memory(lambda key, x: x, dots)


@every_key
def test_a_dropout_adds_no_more_to_a_program_than_flaxs(key):
    """What a compiler takes its time for: instructions, of which flax has more."""
    own = functools.partial(dj.dropout, rate=0.1)
    assert per_site(own, key) < per_site(flax_dropout, key)


def flax_dropout(key, x):
    return nn.Dropout(0.1, deterministic=False).apply({}, x, rngs={"dropout": key})


def per_site(drop, key):
    def net(sites):
        def loss(x, key):
            for own in jax.random.split(key, sites):
                x = drop(own, jnp.sin(x))
            return x.sum()

        return instructions(compiled(jax.grad(loss), *shaped((64, 64)), key))

    return (net(6) - net(3)) / 3


# Attention: what is stored are the weights, neither words nor masks beside them.


@pytest.mark.parametrize("shared", [True, False])
@every_key
@every_pass
def test_attention_stores_weights_and_no_coins(shared, key, backward):
    arrays = shaped(*[(4, 128, 4, 64)] * 3)
    weights = 4 * 4 * 128 * 128

    def of(attention, key, **options):
        def run(key, *arrays):
            return attention(*arrays, dropout_rng=key, dropout_rate=0.1, **options)

        return program(run, key, *arrays, backward=backward)

    ours = of(dj.dot_product_attention, key, broadcast_dropout=shared)
    # They are computed, and normalized; to go back, dropped and differentiated too.
    large = steps(ours, weights)
    assert len(large) <= (7 if backward else 2)
    assert all(step.shape.startswith("f32") for step in large)
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        options = {"broadcast_dropout": False, "deterministic": False}
        theirs = of(nn.dot_product_attention, KEYS["threefry"], **options)
    assert scratch(ours) < scratch(theirs)


# DropConnect: of a tree, with a mask per example or for several, and without masks.


def layer(**options):
    rate = options.pop("rate", 0.5)
    return lambda key, x, kernel: dj.dropconnect_dense(key, x, kernel, rate, **options)


@every_key
def test_each_kernel_of_a_tree_is_one_loop_without_scratch(key):
    shapes = (256, 128), (256, 128), (128, 80), (3, 3, 8, 16)
    tree = {name: {"kernel": leaf} for name, leaf in enumerate(shaped(*shapes))}
    made = compiled(lambda key, tree: dj.dropconnect(key, tree, 0.5), key, tree)
    assert len(steps(made, 3 * 3 * 8 * 16)) == len(shapes)
    assert scratch(made) <= 1024


EXAMPLES = {
    "32 at 0.5": ((32, 256, 256), 0.5),
    "128 at 0.5": ((128, 800, 800), 0.5),
    "128 at 0.3": ((128, 800, 800), 0.3),
    "37, each unit's own": ((37, 130, 70), jnp.linspace(0.1, 0.6, 70)),
}


@pytest.mark.parametrize(("sizes", "rate"), EXAMPLES.values(), ids=EXAMPLES)
@every_key
@every_pass
def test_loops_over_examples_add_rows_and_do_nothing_else(sizes, rate, key, backward):
    """Sums of rows that slice them in the same loop take ten times as long in jax 0.10.

    And a word of coins is for 32 examples: drawn in their loop, it is drawn 32 times.
    """
    batch, features, width = sizes
    drop = layer(mask_per="example", rate=rate)
    arrays = shaped((batch, features), (features, width))
    made = program(drop, key, *arrays, backward=backward)
    examples = -(-batch // 32) * 32
    loops = [step for step in steps(made) if step.size == examples * width]
    sums = [step for step in loops if step.count("select") > 1]
    assert sums
    for step in sums:
        assert step.count("dynamic-slice") == 0
    assert not any(draws(step) for step in loops)


@pytest.mark.parametrize("rate", [0.5, 0.3])
def test_masks_per_example_are_never_in_memory(rate):
    """The whole masks and their products would take 1,250 MiB, and 16 GiB."""
    drop, mib = layer(mask_per="example", rate=rate), 2**20
    sizes = {((128, 800), (800, 800)): (12.5, 25)}
    if rate == 0.5:
        sizes[(256, 4096), (4096, 4096)] = (1024, 1024)
    for shapes, most in sizes.items():
        for backward in (False, True):
            made = program(drop, KEYS["threefry"], *shaped(*shapes), backward=backward)
            assert scratch(made) < most[backward] * mib


@pytest.mark.parametrize(("mask_per", "most"), [("example", 5.5), (4, 2.5)])
def test_the_backward_pass_keeps_no_masks(mask_per, most):
    """What each step keeps would take 3.5 MiB more, and 10."""
    drop, arrays = layer(mask_per=mask_per, rate=0.3), shaped((128, 256), (256, 256))
    made = program(drop, KEYS["threefry"], *arrays, backward=True)
    assert scratch(made) < most * 2**20


@pytest.mark.parametrize("rate", [0.5, 0.3])
@every_key
@every_pass
def test_masks_of_several_examples_are_drawn_once_for_all_groups(rate, key, backward):
    x, kernel = shaped((64, 256), (256, 256))
    drop = layer(mask_per=4, rate=rate)
    made = program(drop, key, x, kernel, backward=backward)
    assert sum(step.count("dot") for step in steps(made)) <= (3 if backward else 1)
    # Where kernels are masked, one after the other, no word is drawn.
    masked = [step for step in steps(made, kernel.size) if step.count("select")]
    assert masked
    assert not any(draws(step) for step in masked)
    assert max(step.size for step in steps(made)) == kernel.size


@every_key
def test_gradients_of_several_groups_of_masks_are_added_one_by_one(key):
    """Their sum along an axis is a loop that XLA of jax 0.10 does not vectorize."""
    x, kernel = shaped((256, 96), (96, 128))
    made = program(layer(mask_per=2, rate=0.5), key, x, kernel, backward=True)
    added = [step for step in steps(made, kernel.size) if step.count("add")]
    assert added
    assert not any(step.count("reduce") for step in added)


@pytest.mark.parametrize(
    "function",
    [
        layer(noise="gaussian"),
        lambda key, x, w: jnp.stack(dj.dropconnect_moments(x, w, 0.5)),
    ],
    ids=["noise", "moments"],
)
@every_key
@every_pass
def test_what_draws_no_masks_takes_less_than_three_dense_layers(
    function, key, backward
):
    arrays = shaped((64, 256), (256, 256))
    dense = program(lambda key, x, w: x @ w, key, *arrays, backward=backward)
    ours = program(function, key, *arrays, backward=backward)
    products, of_dense = (
        sum(step.count("dot") for step in steps(made)) for made in (ours, dense)
    )
    assert of_dense
    assert products < 3 * of_dense


def normalized(x):
    return (x - x.mean(-1, keepdims=True)) * lax.rsqrt(x.var(-1, keepdims=True) + 1e-6)


def attention(x, weights):
    query, key, value = jnp.split(normalized(x) @ weights["qkv"], 3, -1)
    heads = [it.reshape(*x.shape[:-1], 8, -1) for it in (query, key, value)]
    return jax.nn.dot_product_attention(*heads).reshape(x.shape) @ weights["out"]


def mlp(x, weights):
    return jax.nn.gelu(normalized(x) @ weights["up"]) @ weights["down"]


def blocks(branch, x, weights):
    """The loss of two transformer blocks, with branches computed by `branch`."""
    for layer, own in enumerate((attention, mlp) * 2):
        x = x + branch(layer, x, functools.partial(own, weights=weights))
    return (x**2).mean()


def trained(branch):
    """The program of value and gradient, for 10 sequences of 512 tokens."""
    width = {
        "qkv": (256, 768),
        "out": (256, 256),
        "up": (256, 1024),
        "down": (1024, 256),
    }
    weights = {
        name: jax.ShapeDtypeStruct(it, jnp.float32) for name, it in width.items()
    }
    x = jax.ShapeDtypeStruct((10, 512, 256), jnp.float32)
    step = jax.value_and_grad(functools.partial(blocks, branch), (0, 1))
    return jax.jit(step).lower(x, weights).compile()


@pytest.mark.parametrize(("axis", "most"), [(0, 0.66), (1, 0.55)])
def test_a_branch_for_a_subset_saves_computation_and_memory(axis, most):
    def subset(layer, x, branch):
        key = jax.random.fold_in(KEYS["fast"], layer)
        return dj.subset_branch(key, x, branch, 0.4, axis=axis)

    ours, whole = trained(subset), trained(lambda layer, x, branch: branch(x))
    flops = [it.cost_analysis()["flops"] for it in (ours, whole)]
    assert flops[0] < most * flops[1]
    assert scratch(ours) < 0.7 * scratch(whole)
