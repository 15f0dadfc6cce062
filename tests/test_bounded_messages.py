"""However large what was given is, the message is short; and swaps are named."""

import functools
import inspect
import pathlib
import traceback

import flax.errors
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.experimental import sparse

import dropjax as dj
import dropjax.linen as djl
import dropjax.nnx as djn

KEY = jax.random.key(2013)
X = jnp.ones((4, 6))
IMAGE = jnp.ones((2, 8, 8, 4))
PARAMS = {"dense": {"kernel": jnp.ones((6, 3)), "bias": jnp.ones(3)}}
PACKAGE = pathlib.Path(dj.__file__).parent
LONGEST = 700

TREE = {f"layer_{n}": {"kernel": jnp.ones((40, 50))} for n in range(60)}
LARGE = {
    "tree": TREE,
    "array": np.full((300, 300), -7.0),
    "integers": jnp.zeros((300, 300), int),
    "list": [0.5] * 10_000,
    "text": "x" * 100_000,
    "module": nnx.Sequential(*(nnx.Linear(9, 9, rngs=nnx.Rngs(0)) for _ in range(20))),
}
GIVEN = {
    "key": KEY,
    "x": IMAGE,
    "shape": IMAGE.shape,
    "rate": 0.5,
    "stddev": 0.5,
    "amplitude": 0.5,
    "alpha": 0.5,
    "params": PARAMS,
    "pretrained": PARAMS,
    "kernel": jnp.ones((4, 3)),
    "kernel_in": jnp.ones((4, 6)),
    "kernel_out": jnp.ones((6, 4)),
    "logit": X[0, 0],
    "examples": 3,
    "old": IMAGE,
    "layer": jax.nn.relu,
    "branch": jax.nn.relu,
    "activation": jax.nn.relu,
    "size": 2,
    "unknown_id": 0,
    "fill": 0.0,
    "mask": True,
    "query": IMAGE,
    "value": IMAGE,
    "num_samples": 2,
}


def valid(function):
    """Arguments that suit a function."""
    given = {
        name: GIVEN[name]
        for name, parameter in inspect.signature(function).parameters.items()
        if name in GIVEN and (parameter.default is parameter.empty or name == "rate")
    }
    if "conv" in function.__name__:
        given["kernel"] = jnp.ones((2, 2, 4, 3))
    if function.__name__.startswith("word_dropout") and "x" in given:
        given["x"] = jnp.zeros((4, 6), int)
    if function.__name__.startswith("span_dropout"):
        given["span_length"] = 2
    if function.__name__.startswith("modality_dropout"):
        given |= {name: [given[name]] * 2 for name in ("x", "shape") if name in given}
    if function is dj.dot_product_attention:
        given |= {"key": IMAGE, "dropout_rng": KEY, "dropout_rate": 0.5}
    if function is dj.dropconnect_einsum:
        given |= {"x": X, "kernel": jnp.ones((6, 3)), "einsum_str": "bi,io->bo"}
    if function is dj.concrete_dropout_regularizer:
        given["kernel"] = X
    return given


FUNCTIONS = [f for f in map(dj.__dict__.get, dj.__all__) if inspect.isfunction(f)]
ARGUMENTS = [
    pytest.param(function, name, id=f"{function.__name__}-{name}")
    for function in FUNCTIONS
    for name in inspect.signature(function).parameters
]


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda function: function.__name__)
def test_the_arguments_here_are_valid(function):
    function(**valid(function))


def call(function, arguments):
    function(**arguments)


@pytest.mark.parametrize(("function", "name"), ARGUMENTS)
def test_messages_are_bounded(function, name):
    for kind, large in LARGE.items():
        arguments = {**valid(function), name: large}
        message = ""
        try:
            jax.eval_shape(functools.partial(call, function, arguments))
        except (TypeError, ValueError, flax.errors.TraceContextError) as error:
            last = traceback.extract_tb(error.__traceback__)[-1]
            ours = PACKAGE in pathlib.Path(last.filename).parents
            # What JAX says of a dtype or a precision is as long as it likes.
            message = str(error) if ours and last.line.startswith("raise ") else ""
        assert len(message) <= LONGEST, (kind, message[:LONGEST])


