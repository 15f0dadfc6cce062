"""New rates for a whole model, in Linen and in NNX."""

import copy
import inspect
import pickle

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import dropjax as dj
import dropjax.linen as djl
import dropjax.nnx as djn

KEY = jax.random.key(3)
X = jnp.ones((4, 50))


class Block(nn.Module):
    rate: float

    @nn.compact
    def __call__(self, x, deterministic=False):
        x = djl.Dropout(self.rate)(x, deterministic)
        return djl.Dropout(self.rate, name="second")(x, deterministic)


class Net(nn.Module):
    """A submodule from setup and one that exists only in the call."""

    def setup(self):
        self.first = Block(0.1)
        self.dense = djl.DropConnectDense(50, 0.1)

    def __call__(self, x, deterministic=False):
        return self.encode(self.dense(x, deterministic), deterministic)

    def encode(self, x, deterministic=False):
        return self.first(x, deterministic)

    def plain(self, x):
        return x


class Heads(nn.Module):
    """A module with properties, a parameter behind one of them."""

    heads: int = 3

    def setup(self):
        self.dropout = djl.Dropout(0.1)
        self.bias = self.param("offset", nn.initializers.ones, ())

    @property
    def width(self):
        return 2 * self.heads

    @property
    def offset(self):
        return self.bias

    def describe(self):
        return f"{self.heads} heads"

    def encode(self, x):
        return self.dropout(x, False)

    def __call__(self, x):
        return self.encode(x)


def pickled(model):
    return pickle.loads(pickle.dumps(model))


class Rated(nn.Module):
    """The net as it would be if it were written with other rates."""

    rates: tuple

    @nn.compact
    def __call__(self, x, deterministic=False):
        one, two, three = self.rates
        x = djl.DropConnectDense(50, one, name="dense")(x, deterministic)
        return RatedBlock(two, three, name="first")(x, deterministic)


class RatedBlock(nn.Module):
    one: float
    two: float

    @nn.compact
    def __call__(self, x, deterministic=False):
        x = djl.Dropout(self.one)(x, deterministic)
        return djl.Dropout(self.two, name="second")(x, deterministic)


VARIABLES = Net().init(KEY, X, True)
NOISE = {"dropout": KEY}


def same(model, rates, **options):
    got = model.apply(VARIABLES, X, rngs=NOISE, **options)
    expected = Rated(rates).apply(VARIABLES, X, rngs=NOISE)
    np.testing.assert_array_equal(got, expected)


def test_linen_all_rates_of_setup_and_compact_submodules():
    same(Net(), (0.1, 0.1, 0.1))
    same(djl.set_rates(Net(), 0.4), (0.4, 0.4, 0.4))


def test_linen_variables_stay_where_they_are():
    fresh = djl.set_rates(Net(), 0.4).init(KEY, X, True)
    chex.assert_trees_all_equal(fresh, VARIABLES)


def test_linen_where_selects_by_path_and_layer():
    paths = []

    def where(path, layer):
        paths.append(path)
        return isinstance(layer, djl.Dropout) and path.endswith("second")

    same(djl.set_rates(Net(), 0.4, where=where), (0.1, 0.1, 0.4))
    assert paths == ["dense", "first/Dropout_0", "first/second"]


def test_linen_a_function_of_the_layer_gives_its_rate():
    model = djl.set_rates(Net(), lambda path, layer: 3 * layer.rate)
    same(model, (3 * 0.1, 3 * 0.1, 3 * 0.1))


def test_linen_the_outer_setting_wins_where_it_selects():
    inner = djl.set_rates(Net(), 0.4)
    outer = djl.set_rates(inner, 0.2, where=lambda path, layer: path == "dense")
    same(outer, (0.2, 0.4, 0.4))


def test_linen_traced_rates_are_one_compilation():
    traces = []

    @jax.jit
    def apply(rate):
        traces.append(rate)
        return djl.set_rates(Net(), rate).apply(VARIABLES, X, rngs=NOISE)

    for rate in (0.0, 0.4, 1.0):
        expected = Rated((rate,) * 3).apply(VARIABLES, X, rngs=NOISE)
        np.testing.assert_array_equal(apply(jnp.float32(rate)), expected)
    assert len(traces) == 1


