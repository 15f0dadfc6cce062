"""The layers in their hosts: rngs, flags, lifted transforms, schedules."""

import functools
import inspect

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import dropjax as dj
import dropjax.linen as djl
import dropjax.nnx as djn
from tests.methods import array

KEY = jax.random.key(2013)
X = jnp.ones((20, 30))
IMAGE = jnp.ones((4, 6, 6, 8))
LINEN = {
    "Dropout": (djl.Dropout(0.5), X),
    "SpatialDropout2D": (djl.SpatialDropout2D(0.5), IMAGE),
    "DropConnectDense": (djl.DropConnectDense(7, 0.5), X),
    "DropConnectConv": (djl.DropConnectConv(7, (3, 3), 0.5), IMAGE),
    "DropConnect": (djl.DropConnect(nn.Dense(7), 0.5), X),
}
NNX = {
    "Dropout": (functools.partial(djn.Dropout, 0.5), X),
    "SpatialDropout2D": (functools.partial(djn.SpatialDropout2D, 0.5), IMAGE),
    "DropConnectLinear": (functools.partial(djn.DropConnectLinear, 30, 7, 0.5), X),
    "DropConnectConv": (functools.partial(djn.DropConnectConv, 8, 7, 3, 0.5), X[:, :8]),
    "DropConnect": (
        lambda rngs, **options: djn.DropConnect(
            nnx.Linear(30, 7, rngs=rngs), 0.5, rngs=rngs, **options
        ),
        X,
    ),
}


@pytest.fixture(params=LINEN)
def linen(request):
    layer, x = LINEN[request.param]
    return layer, layer.init(jax.random.key(0), x, deterministic=True), x


@pytest.fixture(params=NNX)
def build(request):
    return NNX[request.param]


def test_linen_takes_its_key_from_the_collection(linen):
    layer, variables, x = linen
    first = layer.apply(variables, x, deterministic=False, rngs={"dropout": KEY})
    again = layer.apply(variables, x, deterministic=False, rngs={"dropout": KEY})
    np.testing.assert_array_equal(first, again)
    other = layer.clone(rng_collection="mine")
    same = other.apply(variables, x, deterministic=False, rngs={"mine": KEY})
    np.testing.assert_array_equal(first, same)
    different = layer.apply(variables, x, deterministic=False, rng=KEY)
    assert not jnp.array_equal(first, different)


def test_linen_falls_back_to_params_and_else_raises(linen):
    layer, variables, x = linen
    fallen = layer.apply(variables, x, deterministic=False, rngs={"params": KEY})
    given = layer.apply(variables, x, deterministic=False, rngs={"dropout": KEY})
    np.testing.assert_array_equal(fallen, given)
    with pytest.raises(Exception, match="needs PRNG for"):
        layer.apply(variables, x, deterministic=False)


def test_linen_wants_the_flag_once(linen):
    layer, variables, x = linen
    with pytest.raises(ValueError, match="deterministic"):
        layer.apply(variables, x)
    with pytest.raises(ValueError, match="deterministic"):
        layer.clone(deterministic=True).apply(variables, x, deterministic=True)
    here = layer.clone(deterministic=True).apply(variables, x)
    np.testing.assert_array_equal(here, layer.apply(variables, x, deterministic=True))


def test_a_linen_rate_in_the_call_overrides_and_may_be_traced(linen):
    layer, variables, x = linen
    given = {"deterministic": False, "rng": KEY}
    expected = layer.clone(rate=0.2).apply(variables, x, **given)
    apply = jax.jit(lambda rate: layer.apply(variables, x, rate=rate, **given))
    np.testing.assert_allclose(apply(0.2), expected, rtol=1e-6)
    off = layer.apply(variables, x, deterministic=False, rate=0.0)
    np.testing.assert_array_equal(off, layer.apply(variables, x, deterministic=True))


