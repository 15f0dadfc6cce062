"""Flax's layers swapped for ours, and what programs do to the layers of a model."""

import copy
import pickle

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import dropjax.linen as djl
import dropjax.nnx as djn

KEY = jax.random.key(2013)
X = jnp.ones((16, 32))
CELL = nnx.GRUCell(3, 4, rngs=nnx.Rngs(0))
RNGS = {"params": jax.random.key(0), "dropout": KEY}


@pytest.mark.parametrize(
    ("layer", "host"),
    [
        (djl.Dropout(0.5), nn.Dropout),
        (djl.RecurrentDropout(nn.GRUCell(4), 0.5), nn.RNNCellBase),
        (djl.Zoneout(nn.GRUCell(4), 0.5), nn.RNNCellBase),
        (djn.Dropout(0.5), nnx.Dropout),
        (djn.DropConnectLinear(2, 2, 0.5, rngs=nnx.Rngs(0)), nnx.Linear),
        (djn.DropConnectConv(2, 2, 3, 0.5, rngs=nnx.Rngs(0)), nnx.Conv),
        (djn.RecurrentDropout(CELL, 0.5), nnx.RNNCellBase),
        (djn.Zoneout(CELL, 0.5), nnx.RNNCellBase),
    ],
    ids=lambda it: it.__name__ if isinstance(it, type) else type(it).__name__,
)
def test_a_layer_is_what_it_replaces(layer, host):
    assert isinstance(layer, host)


@pytest.mark.parametrize(
    ("ours", "host"), [(djl.DropConnectDense, nn.Dense), (djl.DropConnectConv, nn.Conv)]
)
def test_where_a_layer_is_none_its_docstring_says_so(ours, host):
    assert not issubclass(ours, host)
    assert f"`isinstance(layer, nn.{host.__name__})` is False" in ours.__doc__


class Net(nnx.Module):
    """A model whose dropout layers are flax's or ours."""

    def __init__(self, dropout, rngs):
        self.first = nnx.Linear(32, 32, rngs=rngs)
        self.drop = dropout(0.5, rngs=rngs)
        self.norm = nnx.BatchNorm(32, rngs=rngs)
        self.blocks = nnx.List([dropout(0.25, broadcast_dims=(0,), rngs=rngs)])

    def __call__(self, x):
        return self.blocks[0](self.norm(self.drop(self.first(x))))


@pytest.fixture
def nets():
    """The same model twice, with flax's layers and with ours."""
    return [Net(dropout, nnx.Rngs(0)) for dropout in (nnx.Dropout, djn.Dropout)]


def off(net):
    net.set_attributes(nnx.Dropout, deterministic=True)
    return net


def turned_on_again(net):
    net.eval()
    net.set_attributes(nnx.Dropout, deterministic=False)
    return net


def other_rates(net):
    net.set_attributes(nnx.Dropout, rate=0.75)
    return net


def evaluated(net):
    net.eval()
    return net


def trained(net):
    net.eval()
    net.train()
    return net


def by_own_loop(net):
    for _, module in nnx.iter_modules(net):
        if isinstance(module, nnx.Dropout):
            module.deterministic = True
    return net


def viewed(net):
    return nnx.view(net, only=nnx.Dropout, deterministic=True)


def pickled(net):
    return pickle.loads(pickle.dumps(net))


def merged(net):
    return nnx.merge(*nnx.split(net))


CHANGES = [off, turned_on_again, other_rates, evaluated, trained, by_own_loop, viewed]
CHANGES += [pickled, copy.deepcopy, nnx.clone, merged]


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_an_nnx_model_with_our_layers_does_what_it_did(nets, change):
    theirs, ours = map(change, nets)
    for _ in range(2):
        np.testing.assert_array_equal(ours(X), theirs(X))
    states = [nnx.state(net, nnx.Not(nnx.RngKey)) for net in (ours, theirs)]
    jax.tree.map(np.testing.assert_array_equal, *states)


def test_nnx_tabulates_both_alike(nets):
    theirs, ours = (nnx.tabulate(net, X, console_kwargs={"width": 120}) for net in nets)
    assert ours == theirs
    assert "Dropout" in ours


class Model(nn.Module):
    """A model whose dropout layers are flax's or ours."""

    dropout: type

    @nn.compact
    def __call__(self, x):
        x = self.dropout(0.5, deterministic=False)(nn.Dense(32)(x))
        return self.dropout(0.25, (0,), False)(x)


MODELS = [Model(dropout) for dropout in (nn.Dropout, djl.Dropout)]


@pytest.mark.parametrize(
    "change",
    [
        lambda model: model,
        lambda model: model.clone(name="other"),
        lambda model: pickle.loads(pickle.dumps(model)),
        copy.deepcopy,
    ],
)
def test_a_linen_model_with_our_layers_does_what_it_did(change):
    theirs, ours = (change(model).init_with_output(RNGS, X) for model in MODELS)
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)


def test_linen_tabulates_both_alike():
    options = {"console_kwargs": {"width": 120, "force_terminal": False}}
    theirs, ours = (nn.tabulate(model, RNGS, **options)(X) for model in MODELS)
    assert ours == theirs
    assert "Dropout_1" in ours


def test_an_interceptor_of_flaxs_class_sees_our_layers():
    def without_dropout(call, args, kwargs, context):
        if isinstance(context.module, nn.Dropout):
            return args[0]
        return call(*args, **kwargs)

    variables = MODELS[0].init(RNGS, X)
    with nn.intercept_methods(without_dropout):
        y = MODELS[1].apply(variables, X)
    params = {"params": variables["params"]["Dense_0"]}
    np.testing.assert_array_equal(y, nn.Dense(32).apply(params, X))


def test_a_layer_alone_is_equal_to_its_copies():
    layer = djl.Dropout(0.5, noise_shape=(None, 1), scaling="standard")
    for other in (layer.clone(), pickle.loads(pickle.dumps(layer)), layer.copy()):
        assert other == layer
        assert hash(other) == hash(layer)