def test_linen_other_methods_are_there_too():
    model = djl.set_rates(Net(), 0.0)
    y = model.apply(VARIABLES, X, method="encode")
    assert jnp.array_equal(y, X)
    assert model.apply(VARIABLES, X, method="plain") is X
    bound = djl.set_rates(Net(), 0.0).bind(VARIABLES)
    assert jnp.array_equal(bound.encode(X), X)


@pytest.mark.parametrize(
    "method",
    [
        "encode",
        Net.encode,
        Net().encode,
        lambda model, x: model.encode(x),
        djl.set_rates(Net(), 0.1).encode,
    ],
)
def test_linen_a_method_is_found_in_every_form(method):
    model = djl.set_rates(Net(), 1.0)
    assert not model.apply(VARIABLES, X, method=method, rngs=NOISE).any()
    made = djl.set_rates(Heads(), 1.0).init(KEY, X, method=Heads.encode)
    same_shapes = jax.tree.map(jnp.shape, Heads().init(KEY, X, method=Heads.encode))
    assert jax.tree.map(jnp.shape, made) == same_shapes


def test_linen_properties_are_there_too():
    model = djl.set_rates(Heads(), 1.0)
    assert model.width == 6
    assert model.describe() == "3 heads"
    variables = Heads().init(KEY, X)
    off = model.apply(variables, lambda x: x, method=lambda model, f: f(model.offset))
    assert off == variables["params"]["offset"]
    assert not model.apply(variables, X, rngs=NOISE).any()
    assert not hasattr(model, "nothing")


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, pickled])
def test_linen_models_are_copied_and_pickled(copied):
    model = copied(djl.set_rates(Net(), 0.4))
    same(model, (0.4, 0.4, 0.4))
    assert type(model) is type(djl.set_rates(Net(), 0.4))


def test_linen_a_rate_in_the_call_comes_first():
    class Scheduled(nn.Module):
        @nn.compact
        def __call__(self, x):
            first = djl.Dropout(0.1)(x, False, rate=0.0)
            return first, djl.Dropout(0.1)(x, False)

    first, second = djl.set_rates(Scheduled(), 1.0).apply({}, X)
    assert first is X
    assert not second.any()


def test_linen_a_wrapped_part_of_a_model_has_paths_of_its_own():
    class Outer(nn.Module):
        @nn.compact
        def __call__(self, x):
            only = lambda path, layer: path == "second"  # noqa: E731
            x = djl.set_rates(Block(0.0), 1.0, where=only)(x)
            return djl.Dropout(0.0)(x, False)

    assert not Outer().apply({}, X, rngs=NOISE).any()


@pytest.mark.parametrize("lift", ["scan", "remat", "vmap"])
def test_linen_lifted_bodies_are_reached(lift):
    class Body(nn.Module):
        @nn.compact
        def __call__(self, x, _):
            return djl.Dropout(0.1)(x, False), None

    axes = {"variable_axes": {}, "split_rngs": {"dropout": True}}
    lifted = {
        "scan": lambda: nn.scan(Body, length=2, **axes),
        "remat": lambda: nn.remat(Body),
        "vmap": lambda: nn.vmap(Body, in_axes=(0, None), **axes),
    }[lift]()()
    rate = jnp.float32(1.0)
    y, _ = jax.jit(
        lambda rate: djl.set_rates(lifted, rate).apply({}, X, None, rngs=NOISE)
    )(rate)
    assert not y.any()


def test_linen_changes_end_with_the_call():
    class Fails(nn.Module):
        @nn.compact
        def __call__(self, x):
            raise RuntimeError

    with pytest.raises(RuntimeError):
        djl.set_rates(Fails(), 1.0).apply({}, X)
    same(Net(), (0.1, 0.1, 0.1))


def test_linen_rates_are_checked():
    with pytest.raises(ValueError, match=r"must lie in \[0, 1\], got 1.5"):
        djl.set_rates(Net(), 1.5).apply(VARIABLES, X, rngs=NOISE)


class NnxNet(nnx.Module):
    def __init__(self, rngs):
        self.dense = djn.DropConnectLinear(50, 50, 0.1, rngs=rngs)
        self.blocks = nnx.List([djn.Dropout(0.1), djn.SpatialDropout1D(0.2)])

    def __call__(self, x, key):
        keys = jax.random.split(key, 3)
        x = self.dense(x, rngs=keys[0])
        x = self.blocks[0](x, rngs=keys[1])
        return self.blocks[1](x[None], rngs=keys[2])[0]


