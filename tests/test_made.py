"""A layer that cannot work is refused when it is made, in the words of the call."""

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
from tests.methods import METHODS

KEY = jax.random.key(2013)
X, KERNEL = jnp.ones((4, 6)), jnp.ones((6, 3))
IMAGE, WINDOW = jnp.ones((2, 8, 8, 4)), jnp.ones((3, 3, 4, 5))
RNGS = nnx.Rngs(0)
AROUND = {
    "linen": {"module": nn.Dense(6), "cell": nn.GRUCell(6)},
    "nnx": {
        "module": nnx.Linear(6, 6, rngs=RNGS),
        "cell": nnx.GRUCell(6, 6, rngs=RNGS),
    },
}
FACES = ["linen", "nnx"]

RATES = [-0.1, 1.5, float("nan"), "0.5", True, np.array([0.5, 2.0])]
FLAGS = ["True", 1, None]
COUNTS = [0, -1, 1.5, "8", True, None]
AXES = [1.0, "1", (1,), True]
RANGES = [0.5, "ab", (1,), (0.9, 0.1), (0.1, np.inf)]
WINDOWS = [0, -1, 1.5, "1", (1,), (1, 0)]
# Wrong for whatever array a layer is called with.
WRONG = {
    "rate": RATES,
    "stddev": [-1.0, float("inf"), float("nan"), "1", True],
    "span_length": COUNTS,
    "min_spans": [-1, 1.5, "1", True, None],
    "time_masks": [-1, 1.5, "1", True, None],
    "time_width": [-1, 1.5, "1", True, None],
    "time_share": [-0.1, 1.1, float("nan"), "1", True, None],
    "frequency_masks": [-1, 1.5, "1", True, None],
    "frequency_width": [-1, 1.5, "1", True, None],
    "frequency_axis": [*AXES, None],
    "amplitude": [-1.0, float("inf"), float("nan"), "1", True],
    "alpha": [-1.0, float("inf"), float("nan"), "1", True],
    "multiplicative": FLAGS,
    "selected_rate": [*RATES, None],
    "bias_rate": RATES,
    "input_rate": [*RATES, None],
    "memory_rate": RATES,
    "init_rate": [0.0, 1.0, float("nan"), "0.5", True, None],
    "deterministic": ["no", 2, 0.5, (), np.array([True])],
    "scaling": ["invert", 1, None],
    "broadcast_dims": ["0", 1.5, (0, 0), ("a",), True],
    "noise_shape": [4, "ab", (1.5,), (True, None)],
    "channel_axis": [*AXES, None, 0],
    "batch_axis": AXES,
    "head_axis": [*AXES, None, 0],
    "time_axis": [*AXES, None],
    "block_size": [*COUNTS, (0, 0), (1,) * 9],
    "size": [*COUNTS, (0, 3)],
    "fill": ["noise", None, True, (0.5, None)],
    "inside": FLAGS,
    "per_channel": FLAGS,
    "scale_by_keep": FLAGS,
    "gamma_scale": [0.0, -1.0, float("inf"), "1", True, None],
    "area": [*RANGES, (0.0, 0.5), (0.5, 1.5)],
    "ratio": [*RANGES, (0.0, 1.0)],
    "forward_range": RANGES,
    "backward_range": RANGES,
    "broadcast_dropout": FLAGS,
    "renormalize": FLAGS,
    "mode": ["rows", 1, None],
    "samples": COUNTS,
    "prefix_tokens": [-1, 1.5, "1", True, None],
    "ordered": FLAGS,
    "return_mask": FLAGS,
    "keep_one": FLAGS,
    "unknown_id": [1.5, "1", True, None],
    "protected": [1, (1.5,), "ab", None],
    "where": ["kernel", 1],
    "axis": ["0", 1.5, (0, 0), ("a",), True],
    "batch_dims": ["0", 1.5, (0, 0), ("a",), True],
    "shape": [1.5, (-1,), ("a",), None],
    "kernel_shape": [1.5, (-1,), ("a",), None],
    "einsum_str": ["bti", "bti,io", "bti,io,o->bt", "i,...->i", 1],
    "features": [-1, 1.5, "3", True, None],
    "in_features": [-1, 1.5, "3", True],
    "hidden_features": [-1, 1.5, "3", True],
    "out_features": [-1, 1.5, "3", True],
    "kernel_size": [0, (), (1.5,), "3", None],
    "strides": WINDOWS,
    "input_dilation": WINDOWS,
    "kernel_dilation": WINDOWS,
    "padding": ["SAMES", 1.5, (1,), None],
    "feature_group_count": COUNTS,
    "mask_per": ["all", 0, 1.5, True, None],
    "noise": ["gauss", 1, None],
    "inference": ["median", 1, None],
    "activation": ["relu", 1],
    "num_samples": COUNTS,
    "examples": COUNTS,
    "groups": COUNTS,
    "gated": FLAGS,
    "temperature": [0.0, -1.0, float("inf"), "1", True, None],
    "length_scale": [0.0, -1.0, float("inf"), "1", True, None],
}
# What is flax's own, or depends on the array, or may be anything.
UNCHECKED = {"use_bias", "mask", "dtype", "param_dtype", "precision", "kernel_init"}
UNCHECKED |= {"bias_init", "promote_dtype", "dot_general", "dot_general_cls", "rngs"}
UNCHECKED |= {"conv_general_dilated", "conv_general_dilated_cls", "module", "cell"}
UNCHECKED |= {"preferred_element_type", "kernel_metadata", "bias_metadata"}
UNCHECKED |= {"out_kernel_init", "out_bias_init"}
UNCHECKED |= {"out_kernel_metadata", "out_bias_metadata"}
UNCHECKED |= {"rng_collection", "parent", "name", "bias_shape", "einsum_op"}


