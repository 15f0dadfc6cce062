"""Masked updates: DropGrad, child tuning, learning rate dropout."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import dropjax as dj
from dropjax.optimizers import (
    child_mask,
    fisher_information,
    gradient_dropout,
    mask_updates,
)
from dropjax.schedules import curriculum
from tests.methods import array

KEY = jax.random.key(2021)
GRADIENTS = {"kernel": array((30, 20)), "bias": array((20,), seed=1)}


@pytest.fixture(autouse=True)
def standard_promotion():
    """Allow what optax does: its optimizers take powers with integer counts."""
    with jax.numpy_dtype_promotion("standard"):
        yield


def run(transform, steps, gradients=GRADIENTS):
    state, outputs = transform.init(gradients), []
    for _ in range(steps):
        updates, state = transform.update(gradients, state)
        outputs.append(updates)
    return outputs, state


def everything(path, leaf):
    return True


@pytest.mark.parametrize("scaling", ["inverted", "standard"])
def test_step_t_is_dropconnect_with_the_key_of_step_t(scaling):
    outputs, state = run(gradient_dropout(KEY, 0.3, scaling=scaling), 3)
    for step, updates in enumerate(outputs):
        own = jax.random.fold_in(KEY, step)
        options = {"where": everything, "scaling": scaling}
        expected = dj.dropconnect(own, GRADIENTS, 0.3, **options)
        chex.assert_trees_all_equal(updates, expected)
    assert state.step == 3
    assert not jnp.array_equal(outputs[0]["kernel"], outputs[1]["kernel"])


def test_the_mean_is_the_gradient():
    transform = gradient_dropout(KEY, 0.3)

    def step(state, _):
        updates, state = transform.update(GRADIENTS, state)
        return state, updates

    start = transform.init(GRADIENTS)
    _, many = jax.jit(lambda s: jax.lax.scan(step, s, length=2000))(start)
    for name, gradient in GRADIENTS.items():
        deviation = np.abs(gradient) * np.sqrt(0.3 / 0.7 / 2000)
        assert (np.abs(many[name].mean(0) - gradient) < 5 * deviation).all()


def test_adding_a_parameter_changes_no_other_mask():
    alone, _ = run(gradient_dropout(KEY, 0.5), 1)
    more = {"a": jnp.ones((3, 3)), **GRADIENTS}
    beside, _ = run(gradient_dropout(KEY, 0.5), 1, more)
    for name in GRADIENTS:
        np.testing.assert_array_equal(alone[0][name], beside[0][name])


def test_where_and_leaves_that_are_no_floats():
    gradients = {**GRADIENTS, "count": jnp.ones(3, jnp.int32), "nothing": None}
    (updates,), _ = run(gradient_dropout(KEY, 0.5), 1, gradients)
    assert updates["count"] is gradients["count"]
    assert (updates["bias"] == 0).any()
    where = lambda path, leaf: path == "kernel"  # noqa: E731
    (updates,), _ = run(gradient_dropout(KEY, 0.5, where=where), 1)
    assert updates["bias"] is GRADIENTS["bias"]


def test_the_rate_may_be_a_schedule_without_retracing():
    transform, traces = gradient_dropout(KEY, curriculum(0.5, 20)), []

    @jax.jit
    def update(gradients, state):
        traces.append(state)
        return transform.update(gradients, state)

    state, shares = transform.init(GRADIENTS), []
    for _ in range(20):
        updates, state = update(GRADIENTS, state)
        shares.append(float((updates["kernel"] == 0).mean()))
    assert len(traces) == 1
    assert shares[0] == 0
    assert abs(np.mean(shares[10:]) - 0.5) < 0.05


def test_a_raw_key_stays_raw_for_checkpoints():
    raw = jax.random.key_data(KEY)
    outputs, state = run(gradient_dropout(raw, 0.3), 2)
    assert state.key.dtype == jnp.uint32
    expected, _ = run(gradient_dropout(KEY, 0.3), 2)
    chex.assert_trees_all_equal(outputs, expected)


def test_going_on_from_a_saved_state_is_the_same_run():
    transform = optax.chain(gradient_dropout(KEY, 0.3), optax.adam(1e-3))
    whole, _ = run(transform, 4)
    _, state = run(transform, 2)
    leaves, structure = jax.tree.flatten(state)
    state = jax.tree.unflatten(structure, [jnp.array(leaf) for leaf in leaves])
    for expected in whole[2:]:
        updates, state = transform.update(GRADIENTS, state)
        chex.assert_trees_all_equal(updates, expected)


def test_behind_the_optimizer_it_drops_steps_but_no_momentum():
    """Lin et al.: the momentum is that of the undisturbed optimizer."""
    plain, _ = run(optax.sgd(0.1, momentum=0.9), 3)
    dropping = gradient_dropout(KEY, 0.5, scaling="standard")
    chained, _ = run(optax.chain(optax.sgd(0.1, momentum=0.9), dropping), 3)
    for got, undisturbed in zip(chained, plain, strict=True):
        kept = got["kernel"] != 0
        assert 0.3 < kept.mean() < 0.7
        np.testing.assert_array_equal(
            got["kernel"], jnp.where(kept, undisturbed["kernel"], 0)
        )


def test_vmapped_seeds_have_masks_of_their_own():
    keys = jax.random.split(KEY, 3)

    def first(key):
        transform = gradient_dropout(key, 0.5)
        return transform.update(GRADIENTS, transform.init(GRADIENTS))[0]["kernel"]

    loop = jnp.stack([first(key) for key in keys])
    np.testing.assert_array_equal(jax.vmap(first)(keys), loop)


def test_rate_zero_changes_nothing_and_one_stops_everything():
    (updates,), _ = run(gradient_dropout(KEY, 0.0), 1)
    assert updates is GRADIENTS
    (updates,), _ = run(gradient_dropout(KEY, 1.0), 1)
    assert not any(leaf.any() for leaf in jax.tree.leaves(updates))


def test_a_fixed_mask_selects_and_never_scales():
    mask = {"kernel": GRADIENTS["kernel"] > 0, "bias": jnp.zeros(20, bool)}
    poisoned = {**GRADIENTS, "bias": jnp.full(20, jnp.nan)}
    (updates,), state = run(mask_updates(mask), 1, poisoned)
    kernel = jnp.where(mask["kernel"], GRADIENTS["kernel"], 0)
    np.testing.assert_array_equal(updates["kernel"], kernel)
    assert not updates["bias"].any()
    assert not jax.tree.leaves(state)


def test_weight_decay_moves_masked_weights_unless_it_is_masked_too():
    mask = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, bool), GRADIENTS)
    decayed = optax.chain(mask_updates(mask), optax.adamw(0.1, weight_decay=0.1))
    frozen = optax.chain(decayed, mask_updates(mask))
    for transform, moves in ((decayed, True), (frozen, False)):
        updates, _ = transform.update(
            GRADIENTS, transform.init(GRADIENTS), params=GRADIENTS
        )
        assert bool(updates["kernel"].any()) == moves


@pytest.mark.parametrize("rate", [0.0, 0.25, 0.7, 1.0])
def test_the_child_has_the_most_information_of_the_whole_tree(rate):
    information = jax.tree.map(jnp.square, GRADIENTS)
    mask = child_mask(information, rate)
    kept = [information[name][mask[name]] for name in GRADIENTS]
    lost = [information[name][~mask[name]] for name in GRADIENTS]
    assert sum(part.size for part in kept) == round((1 - rate) * 620)
    if 0 < rate < 1:
        assert jnp.concatenate(kept).min() >= jnp.concatenate(lost).max()


def test_ties_are_cut_exactly():
    mask = child_mask({"a": jnp.ones((4, 5)), "b": jnp.ones(20)}, 0.7)
    assert sum(int(leaf.sum()) for leaf in mask.values()) == 12


def test_fisher_information_is_the_mean_square_of_each_examples_gradient():
    params = {"w": array((3,)), "b": jnp.float32(0.3)}
    x, y = array((11, 3), seed=4), array((11,), seed=5)

    def log_likelihood(params, example):
        x, y = example
        return -((x @ params["w"] + params["b"] - y) ** 2)

    found = jax.jit(lambda p: fisher_information(log_likelihood, p, (x, y)))(params)
    residual = np.asarray(x @ params["w"] + params["b"] - y, np.float64)
    slopes = -2 * residual[:, None] * np.asarray(x)
    np.testing.assert_allclose(found["w"], (slopes**2).mean(0), rtol=1e-4)
    np.testing.assert_allclose(found["b"], (4 * residual**2).mean(), rtol=1e-4)


def test_child_tuning_leaves_the_rest_of_the_net_as_it_was():
    x, y = array((40, 6)), array((40,), seed=5)
    params = {"w": jnp.zeros(6), "b": jnp.float32(0)}

    def loss(params, example):
        x, y = example
        return (x @ params["w"] + params["b"] - y) ** 2

    mask = child_mask(fisher_information(loss, params, (x, y)), 0.5)
    optimizer = optax.chain(mask_updates(mask), optax.adam(0.1))
    state, now = optimizer.init(params), params
    mean_loss = lambda p: jax.vmap(loss, (None, 0))(p, (x, y)).mean()  # noqa: E731
    for _ in range(10):
        updates, state = optimizer.update(jax.grad(mean_loss)(now), state)
        now = optax.apply_updates(now, updates)
    moved = jax.tree.map(lambda new, old: new != old, now, params)
    chex.assert_trees_all_equal(moved, mask)


def test_child_tuning_with_the_optimizer_of_nnx():
    x, y = array((40, 6)), array((40, 2), seed=5)
    model = nnx.Linear(6, 2, rngs=nnx.Rngs(0))
    graph, state = nnx.split(model)
    params = jax.tree.map(jnp.array, state)

    def loss(params, example):
        x, y = example
        return ((nnx.merge(graph, params)(x) - y) ** 2).mean()

    mask = child_mask(fisher_information(loss, params, (x, y)), 0.5)
    transform = optax.chain(optax.adamw(0.1), mask_updates(mask))
    optimizer = nnx.Optimizer(model, transform, wrt=nnx.Param)
    slopes = nnx.grad(lambda model: ((model(x) - y) ** 2).mean())(model)
    optimizer.update(model, slopes)
    moved = jax.tree.map(lambda new, old: new != old, nnx.state(model), params)
    chex.assert_trees_all_equal(moved, mask)


def test_fisher_information_of_half_precision_does_not_stall():
    ones = jnp.ones(3000, jnp.bfloat16)
    found = fisher_information(lambda w, x: w * x, jnp.bfloat16(3), ones)
    assert found == 1
    assert found.dtype == jnp.float32


@pytest.mark.parametrize("key", [KEY, jax.random.key_data(KEY)])
def test_a_donated_state_leaves_the_key_alone(key):
    transform = gradient_dropout(key, 0.5)
    update = jax.jit(transform.update, donate_argnums=1)
    for _ in range(2):
        _, state = update(GRADIENTS, transform.init(GRADIENTS))
    assert state.step == 1


def test_information_is_ranked_in_its_own_precision():
    with jax.enable_x64(True):
        for values in (
            [1e-60, 2e-60, 3e-60, 4e-60],
            [1, 1 + 1e-10, 1 + 2e-10, 1 + 3e-10],
        ):
            mask = child_mask({"a": jnp.asarray(values, jnp.float64)}, 0.5)
            assert mask["a"].tolist() == [False, False, True, True]


def test_information_of_complex_parameters_is_the_squared_magnitude():
    loss = lambda w, x: (w * x).real + 2 * (w * x).imag  # noqa: E731
    found = fisher_information(loss, jnp.complex64(1), jnp.array([1.0, 2.0]))
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, 12.5)


def test_a_part_of_the_tree_without_leaves_is_passed_on():
    """As `optax.partition` gives to a label that nothing has."""
    transform = gradient_dropout(KEY, 0.5)
    updates, state = transform.update({}, transform.init({}))
    assert updates == {}
    assert state.step == 1


def test_a_fixed_mask_of_updates_that_are_all_left_out():
    updates = {"a": jnp.ones(3)}
    transform = optax.masked(mask_updates({"a": jnp.zeros(3, bool)}), False)
    masked, _ = transform.update(updates, transform.init(updates))
    assert masked["a"].all()


@pytest.mark.parametrize(
    "within",
    [
        lambda transform, own: optax.masked(transform, own),
        lambda transform, own: optax.partition(
            {True: transform, False: optax.identity()}, own
        ),
    ],
)
def test_a_fixed_mask_of_a_part_of_the_updates(within):
    updates = {"a": {"w": jnp.ones(3), "b": jnp.ones(2)}, "c": jnp.ones(4)}
    mask = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, bool), updates)
    own = {"a": {"w": True, "b": False}, "c": False}
    transform = within(mask_updates(mask), own)
    masked, _ = transform.update(updates, transform.init(updates))
    assert not masked["a"]["w"].any()
    assert masked["a"]["b"].all()
    assert masked["c"].all()
    with pytest.raises(ValueError, match="'d' in mask alone"):
        mask_updates({**mask, "d": mask["c"]}).update(updates, None)