def rates(net):
    return [net.dense.rate, net.blocks[0].rate, net.blocks[1].rate]


def test_nnx_all_rates_in_place():
    net = NnxNet(nnx.Rngs(0))
    assert djn.set_rates(net, 0.4) is None
    assert rates(net) == [0.4, 0.4, 0.4]


def test_nnx_selection_by_path_and_by_layer():
    net, paths = NnxNet(nnx.Rngs(0)), []
    djn.set_rates(net, 0.0, where=lambda path, layer: paths.append(path) or True)
    assert sorted(paths) == ["blocks/0", "blocks/1", "dense"]
    djn.set_rates(net, 0.5, where=lambda path, layer: path.startswith("blocks"))
    assert rates(net) == [0.0, 0.5, 0.5]
    djn.set_rates(net, lambda path, layer: layer.rate / 2)
    assert rates(net) == [0.0, 0.25, 0.25]


def test_nnx_array_rates_are_state_and_need_no_new_compilation():
    net, traces = NnxNet(nnx.Rngs(0)), []

    @nnx.jit
    def call(net, key):
        traces.append(key)
        return net(X, key)

    djn.set_rates(net, jnp.float32(0.3))
    first = call(net, KEY)
    djn.set_rates(net, jnp.float32(0.7))
    second = call(net, KEY)
    assert len(traces) == 1
    assert not jnp.array_equal(first, second)
    djn.set_rates(net, 0.7)
    np.testing.assert_array_equal(call(net, KEY), second)


def test_nnx_a_number_after_an_array_is_known_to_the_compiler_again():
    layer = djn.Dropout(jnp.float32(0.3))
    djn.set_rates(layer, 0.0)
    assert jnp.array_equal(nnx.jit(lambda layer: layer(X))(layer), X)


def test_nnx_array_rates_are_no_parameters():
    net = NnxNet(nnx.Rngs(0))
    djn.set_rates(net, jnp.float32(0.3))
    gradients = nnx.grad(lambda net: net(X, KEY).sum())(net)
    names = {str(path[-1]) for path, _ in nnx.to_flat_state(gradients)}
    assert names == {"kernel", "bias"}


def test_nnx_a_traced_rate_inside_jit():
    net = NnxNet(nnx.Rngs(0))
    graph, state = nnx.split(net)

    @jax.jit
    def call(state, rate):
        net = nnx.merge(graph, state)
        djn.set_rates(net, rate)
        return net(X, KEY)

    djn.set_rates(net, 0.6)
    expected = net(X, KEY)
    np.testing.assert_allclose(call(state, jnp.float32(0.6)), expected, rtol=1e-5)
    assert not call(state, jnp.float32(1.0)).any()


def test_nnx_nothing_is_changed_where_a_rate_is_wrong():
    net = NnxNet(nnx.Rngs(0))
    with pytest.raises(ValueError, match=r"must lie in \[0, 1\], got"):
        djn.set_rates(net, lambda path, layer: 0.5 if path == "dense" else 1.5)
    assert rates(net) == [0.1, 0.1, 0.2]


def test_nnx_layers_of_flax_and_concrete_dropout_are_left_alone():
    concrete = djn.ConcreteDropout(nnx.Linear(3, 3, rngs=nnx.Rngs(0)), 10)
    net = nnx.Sequential(nnx.Dropout(0.3), concrete, djn.Dropout(0.3))
    djn.set_rates(net, 0.4)
    assert net.layers[0].rate == 0.3
    assert not hasattr(concrete, "rate")


def test_both_set_what_the_functions_draw():
    y = djl.set_rates(djl.Dropout(0.1), 0.6).apply({}, X, False, KEY)
    np.testing.assert_array_equal(y, dj.dropout(KEY, X, 0.6))
    layer = djn.Dropout(0.1)
    djn.set_rates(layer, 0.6)
    np.testing.assert_array_equal(layer(X, rngs=KEY), y)