def names(layer):
    host = inspect.isclass(layer) and issubclass(layer, nnx.Module)
    found = inspect.signature(layer.__init__ if host else layer).parameters
    return [name for name in found if name != "self"]


NEEDED = {"rate": 0.5, "stddev": 0.5, "size": 3, "unknown_id": 1, "examples": 10}
NEEDED |= {"in_features": 6, "out_features": 6, "features": 6, "kernel_size": (3, 3)}
NEEDED |= {"hidden_features": 3, "amplitude": 0.5, "alpha": 5.0, "fill": 0.0}
NEEDED |= {"shape": (6, 3), "kernel_shape": (6, 3), "einsum_str": "bi,io->bo"}


def make(face, layer, **options):
    """A layer with what it must be given, and these options."""
    needed = {**NEEDED, **AROUND[face]}
    if face == "nnx":
        needed["rngs"] = nnx.Rngs(0)
    given = {name: needed[name] for name in names(layer) if name in needed}
    return layer(**{**given, **options})


LAYERS = [
    (face, layer)
    for face, room in (("linen", djl), ("nnx", djn))
    for layer in map(room.__dict__.get, room.__all__)
    if inspect.isclass(layer)
]
by_name = {"ids": lambda it: getattr(it, "__name__", it)}


@pytest.mark.parametrize(("face", "layer"), LAYERS, **by_name)
def test_every_option_that_can_be_wrong_is_refused(face, layer):
    assert not set(names(layer)) - set(WRONG) - UNCHECKED
    for name in set(names(layer)) & set(WRONG):
        for value in WRONG[name]:
            if accepted(layer.__name__, name, value):
                make(face, layer, **{name: value})
                continue
            with pytest.raises((TypeError, ValueError), match=f"{name}"):
                make(face, layer, **{name: value})


def accepted(layer, name, value):
    """What is wrong for others and is right for these."""
    if name == "activation":
        return value is None and layer.startswith("DropConnect")
    if name == "block_size" and layer == "DropConnect":
        return value in (None, (1,) * 9)
    if name == "fill" and layer in ("ConditionDropout", "ModalityDropout"):
        return value is True or isinstance(value, tuple)  # Of a boolean, or a tree.
    return value is None and name in ("bias_rate", "memory_rate")


