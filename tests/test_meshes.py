"""Law 9 at length: eight devices in several meshes, and arrays cut along every axis."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

import dropjax as dj
from tests.methods import METHODS, array

RATE = 0.3
TALK = ("all-reduce", "all-gather", "all-to-all", "permute", "reduce-scatter")
KEYS = {
    "threefry": jax.random.key(12),
    "fast": jax.random.key(12, impl=dj.fast_prng),
}
AXES = ("a", "b", "c")
SPECS = {
    (8,): [P("a"), P(None, "a"), P(None, None, "a")],
    (4, 2): [P("a", "b"), P("b", None, "a"), P(("b", "a")), P(None, AXES[:2]), P("b")],
    (2, 2, 2): [P("a", "b", "c"), P(("c", "a"), "b"), P(None, None, AXES), P("c"), P()],
}


def make_mesh(shape, kind=AxisType.Auto):
    return jax.make_mesh(shape, AXES[: len(shape)], (kind,) * len(shape))


def assert_no_talk(compiled):
    text = compiled.as_text()
    assert not [word for word in TALK if word in text]


def value_and_pullback(drop, x):
    """The outputs, and what the backward pass makes of them."""
    y, back = jax.vjp(drop, x)
    return y, *back(y)


MESHES = [(shape, AxisType.Auto) for shape in SPECS] + [((4, 2), AxisType.Explicit)]


@pytest.mark.parametrize(("shape", "kind"), MESHES, ids=str)
def test_every_cut_of_an_array_has_the_mask_of_one_device(shape, kind):
    def drops(x):
        return [
            value_and_pullback(functools.partial(drop, key, rate=RATE), x)
            for drop, key in (
                (dj.dropout, KEYS["threefry"]),
                (dj.dropout, KEYS["fast"]),
                (dj.spatial_dropout, KEYS["fast"]),
            )
        ]

    mesh, x = make_mesh(shape, kind), array((16, 8, 24))
    cuts = [jax.device_put(x, NamedSharding(mesh, spec)) for spec in SPECS[shape]]
    with jax.set_mesh(mesh):
        compiled = jax.jit(lambda cuts: list(map(drops, cuts))).lower(cuts).compile()
        found = compiled(cuts)
    assert_no_talk(compiled)
    wanted = jax.jit(drops)(x)
    for cut, each in zip(cuts, found, strict=True):
        jax.tree.map(np.testing.assert_array_equal, wanted, each)
        for y in jax.tree.leaves(each):
            assert y.sharding.is_equivalent_to(cut.sharding, x.ndim)


def cut(method, mesh):
    """Each of the mesh's axes along the first of the array's that it divides."""
    names, spec = list(mesh.axis_names), []
    for axis, size in enumerate(method.shape):
        fits = names and axis not in method.talks and size % mesh.shape[names[0]] == 0
        spec.append(names.pop(0) if fits else None)
    return P(*spec)


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_every_method_on_a_mesh_of_three_axes(method):
    def drop(x):
        return method.function(KEYS["fast"], x, RATE)

    mesh, x = make_mesh((2, 2, 2)), method.array()
    spec = cut(method, mesh)
    shards = jax.device_put(x, NamedSharding(mesh, spec))
    compiled = jax.jit(drop).lower(shards).compile()
    found = compiled(shards)
    expected = drop(x)
    np.testing.assert_allclose(found, expected, 0, atol=method.last_bits(expected))
    if not method.product:
        assert_no_talk(compiled)
        own = P(*[None] * (found.ndim - x.ndim), *spec)
        assert found.sharding.is_equivalent_to(NamedSharding(mesh, own), found.ndim)


@pytest.mark.parametrize("name", [m.name for m in METHODS if m.off and not m.product])
def test_what_is_not_x_itself_when_off_is_cut_as_x(name):
    (method,) = (method for method in METHODS if method.name == name)
    x = jnp.ones((8, *method.shape[1:]))
    off = jax.jit(lambda x: method.function(None, x, RATE, deterministic=True))
    with jax.set_mesh(make_mesh((8,), AxisType.Explicit)):
        y = off(jax.device_put(x, P("a")))
    assert y.sharding.spec[y.ndim - x.ndim] == "a"
    np.testing.assert_array_equal(y, off(x))


@pytest.mark.parametrize("examples", [16, 256])
def test_masks_per_example_on_a_mesh(examples):
    mesh, x, kernel = make_mesh((8,)), array((examples, 24)), array((24, 16))

    def products(x, kernel):
        return {
            name: dj.dropconnect_dense(key, x, kernel, 0.5, mask_per="example")
            for name, key in KEYS.items()
        }

    shards = jax.device_put(x, NamedSharding(mesh, P("a")))
    whole = jax.device_put(kernel, NamedSharding(mesh, P()))
    compiled = jax.jit(products).lower(shards, whole).compile()
    found = compiled(shards, whole)
    wanted = jax.jit(products)(x, kernel)
    for name in KEYS:
        np.testing.assert_allclose(found[name], wanted[name], rtol=1e-5, atol=1e-6)
    assert_no_talk(compiled)


def test_talk_is_noticed():
    x = jax.device_put(array((8, 4)), NamedSharding(make_mesh((8,)), P("a")))
    with pytest.raises(AssertionError):
        assert_no_talk(jax.jit(jnp.sum).lower(x).compile())