def test_linen_options_reach_the_function():
    x = array((6, 5, 8))
    y = djl.Dropout(0.5, noise_shape=(None, 1, None), scaling="standard").apply(
        {}, x, deterministic=False, rng=KEY
    )
    options = {"noise_shape": (None, 1, None), "scaling": "standard"}
    np.testing.assert_array_equal(y, dj.dropout(KEY, x, 0.5, **options))
    layer = djl.DropConnectDense(3, 0.5, bias_rate=0.5, bias_init=nn.initializers.ones)
    variables = layer.init(KEY, x, deterministic=True)
    y = layer.apply(variables, x, deterministic=False, rng=KEY)
    everything = lambda path, leaf: True  # noqa: E731
    masked = dj.dropconnect(KEY, variables["params"], 0.5, where=everything)
    expected = nn.Dense(3).apply({"params": masked}, x)
    np.testing.assert_allclose(y, expected, rtol=1e-6)


def test_a_bias_rate_alone_needs_a_key():
    layer = djl.DropConnectDense(3, 0.0, bias_rate=0.5, bias_init=nn.initializers.ones)
    variables = layer.init(KEY, X, deterministic=True)
    y = layer.apply(variables, 0 * X, deterministic=False, rngs={"dropout": KEY})
    assert set(np.unique(y)) <= {0.0, 2.0}


@pytest.mark.parametrize(
    "module",
    [
        nn.Dense(5),
        nn.MultiHeadDotProductAttention(2),
        nn.RNN(nn.LSTMCell(6)),
        nn.Sequential([nn.Dense(4), nn.relu, nn.Dense(3)]),
    ],
    ids=lambda module: type(module).__name__,
)
def test_the_linen_wrapper_is_the_tree_transform(module):
    x = array((2, 7, 8))
    wrapped = djl.DropConnect(module, 0.5)
    variables = module.init(KEY, x)
    own = wrapped.init(KEY, x, deterministic=False)
    assert jax.tree.structure(own) == jax.tree.structure(variables)
    y = wrapped.apply(variables, x, deterministic=False, rng=KEY)
    masked = dj.dropconnect(KEY, variables["params"], 0.5)
    np.testing.assert_allclose(y, module.apply({"params": masked}, x), rtol=1e-6)
    off = wrapped.apply(variables, x, deterministic=True)
    np.testing.assert_array_equal(off, module.apply(variables, x))


class Model(nn.Module):
    @nn.compact
    def __call__(self, x):
        where = lambda path, leaf: path == "scale"  # noqa: E731
        x = djl.DropConnect(nn.Dense(4), 0.5, deterministic=False)(x)
        norm = nn.BatchNorm(use_running_average=False)
        return djl.DropConnect(norm, 0.5, where=where, deterministic=False)(x)


def test_the_linen_wrapper_nests_nothing_and_updates_other_collections():
    variables = Model().init(KEY, X)
    assert set(variables["params"]) == {"Dense_0", "BatchNorm_0"}
    _, updated = Model().apply(
        variables, X, rngs={"dropout": KEY}, mutable=["batch_stats"]
    )
    mean = updated["batch_stats"]["BatchNorm_0"]["mean"]
    assert not jnp.array_equal(mean, variables["batch_stats"]["BatchNorm_0"]["mean"])


def test_the_linen_wrapper_hands_the_flag_on():
    x = array((2, 7, 8))
    attention = nn.MultiHeadDotProductAttention(2, dropout_rate=0.5)
    layer = djl.DropConnect(attention, 0.5)
    variables = layer.init(KEY, x, deterministic=True)
    layer.apply(variables, x, deterministic=False, rngs={"dropout": KEY})
    off = layer.apply(variables, x, deterministic=True)
    expected = attention.apply(variables, x, deterministic=True)
    np.testing.assert_array_equal(off, expected)


