"""One grammar: signatures, options, docstrings and the order of imports."""

import ast
import dataclasses
import graphlib
import inspect
import pathlib
import subprocess
import sys

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest
from flax import nnx

import dropjax as dj
import dropjax.linen as djl
import dropjax.nnx as djn
from tests.methods import METHODS

FUNCTIONS = [getattr(dj, name) for name in dj.__all__ if name != "fast_prng"]
MASKS = [
    f for f in FUNCTIONS if f.__name__.endswith("_mask") and f is not dj.apply_mask
]
MOMENTS = [dj.dropconnect_moments, dj.dropconnect_conv_moments]
COSTS = [dj.concrete_dropout_regularizer]
SAMPLERS = [dj.dropconnect_gaussian, dj.dropconnect_conv_gaussian]
HOSTS = [dj.dot_product_attention]  # It speaks flax's words.
LOOKS = [dj.selected]  # They draw nothing.
OTHERS = [*MASKS, *LOOKS, *MOMENTS, *COSTS, *SAMPLERS, *HOSTS, dj.apply_mask]
METHOD_FUNCTIONS = [f for f in FUNCTIONS if f not in OTHERS]
LAYERS = [getattr(room, name) for room in (djl, djn) for name in room.__all__]

HOST_NAMES = {"dilation": "kernel_dilation"}
NNX_NAMES = {"batch_dims": "batch_axis"}
WEIGHTS = {"kernel_in", "kernel_out", "kernel_gate"}
WEIGHTS |= {"bias", "bias_in", "bias_out", "bias_gate"}
CALL_ARGUMENTS = {*WEIGHTS, "deterministic", "args", "seq_lengths"}
LINEN_HAS_NOT = {"preferred_element_type", "rngs", "einsum_op"}
LAYER_DEFAULTS = {"dot_general", "conv_general_dilated", "einsum_op", "einsum_str"}
LAYER_DEFAULTS |= {"batch_dims"}
# What happens to the dropped and the kept, which a mask does not say.
NOT_OF_THE_MASK = {"scaling", "scale_by_keep", "fill", "unknown_id", "protected"}
NOT_OF_THE_MASK |= {"renormalize", "activation", "branch", "args"}
NOT_OF_THE_MASK |= {"precision", "return_mask", "ordered", *WEIGHTS}
FORBIDDEN = {"rng", "seed", "p", "keep_prob", "training", "train"}
# Methods whose arguments between key and options are others than (x, rate).
ARGUMENTS = {
    dj.dropconnect: ["params", "rate"],
    dj.dropconnect_dense: ["x", "kernel", "rate"],
    dj.dropconnect_conv: ["x", "kernel", "rate"],
    dj.dropconnect_dense_general: ["x", "kernel", "rate"],
    dj.dropconnect_einsum: ["x", "kernel", "rate"],
    dj.mixout: ["params", "pretrained", "rate"],
    dj.targeted_dropout: ["params", "rate"],
    dj.concrete_dropout: ["x", "logit"],
    dj.layer_drop: ["x", "layer", "rate"],
    dj.structured_dropout_mlp: ["x", "kernel_in", "kernel_out", "rate"],
    dj.subset_branch: ["x", "branch", "rate"],
    dj.zoneout: ["x", "old", "rate"],
    dj.gaussian_noise: ["x", "stddev"],
    dj.neftune: ["x", "alpha"],
    dj.uniform_noise: ["x", "amplitude"],
}
# What is scaled by a definition of its own, or not at all.
UNSCALED = {dj.concrete_dropout, dj.gaussian_dropout, dj.gaussian_noise}
UNSCALED |= {dj.alpha_dropout, dj.feature_alpha_dropout, dj.word_dropout}
UNSCALED |= {dj.drop_block, dj.cutout, dj.random_erasing}
UNSCALED |= {dj.attention_dropout, dj.drop_activation, dj.drop_head, dj.layer_drop}
UNSCALED |= {dj.max_dropout, dj.patch_dropout, dj.shake_drop, dj.zoneout}
UNSCALED |= {dj.weighted_channel_dropout, dj.targeted_dropout, dj.subset_branch}
UNSCALED |= {dj.spec_augment, dj.span_dropout}
UNSCALED |= {dj.structured_dropout_mlp, dj.uniform_noise, dj.neftune}
UNSCALED |= {dj.condition_dropout, dj.modality_dropout, dj.random_masking}
# Methods whose mask is another function's, or soft.
MASKLESS = {dj.dropconnect_dense, dj.dropconnect_conv, dj.mixout, dj.concrete_dropout}
MASKLESS |= {dj.dropconnect_dense_general, dj.dropconnect_einsum}
MASKLESS |= {dj.layer_drop, dj.patch_dropout, dj.shake_drop}
MASKLESS |= {dj.weighted_channel_dropout, dj.targeted_dropout}
MASKLESS |= {dj.gaussian_dropout, dj.gaussian_noise, dj.uniform_noise, dj.neftune}
ROOMS = ["_types", "_checks", "_random", "_registry", "_fast_prng", "_masks", "_apply"]
ROOMS += ["_loops"]
CHAPTERS = {"activations", "maps", "branches", "sequences", "subsets", "weights"}
CHAPTERS |= {"inputs"}