SWAPPED = {
    "a tree for x": (
        lambda: dj.dropout(KEY, TREE, 0.5),
        "x must be an array, got a tree of 60 leaves (dict); use dropjax.dropconnect "
        "to drop from a tree of parameters",
    ),
    "key and x": (
        lambda: dj.dropout(X, KEY, 0.5),
        "x must be an array of numbers, got a PRNG key, PRNGKeyArray of shape (), "
        "dtype key<fry>; the key comes first, before x",
    ),
    "raw key and x": (
        lambda: dj.dropout(X, jax.random.key_data(KEY), 0.5),
        "x must be an array of numbers, got a PRNG key, ArrayImpl of shape (2,), dtype "
        "uint32; the key comes first, before x",
    ),
    "key and params": (
        lambda: dj.dropconnect(TREE, KEY, 0.5),
        "params must be a floating-point or complex array, got PRNGKeyArray of shape "
        "(), dtype key<fry>; the key comes first, before params",
    ),
    "key and shape": (
        lambda: dj.dropout_mask((3,), KEY, 0.5),
        "shape must be a sequence of integers, got PRNGKeyArray of shape (), dtype "
        "key<fry>; the key comes first, before shape",
    ),
    "key and rate": (
        lambda: dj.dropout(0.5, X, KEY),
        "rate must be a real number or a floating-point array, got PRNGKeyArray of "
        "shape (), dtype key<fry>; the key comes first, before rate",
    ),
    "x and rate": (
        lambda: dj.dropout(KEY, 0.5, X),
        "x must be an array, got 0.5 (float); the order is key, x, rate; wrap a "
        "number in jnp.asarray",
    ),
    "a tree for a key": (
        lambda: dj.dropout(TREE, X, 0.5),
        "key must be a PRNG key, got a tree of 60 leaves (dict); make one with "
        "jax.random.key(seed), and pass it first, before the tree",
    ),
    "features and rate of Linen's dense layer": (
        lambda: djl.DropConnectDense(0.5, 4).init(KEY, X, True),
        "features must be a non-negative integer, got 0.5; it comes before the rate",
    ),
    "features and rate of Linen's convolution": (
        lambda: djl.DropConnectConv(0.5, (3, 3), 4).init(KEY, IMAGE, True),
        "features must be a non-negative integer, got 0.5; it comes before the rate",
    ),
    "features and rate of NNX's linear layer": (
        lambda: djn.DropConnectLinear(6, 0.5, 4, rngs=nnx.Rngs(0)),
        "out_features must be a non-negative integer, got 0.5; it comes before the "
        "rate",
    ),
    "features and rate of NNX's convolution": (
        lambda: djn.DropConnectConv(4, 0.5, (3, 3), 4, rngs=nnx.Rngs(0)),
        "out_features must be a non-negative integer, got 0.5; it comes before the "
        "rate",
    ),
    "a sparse array": (
        lambda: dj.dropout(KEY, sparse.BCOO.fromdense(X), 0.5),
        "x must be an array, got BCOO of shape (4, 6), dtype float32; drop from its "
        "stored elements, x.data, or make it dense with x.todense()",
    ),
}


@pytest.mark.parametrize("case", SWAPPED)
def test_what_was_swapped_is_named(case):
    call, message = SWAPPED[case]
    with pytest.raises((TypeError, ValueError)) as caught:
        call()
    assert str(caught.value) == message


def test_a_tree_whose_keys_cannot_be_sorted():
    with pytest.raises(TypeError, match="x must be an array, got"):
        dj.dropout(KEY, {1: X, "a": X}, 0.5)


def test_the_stored_elements_of_a_sparse_array():
    x = sparse.BCOO.fromdense(jnp.eye(40))
    y = sparse.BCOO((dj.dropout(KEY, x.data, 0.5), x.indices), shape=x.shape)
    assert set(np.unique(y.todense())) == {0.0, 2.0}
    assert y.nse == x.nse
    params = {"w": x, "kernel": jnp.ones((9, 9))}
    assert dj.selected(params) == ("kernel",)
    data = dj.selected(params, where=lambda path, leaf: leaf.dtype == jnp.float32)
    assert data == ("kernel", "w/0")
    masked = dj.dropconnect(KEY, params, 0.5, where=lambda path, _: path in data)
    assert (masked["w"].data == 0).any()
    assert masked["w"].indices is x.indices