def of_row(method):
    """A row's function, to be called by keywords, and its options but for axes."""
    function, x = method.public[0], method.array()
    third = list(inspect.signature(function).parameters)[2]
    axes = {name for name in method.options if name.endswith("_axis")}
    options = {third: 0.5, **method.options}
    options = {name: options[name] for name in set(options) - axes}
    x = x[None] if method.options.get("batch_axis", 0) is None else x
    return functools.partial(function, KEY, x, **options), options


CONV = functools.partial(dj.dropconnect_conv, KEY, IMAGE, WINDOW, rate=0.5)
DENSE = functools.partial(dj.dropconnect_dense, KEY, X, KERNEL, rate=0.5), {}
CALLS = {
    layer.__name__: of_row(method)
    for method in reversed(METHODS)
    if isinstance(method.function, functools.partial)
    for layer in method.public[1:]
    if inspect.isclass(layer)
}
CALLS |= {"DropConnectDense": DENSE, "DropConnectLinear": DENSE}
CALLS |= {"DropConnectConv": (CONV, {})}
TREE = functools.partial(dj.dropconnect, KEY, {"kernel": KERNEL}, rate=0.5)
CALLS |= {"DropConnect": (TREE, {})}
SKIP = functools.partial(dj.layer_drop, KEY, X, lambda x: x, rate=0.5)
CALLS |= {"LayerDrop": (SKIP, {})}
MLP = functools.partial(dj.structured_dropout_mlp, KEY, X, KERNEL, KERNEL.T, rate=0.5)
CALLS |= {"StructuredDropoutMLP": (MLP, {})}
SUBSET = functools.partial(dj.subset_branch, KEY, X, lambda x: x, rate=0.5)
CALLS |= {"SubsetBranch": (SUBSET, {})}
MODAL = functools.partial(dj.modality_dropout, KEY, (X, X), rate=0.5)
CALLS |= {"ModalityDropout": (MODAL, {})}
CALLED = [it for it in LAYERS if it[1].__name__ in CALLS]
ODD = [True, -1, 0, 1, 2, 5, 0.5, "standard", (), (0,), (5,), [0], (1, None)]


def said(call, name, value):
    """How a value of an option is refused, if it is."""
    try:
        call(**{name: value})
    except (TypeError, ValueError) as error:
        return type(error), str(error)
    return None


@pytest.mark.parametrize(("face", "layer"), CALLED, **by_name)
def test_a_layer_refuses_what_its_function_refuses_in_its_words(face, layer):
    """And nothing else: what is refused when it is made is wrong in any call."""
    function, options = CALLS[layer.__name__]
    shared = set(names(layer)) & set(inspect.signature(function).parameters)
    for name in shared & set(WRONG):
        for value in [*WRONG[name], *ODD]:
            if name == "rate" and isinstance(value, tuple | list):
                continue  # It may be a tree.
            refused = said(functools.partial(make, face, layer, **options), name, value)
            if refused:
                assert said(function, name, value) == refused


@pytest.mark.parametrize(("face", "layer"), LAYERS, **by_name)
def test_a_rate_may_be_traced_or_left_to_the_call(face, layer):
    if "rate" not in names(layer):
        return
    make(face, layer, rate=None)
    static = ("PatchDropout", "StructuredDropoutMLP", "SubsetBranch", "RandomMasking")
    if layer.__name__ not in static:
        made = lambda rate: [make(face, layer, rate=rate), rate][1]  # noqa: E731
        jax.eval_shape(made, jnp.float32(0.5))