def name_of(thing):
    return f"{thing.__module__}.{thing.__name__}"


def parameters(thing):
    if inspect.isclass(thing) and issubclass(thing, nnx.Module):
        found = inspect.signature(thing.__init__).parameters
        return {name: found[name] for name in found if name != "self"}
    return inspect.signature(thing).parameters


@pytest.mark.parametrize("function", METHOD_FUNCTIONS, ids=name_of)
def test_key_first_rate_third_and_the_rest_by_keyword(function):
    positional = [
        name
        for name, parameter in parameters(function).items()
        if parameter.kind is parameter.POSITIONAL_OR_KEYWORD
    ]
    assert positional == ["key", *ARGUMENTS.get(function, ["x", "rate"])]
    assert parameters(function)["deterministic"].default is False
    if function not in UNSCALED:
        assert parameters(function)["scaling"].default == "inverted"


@pytest.mark.parametrize("moments", MOMENTS, ids=name_of)
def test_inference_has_its_methods_arguments(moments):
    name = moments.__name__.removesuffix("_moments")
    method = getattr(dj, name if "conv" in name else f"{name}_dense")
    sampler = getattr(dj, f"{name}_gaussian")
    own, sampled = parameters(moments), parameters(sampler)
    drawing = {"key", "mask_per", "noise", "deterministic"}
    for option, parameter in parameters(method).items():
        if option not in drawing:
            assert own[option].default == parameter.default, option
    assert set(own) == set(parameters(method)) - drawing
    assert list(sampled) == [
        *("key", *list(own)[:3], "activation", "num_samples"),
        *list(own)[3:],
    ]


@pytest.mark.parametrize("function", MASKS, ids=name_of)
def test_masks_take_a_shape_and_never_scale(function):
    names = list(parameters(function))
    second = "params" if function is dj.dropconnect_mask else "shape"
    assert names[:3] == ["key", second, "rate"]
    assert names[-1] == "deterministic"
    assert not NOT_OF_THE_MASK & set(names)


@pytest.mark.parametrize("thing", [*FUNCTIONS, *LAYERS], ids=name_of)
def test_words(thing):
    assert not FORBIDDEN & set(parameters(thing))
    for parameter in parameters(thing).values():
        if parameter.default is not parameter.empty and thing in FUNCTIONS:
            assert parameter.kind is parameter.KEYWORD_ONLY


@pytest.mark.parametrize("function", METHOD_FUNCTIONS, ids=name_of)
def test_a_mask_has_its_functions_options(function):
    mask = getattr(dj, f"{function.__name__}_mask", None)
    assert (mask is None) == (function in MASKLESS)
    if mask is None:
        return
    own, theirs = parameters(mask), parameters(function)
    assert set(own) - {"shape"} == set(theirs) - {"x", "old"} - NOT_OF_THE_MASK
    for name in set(own) - {"shape"}:
        assert own[name].default == theirs[name].default