def test_linen_lifted_transforms_split_the_masks():
    scanned = nn.scan(
        nn.remat(djl.DropConnectDense),
        variable_axes={"params": 0},
        split_rngs={"params": True, "dropout": True},
        length=3,
    )

    class Deep(nn.Module):
        @nn.compact
        def __call__(self, x):
            layer = scanned(30, 0.5, deterministic=False, name="layer")
            return nn.scan(
                lambda module, x, _: (module(x), None),
                variable_axes={"params": 0},
                split_rngs={"params": True, "dropout": True},
                length=3,
            )(djl.DropConnectDense(30, 0.5, deterministic=False), x, None)[0] + 0 * (
                layer.features
            )

    variables = Deep().init(KEY, X)
    kernel = variables["params"]["DropConnectDense_0"]["kernel"]
    assert kernel.shape == (3, 30, 30)
    gradient = jax.jit(
        jax.grad(lambda v: Deep().apply(v, X, rngs={"dropout": KEY}).sum())
    )(variables)["params"]["DropConnectDense_0"]["kernel"]
    zeros = np.asarray(gradient == 0)
    assert (zeros.mean((1, 2)) > 0.3).all()
    assert not np.array_equal(zeros[0], zeros[1])


def test_nnx_draws_anew_in_every_call_and_split_and_merge_keep_the_stream(build):
    make, x = build
    layer = make(rngs=nnx.Rngs(0))
    state = nnx.split(layer)
    first, second = layer(x), layer(x)
    assert not jnp.array_equal(first, second)
    merged = nnx.merge(*jax.tree.map(lambda leaf: leaf, state))
    assert merged(x).shape == first.shape
    call = nnx.jit(lambda layer: layer(x))
    third, fourth = call(layer), call(layer)
    assert not jnp.array_equal(third, fourth)


def test_nnx_flags(build):
    make, x = build
    layer = make(rngs=nnx.Rngs(0))
    off = layer(x, deterministic=True)
    layer.eval()
    np.testing.assert_array_equal(layer(x), off)
    on = layer(x, deterministic=False)
    assert not jnp.array_equal(on, off)
    layer.train()
    assert not jnp.array_equal(layer(x), off)
    view = nnx.view(layer, deterministic=True)
    np.testing.assert_array_equal(view(x), off)
    assert layer.deterministic is False
    assert not jnp.array_equal(nnx.view(layer)(x), off)


def test_nnx_takes_rngs_streams_and_keys(build):
    make, x = build
    layer = make(rngs=nnx.Rngs(0))
    by_key = layer(x, rngs=KEY)
    np.testing.assert_array_equal(by_key, layer(x, rngs=KEY))
    by_rngs = layer(x, rngs=nnx.Rngs(dropout=1))
    by_stream = layer(x, rngs=nnx.Rngs(dropout=1).dropout)
    np.testing.assert_array_equal(by_rngs, by_stream)
    other = make(rngs=nnx.Rngs(0, mine=5), rng_collection="mine")
    expected = make(rngs=nnx.Rngs(0, dropout=5))
    np.testing.assert_array_equal(other(x), expected(x))


def test_an_nnx_rate_in_the_call_overrides_and_may_be_traced(build):
    make, x = build
    layer = make(rngs=nnx.Rngs(0))
    traces = []

    @nnx.jit
    def call(layer, rate):
        traces.append(rate)
        return layer(x, rngs=KEY, rate=rate)

    results = [call(layer, jnp.float32(rate)) for rate in (0.0, 0.2, 1.0)]
    assert len(traces) == 1
    np.testing.assert_allclose(results[0], layer(x, deterministic=True), rtol=1e-6)
    layer.rate = 0.2
    np.testing.assert_allclose(results[1], layer(x, rngs=KEY), rtol=1e-6)


