"""Arguments that were taken for what they are not, over every public function."""

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
X = array((2, 8, 8, 4))
NEEDED = {"span_length": 2, "size": 2, "fill": 0.0}
KERNELS = {"": array((4, 3)), "_conv": array((2, 2, 4, 3), seed=1)}


def call(function, **options):
    """Any function that has axes or flags, with arguments that suit it."""
    own = inspect.signature(function).parameters
    options = {name: NEEDED[name] for name in NEEDED if name in own} | options
    if function is dj.dot_product_attention:
        return function(X, X, X, dropout_rng=KEY, dropout_rate=0.5, **options)
    x = X[0] if options.get("batch_axis", 0) is None else X
    x = x.shape if "shape" in own else x
    if function in (dj.modality_dropout, dj.modality_dropout_mask):
        x = {"audio": x, "video": x}
    return function(KEY, x, 0.5, **options)


def public(chosen):
    """Pairs of a public function and those of its parameters that are chosen."""
    return [
        pytest.param(function, name, id=f"{function.__name__}-{name}")
        for function in (getattr(dj, name) for name in dj.__all__)
        if inspect.isfunction(function)
        for name, parameter in inspect.signature(function).parameters.items()
        if chosen(name, parameter)
    ]


AXES = public(lambda name, _: name.endswith("_axis"))
FLAGS = public(
    lambda name, it: isinstance(it.default, bool) and name != "deterministic"
)


@pytest.mark.parametrize(("function", "name"), AXES)
@pytest.mark.parametrize("axis", [[], (), [1], (1,), 1.0, True, "1"], ids=repr)
def test_one_axis_is_one_integer(function, name, axis):
    with pytest.raises(TypeError, match=f"{name} must be one axis, an integer, got"):
        call(function, **{name: axis})


@pytest.mark.parametrize(("function", "name"), AXES)
def test_an_axis_may_be_numpys_and_the_batchs_may_be_none(function, name):
    default = inspect.signature(function).parameters[name].default
    same = call(function, **{name: np.int64(default)})
    jax.tree.map(np.testing.assert_array_equal, same, call(function))
    batched = function.__name__.startswith(("drop_path", "condition", "modality"))
    if name == "batch_axis" and not batched:
        call(function, batch_axis=None)
    else:
        with pytest.raises(TypeError, match="one axis"):
            call(function, **{name: None})


@pytest.mark.parametrize(("function", "name"), FLAGS)
def test_a_flag_is_true_or_false(function, name):
    for flag in ("False", 0, 1, None, (), np.array(True), jnp.array(True)):
        with pytest.raises(TypeError, match=f"^{name} must be True or False, got"):
            call(function, **{name: flag})
    for flag in (True, False):
        numpys, ours = (call(function, **{name: it}) for it in (np.bool_(flag), flag))
        jax.tree.map(np.testing.assert_array_equal, numpys, ours)


PRODUCTS = {
    f"dropconnect{kind}{what}": (X, kernel)
    for kind, kernel in KERNELS.items()
    for what in ("_moments", "_gaussian", "" if kind else "_dense")
}


def product(name, x, kernel, **options):
    function, key = getattr(dj, name), KEY
    if name.endswith("_moments"):
        return function(x, kernel, 0.5, **options)
    if name.endswith("_gaussian"):
        return function(key, x, kernel, 0.5, jnp.tanh, num_samples=2, **options)
    return function(key, x, kernel, 0.5, **options)


@pytest.mark.parametrize("name", PRODUCTS)
def test_the_rate_of_a_bias_is_looked_at_without_a_bias(name):
    with pytest.raises(ValueError, match=r"bias_rate is .* must lie in \[0, 1\]"):
        product(name, *PRODUCTS[name], bias_rate=2.0)
    with pytest.raises(TypeError, match="bias_rate must be a real number"):
        product(name, *PRODUCTS[name], bias_rate="a")


def same_in_double(function, *arrays):
    """NumPy's float64, of which JAX makes float32, gives what float32 gives."""
    double = [np.asarray(x, np.float64) for x in arrays]
    expected = function(*arrays)
    for given in (double, [double[0], *arrays[1:]]):
        y = function(*given)
        jax.tree.map(np.testing.assert_array_equal, y, expected)
        assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(y))


@pytest.mark.parametrize(
    "options",
    [{}, {"mask_per": "example"}, {"mask_per": 2}, {"noise": "gaussian"}],
)
@pytest.mark.parametrize("name", ["dropconnect_dense", "dropconnect_conv"])
def test_products_take_numpys_double_precision(name, options):
    kernel = PRODUCTS[name][1]
    x = X[0, 0] if name == "dropconnect_dense" else X
    given = {"bias_rate": 0.5, **options}
    same_in_double(
        lambda x, kernel, bias: product(name, x, kernel, bias=bias, **given),
        *(x, kernel, jnp.ones(3)),
    )