@pytest.mark.parametrize("wrapper", [djl.RecurrentDropout, djl.Zoneout])
def test_linen_recurrent_cells_are_reached(wrapper):
    x = jnp.ones((2, 5, 3))
    cell = nn.GRUCell(4)
    variables = nn.RNN(cell).init(KEY, x)
    net = nn.RNN(wrapper(cell, 0.5, deterministic=False))
    off = djl.set_rates(net, 0.0).apply(variables, x)
    np.testing.assert_array_equal(off, nn.RNN(cell).apply(variables, x))
    y = djl.set_rates(net, 1.0).apply(variables, x)
    other = nn.RNN(wrapper(cell, 1.0, deterministic=False))
    np.testing.assert_array_equal(y, other.apply(variables, x))


class Compiled(nn.Module):
    """A body that nn.jit compiles, and that draws on the same key in every run."""

    rate: float = 0.5

    @nn.jit
    @nn.compact
    def __call__(self, x):
        return djl.Dropout(self.rate)(x, False, KEY)


class Around(nn.Module):
    """A model that has made such a body before it is called."""

    def setup(self):
        self.part = Compiled()

    def __call__(self, x):
        return self.part(x)


def test_linen_a_compiled_body_keeps_no_rate_of_another_run():
    dropped = dj.dropout(KEY, X, 0.5)
    for model in (Compiled(), nn.Sequential([Compiled()]), Around()):
        for _ in range(2):
            np.testing.assert_array_equal(djl.set_rates(model, 0.0).apply({}, X), X)
            np.testing.assert_array_equal(model.apply({}, X), dropped)
        assert not djl.set_rates(model, 1.0).apply({}, X).any()


def test_linen_a_part_that_is_run_with_other_rates_compiles_for_each():
    class Shared(nn.Module):
        @nn.compact
        def __call__(self, x):
            part = Around()
            other = djl.set_rates(part, 0.0)
            return other(x), part(x), other(x), djl.set_rates(part, 1.0)(x), part(x)

    dropped = dj.dropout(KEY, X, 0.5)
    expected = (X, dropped, X, 0 * X, dropped)
    for y, its in zip(Shared().apply({}, X), expected, strict=True):
        np.testing.assert_array_equal(y, its)


def test_linen_a_traced_rate_stays_in_its_function():
    def apply(rate):
        return djl.set_rates(Compiled(), rate).apply({}, X)

    for function in (apply, lambda rate: apply(rate)):
        y = jax.jit(function)(jnp.float32(0.3))
        np.testing.assert_allclose(y, dj.dropout(KEY, X, 0.3), rtol=1e-6)


def test_linen_the_same_number_is_compiled_once():
    traces = []

    class Counted(nn.Module):
        @nn.jit
        @nn.compact
        def __call__(self, x):
            traces.append(x)
            return djl.Dropout(0.5)(x, False, KEY)

    for rate in (0.25, 0.25, 0.75, 0.25):
        y = djl.set_rates(Counted(), rate).apply({}, X)
        np.testing.assert_array_equal(y, dj.dropout(KEY, X, rate))
    assert len(traces) == 2
    changed = djl.set_rates(Counted(), jnp.float32(0.25))
    for _ in range(2):
        np.testing.assert_array_equal(changed.apply({}, X), dj.dropout(KEY, X, 0.25))
    assert len(traces) == 3


def test_linen_a_model_without_layers_is_refused():
    for module in (nn.Sequential([nn.relu]), nn.Dense(3)):
        for _ in range(2):
            with pytest.raises(ValueError, match="module has no layer of dropjax"):
                djl.set_rates(module, 0.125).init(KEY, X)


@pytest.mark.parametrize("wrapper", [djl.LayerDrop, djl.DropConnect])
def test_linen_wrappers_are_found_when_they_are_initialized(wrapper):
    layer = wrapper(nn.Dense(50), 0.5, deterministic=True)
    expected = nn.Dense(50).init(KEY, X)
    mine = lambda path, layer: isinstance(layer, wrapper)  # noqa: E731
    for where in (None, mine):
        got = djl.set_rates(layer, 0.1, where=where).init(KEY, X)
        chex.assert_trees_all_equal(got, expected)


def test_linen_a_wrapper_hands_the_flag_on():
    rated = djl.set_rates(Block(0.5), 0.0)
    layer = djl.LayerDrop(rated, 0.0)
    np.testing.assert_array_equal(layer.apply({}, X, deterministic=False), X)
    assert inspect.signature(type(rated).__call__) == inspect.signature(Block.__call__)