def test_nnx_vmap_and_scan_split_the_masks():
    @nnx.split_rngs(splits=3)
    @nnx.vmap
    def make(rngs):
        return djn.DropConnectLinear(30, 30, 0.5, rngs=rngs)

    layers = make(nnx.Rngs(0))

    @nnx.vmap(in_axes=(0, None))
    def call(layer, x):
        return layer(x)

    outputs = call(layers, X)
    assert outputs.shape == (3, 20, 30)

    @nnx.scan(in_axes=(nnx.Carry, 0), out_axes=nnx.Carry)
    def chain(x, layer):
        return layer(x)

    assert chain(X, layers).shape == X.shape

    @nnx.split_rngs(splits=3)
    @nnx.vmap
    def make_dropouts(rngs):
        return djn.Dropout(0.5, rngs=rngs)

    masks = call(make_dropouts(nnx.Rngs(0)), X)
    assert not jnp.array_equal(masks[0], masks[1])


def test_plain_jit_lets_no_nnx_state_out():
    layer = djn.Dropout(0.5, rngs=nnx.Rngs(0))
    with pytest.raises(Exception, match=r"[Mm]utat|trace"):
        jax.jit(lambda x: layer(x))(X)
    call = jax.jit(lambda layer, x: layer(x))
    np.testing.assert_array_equal(call(layer, X), call(layer, X))


def test_the_nnx_wrapper_updates_state_and_gives_gradients():
    rngs = nnx.Rngs(0)
    inner = nnx.Sequential(
        nnx.Linear(30, 8, rngs=rngs),
        nnx.BatchNorm(8, rngs=rngs),
        nnx.Dropout(0.5, rngs=rngs),
    )
    layer = djn.DropConnect(inner, 0.5, rngs=rngs)
    kernel = inner.layers[0].kernel[...]
    layer(array((20, 30)))
    assert inner.layers[1].mean[...].any()
    assert inner.layers[2].rngs.count[...] == 1
    np.testing.assert_array_equal(inner.layers[0].kernel[...], kernel)
    dense = djn.DropConnect(nnx.Linear(30, 8, rngs=rngs), 0.5, rngs=rngs)
    gradients = nnx.grad(lambda layer: layer(X, rngs=KEY).sum())(dense)
    mask = dj.dropconnect_mask(KEY, nnx.state(dense.module), 0.5)
    zeros = gradients["module"]["kernel"][...] != 0
    np.testing.assert_array_equal(zeros, mask["kernel"][...])


def test_the_nnx_wrapper_takes_a_tree_of_rates_and_hands_the_flag_on():
    rngs = nnx.Rngs(0)
    inner = nnx.Sequential(
        *[nnx.Linear(30, 30, use_bias=False, rngs=rngs) for _ in range(2)]
    )
    rates = {"layers": {0: 1.0, 1: None}}
    layer = djn.DropConnect(inner, rates, rngs=rngs)
    assert not nnx.jit(lambda layer: layer(X))(layer).any()
    attention = nnx.MultiHeadAttention(2, 30, rngs=rngs, decode=False)
    layer = djn.DropConnect(attention, 0.5, rngs=rngs)
    off = layer(X, deterministic=True)
    np.testing.assert_array_equal(off, attention(X, deterministic=True))


def test_a_fixed_mask_is_multiplied_with_the_kernel():
    mask = (array((3, 3, 8, 7)) > 0).astype(jnp.float32)
    host = nn.Conv(7, (3, 3), mask=mask)
    variables = host.init(KEY, IMAGE)
    ours = djl.DropConnectConv(7, (3, 3), 0.5, mask=mask)
    y = ours.apply(variables, IMAGE, deterministic=True)
    np.testing.assert_array_equal(y, host.apply(variables, IMAGE))


def test_out_sharding_reaches_the_product():
    mesh = jax.make_mesh((2,), ("d",), (jax.sharding.AxisType.Explicit,))
    layer = djn.DropConnectLinear(30, 8, 0.5, rngs=nnx.Rngs(0))
    with jax.set_mesh(mesh):
        spec = jax.sharding.PartitionSpec(None, "d")
        y = nnx.jit(lambda layer, x: layer(x, spec))(layer, X)
        assert y.sharding.spec == spec