INFERENCE = {"inference": "mean", "activation": None, "num_samples": 100}
COMMON = {"scaling": "inverted", "deterministic": False}
PRODUCT = {"bias": None, "bias_rate": None, "mask_per": "batch", "precision": None}
PRODUCT |= {"noise": "bernoulli", "preferred_element_type": None, **COMMON}
WINDOW = {"strides": 1, "padding": "SAME", "dilation": 1, "input_dilation": 1}
CHANNELS = {"channel_axis": -1, "batch_axis": 0}
DEFAULTS = {
    dj.apply_mask: {"keep": 1.0, "fill": 0.0},
    dj.keep_mask: {"deterministic": False},
    dj.dropout: {"broadcast_dims": (), "noise_shape": None, **COMMON},
    dj.spatial_dropout: {"channel_axis": -1, "batch_axis": 0, **COMMON},
    dj.drop_path: {
        "mode": "row",
        "batch_axis": 0,
        **COMMON,
    },
    dj.variational_dropout: {"time_axis": -2, **COMMON},
    dj.embedding_dropout: COMMON,
    dj.word_dropout: {"protected": (), "deterministic": False},
    dj.alpha_dropout: {
        "broadcast_dims": (),
        "noise_shape": None,
        "deterministic": False,
    },
    dj.feature_alpha_dropout: {**CHANNELS, "deterministic": False},
    dj.gaussian_dropout: {"broadcast_dims": (), "deterministic": False},
    dj.gaussian_noise: {"broadcast_dims": (), "deterministic": False},
    dj.uniform_noise: {
        "multiplicative": False,
        "broadcast_dims": (),
        "deterministic": False,
    },
    dj.neftune: {
        "seq_lengths": None,
        "time_axis": -2,
        "batch_axis": 0,
        "deterministic": False,
    },
    dj.spec_augment: {
        "time_masks": 2,
        "time_width": 100,
        "time_share": 1.0,
        "frequency_masks": 2,
        "frequency_width": 27,
        "seq_lengths": None,
        "fill": 0.0,
        "time_axis": -2,
        "frequency_axis": -1,
        "batch_axis": 0,
        "deterministic": False,
    },
    dj.span_dropout: {
        "span_length": 10,
        "min_spans": 0,
        "seq_lengths": None,
        "fill": 0.0,
        "time_axis": -2,
        "batch_axis": 0,
        "deterministic": False,
    },
    dj.drop_block: {
        "block_size": 7,
        "per_channel": True,
        "gamma_scale": 1.0,
        "fill": 0.0,
        "scale_by_keep": True,
        **CHANNELS,
        "deterministic": False,
    },
    dj.cutout: {"fill": 0.0, "inside": False, **CHANNELS, "deterministic": False},
    dj.random_erasing: {
        "area": (0.02, 0.4),
        "ratio": (0.3, 10 / 3),
        "fill": 0.0,
        **CHANNELS,
        "deterministic": False,
    },
    dj.dropconnect: {"where": None, "block_size": None, **COMMON},
    dj.mixout: {"where": None, **COMMON},
    dj.selected: {"where": None},
    dj.attention_dropout: {
        "broadcast_dropout": False,
        "renormalize": False,
        "deterministic": False,
    },
    dj.dot_product_attention: {
        "bias": None,
        "mask": None,
        "broadcast_dropout": False,
        "dropout_rng": None,
        "dropout_rate": 0.0,
        "renormalize": False,
        "deterministic": False,
        "dtype": None,
        "precision": None,
        "module": None,
        "is_causal": False,
        "scale": None,
        "query_seq_lengths": None,
        "key_value_seq_lengths": None,
        "local_window_size": None,
        "block_size": None,
        "implementation": None,
        "axis_name": None,
        "qk_attn_weights_einsum": None,
        "attn_weights_value_einsum": None,
    },
    dj.drop_activation: {"activation": jax.nn.relu, "deterministic": False},
    dj.drop_head: {"head_axis": -2, "batch_axis": 0, "deterministic": False},
    dj.layer_drop: {"deterministic": False},
    dj.max_dropout: {"broadcast_dims": None, "deterministic": False},
    dj.patch_dropout: {
        "prefix_tokens": 0,
        "ordered": True,
        "deterministic": False,
    },
    dj.random_masking: {
        "prefix_tokens": 0,
        "ordered": True,
        "deterministic": False,
    },
    dj.subset_branch: {"axis": 0, "groups": 1, "args": (), "deterministic": False},
    dj.shake_drop: {
        "forward_range": (-1.0, 1.0),
        "backward_range": (0.0, 1.0),
        "broadcast_dims": None,
        "deterministic": False,
    },
    dj.weighted_channel_dropout: {
        "selected_rate": 0.0,
        "channel_axis": -1,
        "batch_axis": 0,
        "deterministic": False,
    },
    dj.structured_dropout_mlp: {
        "kernel_gate": None,
        "bias_in": None,
        "bias_out": None,
        "bias_gate": None,
        "activation": jax.nn.gelu,
        "block_size": 1,
        "groups": 1,
        "mask_per": "batch",
        "precision": None,
        "deterministic": False,
    },
    dj.zoneout: {"deterministic": False},
    dj.condition_dropout: {
        "batch_axis": 0,
        "return_mask": False,
        "deterministic": False,
    },
    dj.modality_dropout: {
        "fill": 0.0,
        "keep_one": True,
        "batch_axis": 0,
        "deterministic": False,
    },
    dj.targeted_dropout: {
        "target": 0.5,
        "by": "weights",
        "where": None,
        "deterministic": False,
    },
    dj.multi_sample_dropout: {"samples": 8, **COMMON},
    dj.concrete_dropout: {
        "temperature": 0.1,
        "broadcast_dims": (),
        "deterministic": False,
    },
    dj.concrete_dropout_regularizer: {"length_scale": 1e-2, "features": None},
    dj.dropconnect_dense: {**PRODUCT, "dot_general": None},
    dj.dropconnect_dense_general: {
        **PRODUCT,
        "axis": -1,
        "batch_dims": (),
        "dot_general": None,
    },
    dj.dropconnect_einsum: {**PRODUCT, "einsum_op": None},
    dj.dropconnect_conv: {
        **PRODUCT,
        **WINDOW,
        "feature_group_count": 1,
        "conv_general_dilated": None,
    },
}