@pytest.mark.parametrize(
    "name", [name for name in PRODUCTS if name.endswith(("_moments", "_gaussian"))]
)
def test_moments_take_numpys_double_precision(name):
    x, kernel = PRODUCTS[name]
    bias = {"bias": np.ones(3), "bias_rate": 0.5}
    same_in_double(lambda *arrays: product(name, *arrays, **bias), x, kernel)


@pytest.mark.parametrize("off", [False, True])
def test_methods_of_two_arrays_take_numpys_double_precision(off):
    options = {"deterministic": off}
    same_in_double(lambda x: dj.drop_activation(KEY, x, 0.05, **options), X)
    same_in_double(lambda x, old: dj.zoneout(KEY, x, old, 0.5, **options), X, X + 1)
    same_in_double(lambda x: dj.layer_drop(KEY, x, jnp.tanh, 0.5, **options), X)
    same_in_double(lambda x: dj.cutout(KEY, x, 1.0, size=2, fill=x), X)
    same_in_double(lambda x: dj.apply_mask(x, X > 0, keep=0.5, fill=x), X)
    same_in_double(lambda x: dj.apply_mask(x, X > 0), X)
    same_in_double(lambda x: dj.mixout(KEY, X, x, 0.5), X + 1)


def test_off_numpys_array_is_given_back_as_it_is():
    x, old = np.ones(3), np.zeros(3)
    assert dj.zoneout(None, x, old, 0.0) is x
    assert dj.zoneout(None, x, old, 1.0) is old
    assert dj.layer_drop(None, x, jnp.tanh, 1.0) is x
    assert dj.dropout(None, x, 0.5, deterministic=True) is x


def test_a_logit_may_be_a_scalar_of_numpys():
    ours = dj.concrete_dropout(KEY, X, jnp.float32(-1))
    np.testing.assert_array_equal(dj.concrete_dropout(KEY, X, np.float32(-1)), ours)
    with pytest.raises(TypeError, match="logit must be a floating-point array"):
        dj.concrete_dropout(KEY, X, np.int32(-1))


def test_a_layer_takes_numpys_raw_key():
    raw = np.asarray(jax.random.key_data(KEY))
    y = djn.Dropout(0.5)(X, rngs=raw)
    np.testing.assert_array_equal(y, dj.dropout(KEY, X, 0.5))


@pytest.mark.parametrize("size", [np.int64(3), [np.int32(3)], 3])
def test_the_window_of_a_layer_may_be_numpys(size):
    x = jnp.ones((2, 8, 4))
    linen = djl.DropConnectConv(5, size, 0.5, deterministic=True)
    y, variables = linen.init_with_output(KEY, x)
    np.testing.assert_array_equal(y, nn.Conv(5, 3).apply(variables, x))
    layer = djn.DropConnectConv(4, 5, size, 0.5, rngs=nnx.Rngs(0))
    plain = nnx.Conv(4, 5, 3, rngs=nnx.Rngs(0))
    np.testing.assert_array_equal(layer(x, deterministic=True), plain(x))
    assert layer.kernel_size == (3,)


@pytest.mark.parametrize("size", [(), 0, "3", (3, 0.5), None])
def test_no_other_window_is_taken(size):
    x = jnp.ones((2, 8, 4))
    with pytest.raises(ValueError, match="kernel_size must be one positive integer"):
        djl.DropConnectConv(5, size, 0.5, deterministic=True).init(KEY, x)
    with pytest.raises(ValueError, match="kernel_size must be one positive integer"):
        djn.DropConnectConv(4, 5, size, 0.5, rngs=nnx.Rngs(0))


@pytest.mark.parametrize("groups", [0, -1, 1.0])
def test_groups_are_counted_before_anything_is_divided(groups):
    options = {"feature_group_count": groups}
    with pytest.raises(ValueError, match="feature_group_count must be a positive"):
        djl.DropConnectConv(4, 3, 0.5, **options).init(KEY, X, True)
    with pytest.raises(ValueError, match="feature_group_count must be a positive"):
        djn.DropConnectConv(4, 4, 3, 0.5, **options, rngs=nnx.Rngs(0))


@pytest.mark.parametrize("name", ["SAME", "VALID", "CIRCULAR", "REFLECT"])
@pytest.mark.parametrize("mask_per", ["batch", "example"])
def test_a_transposed_convolution_wants_its_padding_in_numbers(name, mask_per):
    options = {"input_dilation": (1, 2), "mask_per": mask_per}
    kernel = KERNELS["_conv"]
    with pytest.raises(ValueError, match="padding must be a number, or"):
        dj.dropconnect_conv(KEY, X, kernel, 0.5, padding=name, **options)
    y = dj.dropconnect_conv(KEY, X, kernel, 0.5, padding=0, **options)
    assert y.shape == (2, 7, 14, 3)