@pytest.mark.parametrize("face", FACES)
def test_options_are_checked_together(face):
    room = {"linen": djl, "nnx": djn}[face]
    with pytest.raises(ValueError, match="not both"):
        make(face, room.Dropout, broadcast_dims=(0,), noise_shape=(None, 1))
    with pytest.raises(ValueError, match="draws no mask that examples could share"):
        make(face, room.DropConnectConv, noise="gaussian", mask_per=2)
    with pytest.raises(ValueError, match="different axes"):
        make(face, room.SpatialDropout2D, channel_axis=-4)
    make(face, room.SpatialDropout2D, channel_axis=0, batch_axis=None)
    make(face, room.DropPath, mode="batch", batch_axis=None)
    make(face, room.DropConnectConv, kernel_size=3, strides=(2,), padding="CAUSAL")


@pytest.mark.parametrize(
    ("layer", "module", "message"),
    [
        (djl.DropConnect, jnp.tanh, "module must be a Linen module"),
        (djl.LayerDrop, nnx.Linear(2, 2, rngs=RNGS), "module must be a Linen module"),
        (djl.ConcreteDropout, None, "module must be a Linen module"),
        (djl.RecurrentDropout, nn.Dense(2), "cell must be one of flax's"),
        (djl.Zoneout, nn.RNN(nn.GRUCell(2)), "cell must be one of flax's"),
        (djn.LayerDrop, 2, "module must be a function"),
        (djn.DropConnect, 2, "module must be a function"),
        (djn.ConcreteDropout, 2, "module must be a function"),
        (djn.RecurrentDropout, nn.GRUCell(2), "cell must be one of flax's"),
        (djn.Zoneout, None, "cell must be one of flax's"),
    ],
)
def test_what_is_wrapped_is_checked(layer, module, message):
    with pytest.raises(TypeError, match=message):
        layer(module, 10 if layer.__name__ == "ConcreteDropout" else 0.5)


class OwnLinen(djl.Dropout):
    mode: str = "train"


class OwnNNX(djn.Dropout):
    def __init__(self, rate, **options):
        self.mode = "train"
        super().__init__(rate, **options)


@pytest.mark.parametrize("layer", [OwnLinen, OwnNNX])
def test_options_of_a_subclass_are_its_own(layer):
    assert layer(0.5).mode == "train"
    with pytest.raises(ValueError, match="rate is the probability"):
        layer(1.5)


def test_a_wrong_layer_leaves_the_rngs_as_they_were():
    rngs = nnx.Rngs(0)
    with pytest.raises(ValueError, match="lie in"):
        djn.Dropout(1.5, rngs=rngs)
    assert rngs.default.count[...] == 0


@pytest.mark.parametrize("off", [0, 1, np.bool_(0), np.bool_(1), np.array(True)])
def test_flags_are_those_that_flax_takes(off):
    x = jnp.ones((6, 8))
    expected = nnx.Dropout(0.5, deterministic=off, rngs=nnx.Rngs(0))(x)
    for y in (
        djn.Dropout(0.5, deterministic=off, rngs=nnx.Rngs(0))(x),
        djn.Dropout(0.5, rngs=nnx.Rngs(0))(x, deterministic=off),
    ):
        np.testing.assert_array_equal(y, expected)
    rngs = {"dropout": KEY}
    expected = nn.Dropout(0.5).apply({}, x, off, rngs=rngs)
    for y in (
        djl.Dropout(0.5).apply({}, x, off, rngs=rngs),
        djl.Dropout(0.5, deterministic=off).apply({}, x, rngs=rngs),
    ):
        np.testing.assert_array_equal(y, expected)


@pytest.mark.parametrize("off", [0, 1, np.bool_(0), np.bool_(1), jnp.array(True)])
@pytest.mark.parametrize("name", ["dropout", "drop_path", "gaussian_dropout"])
def test_functions_take_the_flags_of_layers(name, off):
    function = getattr(dj, name)
    same = function(KEY, X, 0.5, deterministic=bool(off))
    np.testing.assert_array_equal(function(KEY, X, 0.5, deterministic=off), same)