@pytest.mark.parametrize("function", DEFAULTS, ids=name_of)
def test_defaults(function):
    found = {
        name: parameter.default
        for name, parameter in parameters(function).items()
        if parameter.default is not parameter.empty
    }
    assert found == DEFAULTS[function]


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_layers_have_their_functions_options_and_defaults(method):
    function, *others = method.public
    for layer in filter(inspect.isclass, others):
        fields = parameters(layer)
        for name, option in parameters(function).items():
            if option.kind is not option.KEYWORD_ONLY or name in CALL_ARGUMENTS:
                continue
            if issubclass(layer, nn.Module) and name in LINEN_HAS_NOT:
                continue
            host_name = HOST_NAMES.get(name, name)
            field = fields[host_name if host_name in fields else NNX_NAMES[name]]
            if name not in LAYER_DEFAULTS:
                assert field.default == option.default, (layer, name)


@pytest.mark.parametrize(
    ("ours", "host", "added"),
    [
        (djl.Dropout, nn.Dropout, {"noise_shape", "scaling"}),
        (djn.Dropout, nnx.Dropout, {"noise_shape", "scaling"}),
        (djl.DropConnectDense, nn.Dense, None),
        (djl.DropConnectConv, nn.Conv, None),
        (djn.DropConnectLinear, nnx.Linear, None),
        (djn.DropConnectConv, nnx.Conv, None),
        (djl.DropConnectDenseGeneral, nn.DenseGeneral, None),
        (djn.DropConnectLinearGeneral, nnx.LinearGeneral, None),
        (djl.DropConnectEinsum, nn.Einsum, None),
        (djn.DropConnectEinsum, nnx.Einsum, None),
    ],
)
def test_everything_that_the_host_takes_is_taken(ours, host, added):
    own, theirs = parameters(ours), parameters(host)
    for name, option in theirs.items():
        assert name in own, name
        default = own[name].default
        same = default == option.default or (
            callable(default) and default.__qualname__ == option.default.__qualname__
        )
        assert same, name
    drop = {"rate", "bias_rate", "mask_per", "noise", "scaling", *INFERENCE}
    drop |= {"deterministic", "rng_collection"}
    assert set(own) - set(theirs) == (drop if added is None else added)


@pytest.mark.parametrize(
    "layer",
    [
        djl.DropConnectDense,
        djl.DropConnectConv,
        djn.DropConnectLinear,
        djn.DropConnectConv,
        djl.DropConnectDenseGeneral,
        djn.DropConnectLinearGeneral,
        djl.DropConnectEinsum,
        djn.DropConnectEinsum,
    ],
    ids=name_of,
)
def test_layers_of_dropconnect_choose_their_inference(layer):
    found = parameters(layer)
    assert {name: found[name].default for name in INFERENCE} == INFERENCE


def test_drop_in_layers_have_their_hosts_calls():
    for ours, host in ((djl.Dropout, nn.Dropout), (djn.Dropout, nnx.Dropout)):
        own, theirs = parameters(ours.__call__), parameters(host.__call__)
        assert list(own)[: len(theirs)] == list(theirs)
        assert set(own) - set(theirs) == {"rate"}
        for name in theirs:
            assert own[name].kind == theirs[name].kind
            assert own[name].default == theirs[name].default
    own = [field.name for field in dataclasses.fields(djl.Dropout)]
    theirs = [field.name for field in dataclasses.fields(nn.Dropout)]
    assert own[:4] == theirs[:4]