SHARDED = {
    "linear": (djn.DropConnectLinear, (30, 8)),
    "general": (djn.DropConnectLinearGeneral, (30, (8, 2))),
    "einsum": (djn.DropConnectEinsum, ("bi,ij->bj", (30, 8))),
}


@pytest.mark.parametrize("options", [{"mask_per": "example"}, {"mask_per": 2}, {}])
@pytest.mark.parametrize("kind", SHARDED)
def test_out_sharding_is_that_of_the_output(kind, options):
    make, sizes = SHARDED[kind]
    layer = make(*sizes, 0.5, rngs=nnx.Rngs(0), **options)
    mesh = jax.make_mesh((2,), ("d",), (jax.sharding.AxisType.Explicit,))
    for off in (False, True):
        expected = layer(X, rngs=KEY, deterministic=off)
        with jax.set_mesh(mesh):
            spec = jax.sharding.PartitionSpec(None, "d")
            x = jax.device_put(X, jax.sharding.PartitionSpec())
            y = layer(x, out_sharding=spec, rngs=KEY, deterministic=off)
        assert y.sharding.spec[:2] == (None, "d")
        np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-5)


def test_wrappers_do_not_hide_what_they_wrap():
    assert "module" in inspect.signature(djl.DropConnect).parameters
    assert isinstance(djn.DropConnectLinear(2, 2, 0.5, rngs=nnx.Rngs(0)), nnx.Linear)
    assert isinstance(djn.DropConnectConv(2, 2, 3, 0.5, rngs=nnx.Rngs(0)), nnx.Conv)


def test_trees_of_rates_may_be_attributes():
    rates = {"kernel": jnp.float32(1.0), "bias": None}
    variables = nn.Dense(8).init(KEY, X)
    linen = djl.DropConnect(nn.Dense(8), rates, deterministic=False)
    assert not linen.apply(variables, X, rngs={"dropout": KEY}).any()
    layer = djn.DropConnect(nnx.Linear(30, 8, rngs=nnx.Rngs(0)), rates)
    assert not nnx.jit(lambda layer: layer(X, rngs=KEY))(layer).any()


@pytest.mark.parametrize("name", ["Dropout", "GaussianNoise", "ConcreteDropout"])
def test_a_traced_flag_gets_the_message_of_the_functions(name):
    wrapped = (nn.Dense(3), 10) if name == "ConcreteDropout" else (0.5,)
    linen = getattr(djl, name)(*wrapped)
    wrapped = (nnx.Linear(30, 3, rngs=nnx.Rngs(0)), 10) if len(wrapped) > 1 else (0.5,)
    layer = getattr(djn, name)(*wrapped)
    calls = (
        lambda off: linen.init_with_output(KEY, X, deterministic=off)[0],
        lambda off: layer(X, deterministic=off, rngs=KEY),
    )
    for call in calls:
        with pytest.raises(TypeError, match="deterministic must be True or False"):
            jax.jit(call)(True)


class Held(nn.Module):
    """A module that has a field of the name that the wrappers have for theirs."""

    module: nn.Module

    def __call__(self, x):
        return self.module(x)


def concrete(module):
    return djl.ConcreteDropout(module, 10, deterministic=True)


WRAPPERS = {
    "LayerDrop": functools.partial(djl.LayerDrop, deterministic=False),
    "DropConnect": functools.partial(djl.DropConnect, deterministic=False),
    "SubsetBranch": functools.partial(djl.SubsetBranch, deterministic=False),
}
WRAPPED = {
    "Dense": nn.Dense(30),
    "Held": Held(Held(nn.Dense(30))),
    "Sequential": nn.Sequential([nn.Dense(30), nn.relu, nn.Dense(30)]),
    "a wrapper held": Held(
        djl.DropConnect(Held(nn.Dense(30)), 0.0, deterministic=False)
    ),
    "Sequential with a layer": nn.Sequential(
        [nn.Dense(30), djl.Dropout(0.0, deterministic=False)]
    ),
}


