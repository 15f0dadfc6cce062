"""The default selection, on trees of parameters of many libraries."""

import equinox as eqx
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import dropjax as dj
import dropjax.linen as djl
import dropjax.nnx as djn
from tests import zoo
from tests.zoo.models import MODELS

KEY = jax.random.key(2013)
ZOO = zoo.read()
INSTALLED = ("flax Linen", "flax NNX", "equinox", "by hand")


def expected(title):
    return {entry.path for entry in ZOO[title] if entry.mark == "+"}


def test_the_zoo_is_large_and_judged():
    assert set(ZOO) == set(MODELS)
    assert len(ZOO) >= 15
    marks = {entry.mark for entries in ZOO.values() for entry in entries}
    assert marks == {"+", "-"}


@pytest.mark.parametrize("title", ZOO)
def test_kernels_and_nothing_else_are_selected(title):
    assert set(dj.selected(zoo.build(ZOO[title]))) == expected(title)


@pytest.mark.parametrize(
    "title", [title for title in MODELS if title.startswith(INSTALLED)]
)
def test_the_models_of_the_zoo_have_such_trees(title):
    assert set(dj.selected(MODELS[title]())) == expected(title)


def stacked():
    entries = ZOO["equinox: stacked blocks"]
    return jax.tree.map(
        lambda leaf: jnp.ones(leaf.shape, leaf.dtype), zoo.build(entries)
    )


def changed(new, old):
    flags = jax.tree.map(lambda a, b: a is not b, new, old)
    located = jax.tree_util.tree_leaves_with_path(flags)
    return {
        jax.tree_util.keystr(path, simple=True, separator="/")
        for path, flag in located
        if flag
    }


@pytest.mark.parametrize(
    "transform",
    [
        dj.dropconnect,
        dj.targeted_dropout,
        lambda key, params, rate: dj.mixout(key, params, params, rate),
    ],
)
def test_every_transform_acts_on_what_is_selected(transform):
    params = stacked()
    assert changed(transform(KEY, params, 0.5), params) == set(dj.selected(params))


def test_masks_of_what_is_not_selected_are_whole():
    params = stacked()
    masks = dj.dropconnect_mask(KEY, params, 1.0)
    empty = jax.tree.map(lambda mask: not mask.any(), masks)
    located = jax.tree_util.tree_leaves_with_path(empty)
    found = [
        jax.tree_util.keystr(path, simple=True, separator="/")
        for path, flag in located
        if flag
    ]
    assert tuple(found) == dj.selected(params)


LEAVES = {"kernel": (9, 9), "pos": (1, 9, 9), "offset": (1, 99)}


class LinenSmall(nn.Module):
    @nn.compact
    def __call__(self):
        ones = nn.initializers.ones
        return {name: self.param(name, ones, LEAVES[name]) for name in LEAVES}


class NnxSmall(nnx.Module):
    def __init__(self):
        for name, shape in LEAVES.items():
            setattr(self, name, nnx.Param(jnp.ones(shape)))

    def __call__(self):
        return {name: getattr(self, name)[...] for name in LEAVES}


def test_layers_mask_what_is_selected():
    variables = LinenSmall().init(KEY)
    linen = djl.DropConnect(LinenSmall(), 0.5)
    seen = [
        linen.apply(variables, deterministic=False, rng=KEY),
        djn.DropConnect(NnxSmall(), 0.5)(rngs=KEY),
    ]
    for params in seen:
        dropped = {name for name, leaf in params.items() if not leaf.all()}
        assert dropped == {"kernel"} == set(dj.selected(variables["params"]))


def test_the_selection_may_be_given_back_as_where():
    params = stacked()
    chosen = dj.selected(params)
    by_path = dj.dropconnect(KEY, params, 0.5, where=lambda path, leaf: path in chosen)
    jax.tree.map(
        np.testing.assert_array_equal, by_path, dj.dropconnect(KEY, params, 0.5)
    )


def test_the_selection_of_where_and_of_a_lone_array():
    params = {"a": jnp.ones(3), "b": {"c": jnp.ones(3)}}
    assert dj.selected(params) == ()
    assert dj.selected(params, where=lambda path, leaf: "c" in path) == ("b/c",)
    assert dj.selected(jnp.ones(3)) == ("",)
    assert dj.selected(nnx.Param(jnp.ones(3))) == ("",)
    assert dj.selected({}) == ()