OTHER_NAMES = {"DropConnectDense": "DropConnectLinear"}
OTHER_NAMES |= {"DropConnectDenseGeneral": "DropConnectLinearGeneral"}
OTHER_ARGUMENTS = {"features": ["in_features", "out_features"]}
OTHER_ARGUMENTS |= {"hidden_features": ["in_features", "hidden_features"]}
OTHER_ARGUMENTS |= {"shape": ["einsum_str", "kernel_shape"]}


@pytest.mark.parametrize(
    "linen", [it for it in LAYERS if inspect.isclass(it) and issubclass(it, nn.Module)]
)
def test_what_a_layer_needs_has_one_order_in_both_faces(linen):
    name = linen.__name__
    of_nnx = parameters(getattr(djn, OTHER_NAMES.get(name, name)))
    needed = [
        other
        for name, it in parameters(linen).items()
        if it.default is it.empty
        for other in OTHER_ARGUMENTS.get(name, [name])
    ]
    by_place = [n for n, it in of_nnx.items() if it.kind is it.POSITIONAL_OR_KEYWORD]
    assert by_place == needed


@pytest.mark.parametrize("thing", [*FUNCTIONS, *LAYERS], ids=name_of)
def test_docstrings_say_everything(thing):
    text = inspect.getdoc(thing)
    first = text.splitlines()[0]
    assert first.endswith((".", ":", "kept.", ")"))
    assert "Example:" in text
    assert "assert" in text.split("Example:")[1]
    sections = ["Args:", "Returns:", "Raises:"] if thing in FUNCTIONS else []
    for section in sections:
        assert section in text
    listed = text.split("Example:")[0]
    for name in parameters(thing):
        if name not in ("parent", "name"):
            assert f"{name}:" in listed, name


@pytest.mark.parametrize("function", METHOD_FUNCTIONS, ids=name_of)
def test_methods_have_a_formula_and_a_paper(function):
    text = inspect.getdoc(function)
    assert "$$" in text
    assert "References:" in text


@pytest.mark.parametrize("thing", [*FUNCTIONS, *LAYERS], ids=name_of)
def test_everything_public_is_annotated(thing):
    for name, parameter in parameters(thing).items():
        if thing in FUNCTIONS or name not in ("parent", "name"):
            assert parameter.annotation is not parameter.empty, name


def imports(path):
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
        elif isinstance(node, ast.Import):
            yield from (name.name for name in node.names)


def test_imports_go_the_way_of_the_data():
    package = pathlib.Path(dj.__file__).parent
    for path in package.rglob("*.py"):
        room = path.relative_to(package).with_suffix("").parts
        imported = set(imports(path))
        flax = any(name.split(".")[0] == "flax" for name in imported)
        assert not flax or room[0] in ("linen", "nnx"), path
        own = {n.split(".")[1] for n in imported if n.startswith("dropjax.")}
        own -= {room[0]}
        if room[0] in ROOMS:
            assert all(ROOMS.index(n) < ROOMS.index(room[0]) for n in own), path
        elif room[0] == "functional":
            assert own <= {*ROOMS, "functional"}, path


@pytest.mark.parametrize("room", ["functional", "linen", "nnx"])
def test_each_room_has_the_same_chapters(room):
    folder = pathlib.Path(dj.__file__).parent / room
    assert {path.parent.name for path in folder.glob("*/__init__.py")} == CHAPTERS


def test_no_imports_go_in_circles():
    package = pathlib.Path(dj.__file__).parent
    graph = {}
    for path in package.rglob("_*.py"):
        name = ".".join(path.relative_to(package.parent).with_suffix("").parts)
        graph[name] = {it for it in imports(path) if it.startswith("dropjax.")}
    tuple(graphlib.TopologicalSorter(graph).static_order())


def test_importing_dropjax_imports_no_flax_and_configures_nothing():
    program = (
        "import sys, jax; before = dict(jax.config.values); import dropjax; "
        "assert 'flax' not in sys.modules; assert jax.config.values == before"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_the_package_says_that_it_is_typed():
    assert (pathlib.Path(dj.__file__).parent / "py.typed").exists()


def test_arrays_of_numpy_are_taken():
    y = dj.dropout(None, jnp.ones(3).__array__(), 0.0)
    assert y.shape == (3,)