@pytest.mark.parametrize("inner", WRAPPERS.values(), ids=WRAPPERS)
@pytest.mark.parametrize("outer", WRAPPERS.values(), ids=WRAPPERS)
@pytest.mark.parametrize("module", WRAPPED.values(), ids=WRAPPED)
def test_linen_wrappers_nest(outer, inner, module):
    variables, rngs = module.init(KEY, X), {"dropout": KEY}

    def run(layer):
        return layer.apply(variables, X, rngs=rngs)

    own = outer(inner(module, 0.5), 0.5).init({"params": KEY, **rngs}, X)
    assert jax.tree.map(jnp.shape, own) == jax.tree.map(jnp.shape, variables)
    y = module.apply(variables, X)
    np.testing.assert_array_equal(run(outer(inner(module, 0.0), 0.0)), y)
    np.testing.assert_array_equal(
        run(outer(inner(module, 0.5), 0.0)), run(inner(module, 0.5))
    )
    np.testing.assert_allclose(
        run(outer(inner(module, 0.0), 0.5)), run(outer(module, 0.5)), rtol=1e-6
    )
    if djl.SubsetBranch in (outer.func, inner.func):
        return  # Its rate decides a shape.
    traced = jax.jit(lambda rate: run(outer(inner(module, rate), rate)))
    np.testing.assert_allclose(traced(jnp.float32(0.0)), y, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("inner", WRAPPERS.values(), ids=WRAPPERS)
def test_linen_concrete_dropout_goes_around_other_wrappers(inner):
    variables = concrete(nn.Dense(30)).init(KEY, X)
    y, cost = concrete(inner(nn.Dense(30), 0.0)).apply(variables, X)
    expected, same_cost = concrete(nn.Dense(30)).apply(variables, X)
    np.testing.assert_array_equal(y, expected)
    assert cost == same_cost
    own = concrete(inner(nn.Dense(30), 0.5)).init(KEY, X)
    jax.tree.map(np.testing.assert_array_equal, own, variables)


def test_a_nested_linen_wrapper_may_be_called_twice_and_take_the_flag():
    class Twice(nn.Module):
        def setup(self):
            inner = djl.DropConnect(nn.Dense(30, parent=None), 0.5, parent=None)
            self.layer = djl.LayerDrop(inner, 0.0)

        def __call__(self, x):
            x = self.layer(x, deterministic=True)
            return self.layer(x, deterministic=False)

    variables = Twice().init(KEY, X)
    dense = {"params": variables["params"]["layer"]}
    once = nn.Dense(30).apply(dense, X)
    twice = Twice().apply(variables, X, rngs={"dropout": KEY})
    assert not jnp.array_equal(twice, nn.Dense(30).apply(dense, once))
    assert twice.shape == X.shape


WRAPPING = ["DropConnect", "LayerDrop", "SubsetBranch", "ConcreteDropout"]


@pytest.mark.parametrize("wrapper", WRAPPING)
def test_a_wrapper_is_no_recurrent_cell(wrapper):
    options = {"examples": 1} if wrapper == "ConcreteDropout" else {"rate": 0.5}
    x, rngs = jnp.ones((2, 5, 3)), nnx.Rngs(0)
    linen = nn.RNN(getattr(djl, wrapper)(nn.SimpleCell(3), **options))
    with pytest.raises(TypeError, match="wrap the RNN itself"):
        linen.init(jax.random.key(0), x)
    cell = nnx.SimpleCell(3, 3, rngs=rngs)
    layer = nnx.RNN(getattr(djn, wrapper)(cell, **options, rngs=rngs))
    with pytest.raises(TypeError, match="wrap the RNN itself"):
        layer(x)
