"""New rates for a whole model: variables in Linen, set in place in NNX."""

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
FOUND = djl.rates(Net(), X)


def same(rates, expected):
    variables = {**VARIABLES, "rates": rates}
    got = Net().apply(variables, X, rngs=NOISE)
    other = Rated(expected).apply(VARIABLES, X, rngs=NOISE)
    np.testing.assert_allclose(got, other, rtol=1e-6)
    np.testing.assert_array_equal(got == 0, other == 0)


def test_linen_rates_are_listed_by_path():
    own = {"rate": np.float32(0.1)}
    first = {"Dropout_0": own, "second": own}
    chex.assert_trees_all_equal(FOUND, {"dense": own, "first": first})


def test_linen_rates_are_no_part_of_a_new_model():
    assert set(VARIABLES) == {"params"}
    _, state = Net().apply(VARIABLES, X, rngs=NOISE, mutable=True)
    assert set(state) == {"params"}


def test_linen_all_rates_of_setup_and_compact_submodules():
    same({}, (0.1, 0.1, 0.1))
    same(jax.tree.map(lambda rate: 0.4, FOUND), (0.4, 0.4, 0.4))
    same(jax.tree.map(lambda rate: 3 * rate, FOUND), (0.3, 0.3, 0.3))


def test_linen_some_rates_by_path():
    def changed(path, rate):
        return 0.4 if "second" in jax.tree_util.keystr(path) else rate

    same(jax.tree_util.tree_map_with_path(changed, FOUND), (0.1, 0.1, 0.4))
    same({"first": {"second": {"rate": 0.4}}}, (0.1, 0.1, 0.4))


def test_linen_traced_rates_are_one_compilation():
    traces = []

    @jax.jit
    def apply(rate):
        traces.append(rate)
        variables = {**VARIABLES, "rates": jax.tree.map(lambda _: rate, FOUND)}
        return Net().apply(variables, X, rngs=NOISE)

    for rate in (0.0, 0.4, 1.0):
        expected = Rated((rate,) * 3).apply(VARIABLES, X, rngs=NOISE)
        np.testing.assert_allclose(apply(rate), expected, rtol=1e-6)
    assert len(traces) == 1


def test_linen_a_rate_in_the_call_comes_first():
    class Scheduled(nn.Module):
        @nn.compact
        def __call__(self, x):
            first = djl.Dropout(0.1)(x, False, rate=0.0)
            return first, djl.Dropout(0.1)(x, False)

    rates = jax.tree.map(lambda rate: 1.0, djl.rates(Scheduled(), X))
    first, second = Scheduled().apply({"rates": rates}, X)
    assert first is X
    assert not second.any()


LIFTS = {
    "scan": lambda body, **axes: nn.scan(body, length=2, **axes),
    "vmap": lambda body, **axes: nn.vmap(body, in_axes=(0, None), axis_size=4, **axes),
    "remat": lambda body, **axes: nn.remat(body),
    "jit": lambda body, **axes: nn.jit(body),
}


class Body(nn.Module):
    @nn.compact
    def __call__(self, x, _):
        return djl.Dropout(0.25)(x, False), None


@pytest.mark.parametrize("lift", LIFTS)
def test_linen_lifted_bodies_are_reached(lift):
    axes = {"variable_axes": {"rates": 0}, "split_rngs": {"dropout": True}}
    lifted = LIFTS[lift](Body, **axes)()
    rates = djl.rates(lifted, X, None)
    (rate,) = jax.tree.leaves(rates)
    assert rate.shape == {"scan": (2,), "vmap": (4,)}.get(lift, ())
    assert (rate == 0.25).all()

    @jax.jit
    def apply(rate):
        now = {"rates": jax.tree.map(lambda old: old * 0 + rate, rates)}
        return lifted.apply(now, X, None, rngs=NOISE)[0]

    assert not apply(1.0).any()
    np.testing.assert_array_equal(apply(0.0), X)


def test_linen_layers_of_a_scan_may_have_rates_of_their_own():
    axes = {"variable_axes": {"rates": 0}, "split_rngs": {"dropout": True}}
    stack = nn.scan(Body, length=2, **axes)()
    one = {"rates": {"Dropout_0": {"rate": jnp.array([0.0, 1.0])}}}
    assert not stack.apply(one, X, None, rngs=NOISE)[0].any()
    shared = nn.scan(
        Body, length=2, variable_broadcast="rates", split_rngs={"dropout": True}
    )()
    assert jax.tree.leaves(djl.rates(shared, X, None))[0].shape == ()


def test_linen_a_compiled_body_is_compiled_once_for_all_rates():
    class Counted(nn.Module):
        @nn.jit
        @nn.compact
        def __call__(self, x):
            traces.append(x)
            return djl.Dropout(0.5)(x, False, KEY)

    traces = []
    rates = djl.rates(Counted(), X)
    traces.clear()
    for rate in (0.25, 0.25, 0.75, 0.0):
        now = jax.tree.map(lambda old, rate=rate: jnp.float32(rate), rates)
        y = Counted().apply({"rates": now}, X)
        np.testing.assert_allclose(y, dj.dropout(KEY, X, rate), rtol=1e-6)
    assert len(traces) == 1
    np.testing.assert_array_equal(Counted().apply({}, X), dj.dropout(KEY, X, 0.5))