def test_the_class_of_a_node_is_seen_through_lists():
    layers = [eqx.nn.Embedding(5, 4, key=KEY), eqx.nn.Linear(4, 1, key=KEY)]
    assert dj.selected(layers) == ("1/weight",)


def test_names_that_are_like_names_of_others():
    matrices = ["W_b", "U_g", "wq", "q_proj", "pos_proj", "Wq", "query", "fc1", "a"]
    others = ["bq", "ln_b", "ln1_w", "pe", "rel_pos_w", "A_log", "cls", "token_bias"]
    tree = {name: jnp.ones((4, 4)) for name in matrices}
    tree |= {name: jnp.ones((4, 6)) for name in others}
    assert set(dj.selected(tree)) == set(matrices)
    assert dj.selected({"b": jnp.ones((4, 6)), "w": jnp.ones((4, 5, 6))}) == ("w",)
    assert dj.selected({"a": jnp.ones((4, 4)), "b": jnp.ones((4, 4))}) == ("a", "b")


def test_factors_of_lora_say_nothing_of_what_is_beside_them():
    for name in ("w", "weight", "kernel"):
        tree = {name: jnp.ones((4, 64)), "lora_A": jnp.ones((4, 4))}
        assert dj.selected(tree | {"lora_B": jnp.ones((4, 64))}) == (name,)


def test_stacked_scales_are_known_by_their_names():
    tree = {"rms": {"weight": jnp.ones((4, 16))}, "w": jnp.ones((4, 16))}
    tree |= {"ls1": jnp.ones((4, 16)), "temperature": jnp.ones((8, 1, 1))}
    assert dj.selected(tree) == ("w",)


class LayerNorm(eqx.Module):
    weight: jax.Array


class NormLinear(LayerNorm):
    pass


class LinearEmbedding(LayerNorm):
    pass


@pytest.mark.parametrize(
    ("tree", "kernels"),
    [
        # A kernel has two axes, and a name whose last word says so.
        ({"kernel": (5,), "kernel_scale": (4, 5), "proj": (4, 5)}, "proj"),
        # After a single letter, a word of two letters counts.
        ({"w_ln": (4, 5), "w": (4, 5)}, "w"),
        # A bias says nothing of what is further down.
        ({"bias": (4, 5), "inner": {"shared": (4, 5)}}, "inner/shared"),
        ({"outer": {"bias": (4, 5), "inner": {"v": (4, 5)}}}, "outer/inner/v"),
        # "b" beside "a" is no bias, but in a normalization neither is a kernel.
        ({"mix": {"a": (8, 2), "b": (2, 8)}}, "mix/a mix/b"),
        ({"norm": {"a": (8, 2), "b": (2, 8)}, "w": (2, 8)}, "w"),
        # In a normalization, a weight beside a bias of another shape is a kernel.
        ({"norm": {"weight": (4, 5), "bias": (5,)}}, "norm/weight"),
        ({"norm": {"in_weight": (4, 5), "bias": (5,)}}, ""),
        # Of the names of nodes that say two things, the last word counts; of classes,
        # the first.
        ({"dense_norm": {"weight": (4, 5)}}, ""),
        ({"norm_dense": {"weight": (4, 5)}}, "norm_dense/weight"),
        ({"wte": {"values": (4, 5)}, "table_mixer": {"v": (4, 5)}}, "table_mixer/v"),
        ({"proj": LayerNorm((4, 5)), "x": LayerNorm((4, 5))}, "proj/weight"),
        ({"x": NormLinear((4, 5)), "y": LinearEmbedding((4, 5))}, "y/weight"),
    ],
    ids=str,
)
def test_what_surrounds_a_leaf_decides_where_its_name_does_not(tree, kernels):
    is_shape = lambda node: isinstance(node, tuple)  # noqa: E731
    tree = jax.tree.map(jnp.ones, tree, is_leaf=is_shape)
    assert set(dj.selected(tree)) == set(kernels.split())
