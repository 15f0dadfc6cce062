"""Whatever is given, a function works or says in our words what is wrong with it.

Never an internal error, never a wrong number: what is raised is a ValueError or a
TypeError that the package itself raises, and what is returned is of x's dtype and
has no NaN that was not there.
"""

import functools
import inspect
import pathlib
import traceback

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import dropjax as dj
from tests.methods import METHODS

KEY = jax.random.key(2013)
KEYS = [
    KEY,
    jax.random.key(1, impl=dj.fast_prng),
    jax.random.key(2, impl="rbg"),
    jax.random.key_data(KEY),
    np.asarray(jax.random.key_data(KEY)),
]
BAD_KEYS = [
    None,
    0,
    "key",
    jax.random.split(KEY),
    jnp.zeros((), jnp.uint32),
    jnp.zeros(3, jnp.uint32),
    jnp.zeros((2, 2), jnp.uint32),
    jnp.zeros(2, jnp.int32),
    np.zeros(2, np.float32),
    [0, 1],
]
RATES = [0, 1, 0.0, 1.0, 0.5, np.float32(0.3), np.float64(0.7), jnp.float32(0.2)]
BAD_RATES = [
    None,
    True,
    "0.5",
    -0.1,
    1.1,
    float("nan"),
    float("inf"),
    1j,
    [0.5],
    jnp.int32(1),
    np.array([0.5, 2.0]),
    np.array(["0.5"]),
    np.array([0.5], dtype=object),
    jnp.full((7, 1, 1, 1, 1, 1), 0.5),
]
FLAGS = [False, True, np.bool_(False), None, 1, "no", jnp.array(True)]
OPTIONS = [
    None,
    True,
    -1,
    0,
    1,
    2,
    99,
    0.5,
    1.5,
    "channels",
    "standard",
    "batch",
    (),
    (0,),
    (0, 0),
    (99,),
    [0],
    (1, None),
    np.int64(0),
    object(),
]
UNUSUAL = ["bfloat16", "float16", "complex64", "float64", "int32", "bool"]


def arrays(usual):
    """That array, others of its shape and of other shapes, and what is no array."""
    shape = usual.shape
    return st.one_of(
        st.just(usual),
        st.sampled_from(UNUSUAL).map(lambda dtype: np.ones(shape, dtype)),
        st.sampled_from(
            [
                jnp.zeros(()),
                jnp.zeros((0,)),
                jnp.zeros((0, *shape[1:])),
                jnp.zeros((*shape[:-1], 0)),
                jnp.ones((2, 3)),
                np.zeros(shape, jax.dtypes.float0),
                np.empty(shape, object),
                np.full(shape, "x"),
                jax.ShapeDtypeStruct(shape, jnp.float32),
                [1.0, 2.0],
                None,
                3.0,
                "x",
                KEY,
            ]
        ),
    )


def mostly(good, *others):
    """The good values in most cases, so that one thing at a time is wrong."""
    return st.integers(0, 3).flatmap(lambda n: st.one_of(*others) if n == 0 else good)


def is_ours(error):
    """Whether it was raised on purpose, by a `raise` of the package's own.

    What a row of the table itself trips over has not come to the package.
    """
    frames = traceback.extract_tb(error.__traceback__)
    package = pathlib.Path(dj.__file__).parent
    inside = [package in pathlib.Path(frame.filename).parents for frame in frames]
    return not any(inside) or (inside[-1] and frames[-1].line.startswith("raise "))


def check(call, x):
    error, y = None, None
    try:
        y = call()
    except (TypeError, ValueError) as raised:
        error = raised
    assert error is None or is_ours(error), "".join(traceback.format_exception(error))
    for leaf in jax.tree.leaves(y):
        if jnp.issubdtype(leaf.dtype, jnp.inexact):
            assert leaf.dtype in (x.dtype, jax.dtypes.canonicalize_dtype(x.dtype))
            assert not np.isnan(np.asarray(leaf).astype(complex)).any()


def own_options(method):
    """The options that may be given to a row's function besides the row's own."""
    if not isinstance(method.function, functools.partial):
        return []
    function = method.public[0]
    return [
        name
        for name, parameter in inspect.signature(function).parameters.items()
        if parameter.kind is parameter.KEYWORD_ONLY and name != "deterministic"
    ]


ROWS = {
    method.public[0].__name__: method
    for method in reversed(METHODS)
    if not method.product
}


@pytest.mark.parametrize("name", sorted(ROWS))
@settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(data=st.data())
def test_a_method_works_or_says_what_is_wrong(name, data):
    method = ROWS[name]
    x = data.draw(arrays(method.array()), "x")
    key = data.draw(mostly(st.sampled_from(KEYS), st.sampled_from(BAD_KEYS)), "key")
    rate = data.draw(mostly(st.sampled_from(RATES), st.sampled_from(BAD_RATES)), "rate")
    flag = data.draw(mostly(st.just(False), st.sampled_from(FLAGS)), "deterministic")
    options = {}
    if own_options(method):
        name = st.sampled_from(own_options(method))
        some = st.dictionaries(name, st.sampled_from(OPTIONS), min_size=1, max_size=2)
        options = data.draw(mostly(st.just({}), some), "options")
    check(lambda: method.function(key, x, rate, deterministic=flag, **options), x)


@pytest.mark.parametrize("name", ["dropconnect_dense", "dropconnect_conv"])
@settings(max_examples=80, deadline=None, derandomize=True)
@given(data=st.data())
def test_a_product_works_or_says_what_is_wrong(name, data):
    x, kernel = {
        "dropconnect_dense": ((2, 3), (3, 4)),
        "dropconnect_conv": ((2, 5, 5, 3), (2, 2, 3, 4)),
    }[name]
    x, kernel = jnp.ones(x), jnp.ones(kernel)
    x = data.draw(mostly(st.just(x), arrays(x)), "x")
    kernel = data.draw(mostly(st.just(kernel), arrays(kernel)), "kernel")
    key = data.draw(mostly(st.sampled_from(KEYS), st.sampled_from(BAD_KEYS)), "key")
    rate = data.draw(mostly(st.sampled_from(RATES), st.sampled_from(BAD_RATES)), "rate")
    option = data.draw(
        mostly(
            st.just({}),
            st.sampled_from(["bias", "bias_rate", "mask_per", "scaling"]).flatmap(
                lambda name: st.sampled_from(OPTIONS).map(lambda value: {name: value})
            ),
        ),
        "option",
    )
    check(lambda: getattr(dj, name)(key, x, kernel, rate, **option), x)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(data=st.data())
def test_a_mask_works_or_says_what_is_wrong(data):
    key = data.draw(mostly(st.sampled_from(KEYS), st.sampled_from(BAD_KEYS)), "key")
    rate = data.draw(mostly(st.sampled_from(RATES), st.sampled_from(BAD_RATES)), "rate")
    shapes = [(), (0,), (2, 3), [4, 5], (np.int64(2),)]
    wrong = [None, 3, "23", (-1,), (1.5,), ("2",), (True,), jnp.ones(2), (None,)]
    shape = data.draw(mostly(st.sampled_from(shapes), st.sampled_from(wrong)), "shape")
    check(lambda: dj.keep_mask(key, shape, rate), None)