@pytest.mark.parametrize("wrapper", [djl.RecurrentDropout, djl.Zoneout])
def test_linen_recurrent_cells_are_reached(wrapper):
    x, cell = jnp.ones((2, 5, 3)), nn.GRUCell(4)
    variables = nn.RNN(cell).init(KEY, x)
    handed_on = {"variable_broadcast": ("params", "rates")}
    net = nn.RNN(wrapper(cell, 0.5, deterministic=False), **handed_on)
    rates = djl.rates(net, x)
    for rate in (0.0, 1.0):
        now = {**variables, "rates": jax.tree.map(lambda _, r=rate: r, rates)}
        other = nn.RNN(wrapper(cell, rate, deterministic=False))
        y = net.apply(now, x, rngs=NOISE)
        expected = other.apply(variables, x, rngs=NOISE)
        np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-6)


def test_linen_rates_are_checked():
    with pytest.raises(ValueError, match=r"must lie in \[0, 1\], got 1.5"):
        same(jax.tree.map(lambda rate: 1.5, FOUND), ())


def test_linen_trees_of_rates_are_variables_too():
    rates = {"kernel": 0.5, "bias": 0.25}
    layer = djl.DropConnect(nn.Dense(3), rates, where=lambda *_: True)
    found = djl.rates(layer, X, deterministic=False)
    chex.assert_trees_all_equal(found, {"DropConnect_rate": rates})
    params = nn.Dense(3, bias_init=nn.initializers.ones).init(KEY, X)
    now = {**params, "rates": {"DropConnect_rate": {"kernel": 0.0, "bias": 1.0}}}
    y = layer.apply(now, X, deterministic=False, rngs=NOISE)
    np.testing.assert_allclose(y, X @ params["params"]["kernel"], rtol=1e-5)


@pytest.mark.parametrize("wrapper", [djl.LayerDrop, djl.DropConnect])
def test_linen_wrappers_have_a_rate_beside_what_they_wrap(wrapper):
    inner = nn.Sequential([nn.Dense(50), djl.Dropout(0.25, deterministic=True)])
    layer = wrapper(inner, 0.5, deterministic=True)
    found = djl.rates(layer, X)
    expected = {f"{wrapper.__name__}_rate": 0.5, "layers_1": {"rate": 0.25}}
    chex.assert_trees_all_equal(found, expected)


@pytest.mark.parametrize("seed", range(4))
def test_linen_layers_that_the_key_skips_are_listed(seed):
    layer = djl.LayerDrop(djl.DropConnectDense(50, 0.25), 0.5)
    keys = {"params": KEY, "dropout": jax.random.key(seed)}
    found = djl.rates(layer, X, deterministic=False, rngs=keys)
    chex.assert_trees_all_equal(found, {"LayerDrop_rate": 0.5, "rate": 0.25})


def test_linen_wrappers_around_one_another_have_rates_of_their_own():
    inner = djl.DropConnect(nn.Dense(3), 0.5, deterministic=False)
    layer = djl.DropConnect(inner, 0.25, deterministic=False)
    found = djl.rates(layer, X)
    expected = {"DropConnect_rate": 0.5, "DropConnect_DropConnect_rate": 0.25}
    chex.assert_trees_all_equal(found, expected)
    params = nn.Dense(3).init(KEY, X)
    y = layer.apply({**params, "rates": found}, X, rngs=NOISE)
    expected = layer.apply(params, X, rngs=NOISE)
    np.testing.assert_allclose(y, expected, rtol=1e-6)


def test_linen_a_listing_shares_no_compiled_body_with_init():
    class Compiled(nn.Module):
        @nn.jit
        @nn.compact
        def __call__(self, x):
            return djl.Dropout(0.5)(nn.Dense(3)(x), False)

    net, keys = Compiled(), {"params": KEY, "dropout": KEY}
    first = jax.jit(lambda keys: net.init(keys, X))(keys)
    found = djl.rates(net, X)
    assert set(found) == {"Dropout_0"}
    second = jax.jit(lambda keys: net.init(keys, X))(keys)
    assert set(first) == set(second) == {"params"}


def test_linen_a_rate_that_sets_shapes_is_no_variable():
    class Patches(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = djl.PatchDropout(0.5)(x, deterministic=False)[0]
            return djl.Dropout(0.5)(x, deterministic=False)

    assert set(djl.rates(Patches(), jnp.ones((2, 8, 4)))) == {"Dropout_0"}


@pytest.mark.parametrize("module", [nn.Sequential([nn.relu]), nn.Dense(3)])
def test_linen_a_model_without_layers_is_refused(module):
    with pytest.raises(ValueError, match="module has no layer of dropjax"):
        djl.rates(module, X)


def test_linen_a_scan_that_hands_on_no_rates_is_refused():
    stack = nn.scan(Body, length=2, split_rngs={"dropout": True})()
    with pytest.raises(ValueError, match="variable_broadcast='rates'"):
        djl.rates(stack, X, None)


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


@pytest.mark.parametrize(
    ("layer", "rate"),
    [
        (djn.DropPath(0.1), {"layers/0": 0.3}),
        (djn.Dropout(0.1), [0.1, 0.2]),
        (djn.RandomMasking(0.75), jnp.float32(0.3)),
    ],
)
def test_nnx_a_rate_must_suit_every_layer(layer, rate):
    net = nnx.Sequential(djn.Dropout(0.2), layer)
    with pytest.raises(TypeError, match="rate must be"):
        djn.set_rates(net, rate)
    assert net.layers[0].rate == 0.2


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
    rates = {"rate": jnp.float32(0.6)}
    y = djl.Dropout(0.1).apply({"rates": rates}, X, False, KEY)
    np.testing.assert_allclose(y, dj.dropout(KEY, X, 0.6), rtol=1e-6)
    layer = djn.Dropout(0.1)
    djn.set_rates(layer, jnp.float32(0.6))
    np.testing.assert_array_equal(layer(X, rngs=KEY), y)
