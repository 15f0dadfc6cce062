"""The contract of docs/streams.md: what is drawn for a key does not change."""

import collections
import functools
import inspect
import pathlib
import re

import flax.linen as nn
import jax
import numpy as np
import pytest
from flax import nnx

import dropjax as dj
import tests.streams.__main__ as script
from tests.methods import METHODS
from tests.streams import GOLDEN, KEYS, RATE, STREAMS, _answers, golden, line

ROOT = pathlib.Path(__file__).parents[1]
CONTRACT, LINES = golden()


def test_every_stream_has_a_name_of_its_own():
    names = [stream.name for stream in STREAMS]
    assert len(set(names)) == len(names)


def test_every_stream_has_a_line_and_every_line_a_stream():
    names = {stream.name for stream in STREAMS}
    assert not names - LINES.keys(), "to add these: python -m tests.streams"
    assert not LINES.keys() - names, f"contract {CONTRACT} freezes these streams"


# Options that decide what is done with a mask, or which arrays there are, and draw
# nothing. `noise` draws Gaussians, of which no bits are promised.
DRAW_NOTHING = {"deterministic", "scaling", "renormalize", "temperature", "return_mask"}
DRAW_NOTHING |= {"where", "protected", "unknown_id", "activation", "args", "noise"}
DRAW_NOTHING |= {"precision", "preferred_element_type", "dtype", "module", "bias"}
DRAW_NOTHING |= {"bias_in", "bias_out", "bias_gate", "kernel_gate", "mask", "scale"}
DRAW_NOTHING |= {"dot_general", "einsum_op", "conv_general_dilated", "batch_dims"}
DRAW_NOTHING |= {"qk_attn_weights_einsum", "attn_weights_value_einsum"}
DRAW_NOTHING |= {"strides", "dilation", "input_dilation", "feature_group_count"}
DRAW_NOTHING |= {"query_seq_lengths", "key_value_seq_lengths", "local_window_size"}
DRAW_NOTHING |= {"dropout_rng", "dropout_rate", "implementation"}
GAUSSIAN = {"dropconnect_gaussian", "dropconnect_conv_gaussian"}
# A fill that is given, and never noise.
GIVEN = {"spec_augment", "span_dropout", "modality_dropout"}


def options_with_streams():
    """The options of each function that are in a row of the table or in a stream."""
    found = collections.defaultdict(set)
    for method in METHODS:
        for thing in method.public:
            found[thing.__name__] |= method.options.keys()
    for stream in STREAMS:
        found[re.match(r"\w+", stream.name)[0]] |= stream.options.keys()
    return found


def test_every_option_that_draws_has_a_stream():
    found = options_with_streams()
    for name in sorted(set(dj.__all__) - GAUSSIAN):
        function = getattr(dj, name)
        parameters = (
            inspect.signature(function).parameters if callable(function) else {}
        )
        if not {"key", "dropout_rng"} & parameters.keys() or name == "keep_mask":
            continue
        method = name.removesuffix("_mask")
        options = {own for own, it in parameters.items() if it.default is not it.empty}
        options -= DRAW_NOTHING | found[name] | found[method]
        options -= {"fill"} if method in GIVEN else set()
        assert not options, f"{name}: {options}; see tests/streams/_options.py"


@pytest.mark.parametrize("stream", STREAMS, ids=lambda stream: stream.name)
def test_contract(stream):
    found, expected = line(stream), LINES[stream.name]
    changed = [name for name in KEYS if found[name] != expected[name]]
    assert not changed, (
        f"{stream.name}: contract {CONTRACT} (docs/streams.md) freezes what is drawn "
        f"for a key, and it has changed for {' and '.join(changed)} keys"
    )
    assert found == expected


# JAX's configuration decides nothing: a name of a generator stands for its words.
CONFIGURATIONS = {
    "x64": (lambda: jax.enable_x64(True), ["threefry", "fast"]),
    "threefry_partitionable": (lambda: jax.threefry_partitionable(False), ["fast"]),
    "default_prng_impl": (lambda: jax.default_prng_impl("rbg"), ["threefry", "fast"]),
}
OF_LAYERS = {
    "dropout",
    "shake_drop",
    "layer_drop",
    "patch_dropout",
    "subset_branch",
    "structured_dropout_mlp",
    "dropconnect",
    "dropconnect_dense",
    "concrete_dropout",
}
SOME = {
    "dropout",
    "random_erasing",
    "shake_drop",
    "dropconnect of a tree",
    "monte_carlo",
    "subset_branch-groups",
    "dropconnect_dense, mask_per=3",
    "keys of sequences",
}


EVERY_WAY = [
    pytest.param(
        stream,
        how,
        marks=[] if stream.name in SOME else [pytest.mark.slow],
        id=f"{stream.name}-{how}",
    )
    for stream in STREAMS
    for how in CONFIGURATIONS
]


@pytest.mark.parametrize(("stream", "how"), EVERY_WAY)
def test_contract_whatever_jax_is_configured_to(stream, how):
    configured, generators = CONFIGURATIONS[how]
    with configured():
        found = line(stream, generators)
    for name in generators:
        assert found[name] == LINES[stream.name][name], name


class AsksForAKey(nn.Module):
    def __call__(self):
        return self.make_rng("dropout")


WITH_LAYERS = [
    pytest.param(
        method, marks=[] if method.name in OF_LAYERS else [pytest.mark.slow], id=name
    )
    for method in METHODS
    if (name := method.name) and method.nnx and "recurrent" not in name
    if method.name != "zoneout-layers"
]


@pytest.mark.parametrize("method", WITH_LAYERS)
def test_layers_take_one_key_per_call_from_their_rngs(method, monkeypatch):
    """Which one is Flax's to say."""
    x, key = method.array(), KEYS["threefry"]()
    rngs, again = nnx.Rngs(dropout=key), nnx.Rngs(dropout=key)
    y = method.nnx(rngs, x, RATE)
    np.testing.assert_array_equal(y, method.nnx(again.dropout(), x, RATE))
    assert rngs.dropout.count[...] == 1
    if not method.linen:
        return
    own = AsksForAKey().apply({}, rngs={"dropout": key})
    expected = method.linen(own, x, RATE)
    apply = functools.partialmethod(nn.Module.apply, rngs={"dropout": key})
    monkeypatch.setattr(nn.Module, "apply", apply)
    np.testing.assert_array_equal(method.linen(None, x, RATE), expected)


def test_generators_draw_different_streams():
    for name, own in LINES.items():
        assert own["threefry"] != own["fast"], name


def test_the_contract_is_in_the_documents():
    assert f"Stream contract {CONTRACT}" in (ROOT / "CHANGELOG.md").read_text()
    assert f"stream contract {CONTRACT}" in (ROOT / "docs/streams.md").read_text()


def test_the_script_writes_the_files_as_they_are():
    assert script.written(CONTRACT, LINES) == GOLDEN.read_text()
    assert _answers.written(_answers.read()) == _answers.PATH.read_text()


@pytest.fixture
def copy(tmp_path, monkeypatch):
    """A copy of the files, with three streams, which the script may write."""
    streams = [stream for stream in STREAMS if stream.name.startswith("keep_mask at")]
    path = tmp_path / "golden.toml"
    lines = {stream.name: LINES[stream.name] for stream in streams[:3]}
    path.write_text(script.written(CONTRACT, lines))
    monkeypatch.setattr("tests.streams.GOLDEN", path)
    monkeypatch.setattr(script, "GOLDEN", path)
    monkeypatch.setattr(script, "STREAMS", streams[:3])
    answers = tmp_path / "known_answers.json"
    answers.write_text(_answers.PATH.read_text())
    monkeypatch.setattr(_answers, "PATH", answers)
    return path


def test_the_script_adds_what_is_new(copy):
    before = copy.read_text()
    lines = dict(list(golden()[1].items())[1:])
    copy.write_text(script.written(CONTRACT, lines))
    assert script.main([]) == 0
    assert copy.read_text() == before


def test_the_script_breaks_no_contract_but_the_one_that_is_named(copy):
    name = script.STREAMS[0].name
    changed = golden()[1] | {name: LINES[name] | {"fast": "0123456789abcdef"}}
    copy.write_text(script.written(CONTRACT, changed))
    before = copy.read_text()
    for arguments in ([], ["--breaks", str(CONTRACT + 1)]):
        refused = script.main(arguments)
        assert name in refused
        assert f"--breaks {CONTRACT}" in refused
        assert copy.read_text() == before
    assert script.main(["--breaks", str(CONTRACT)]) == 0
    assert _answers.read()["contract"] == CONTRACT + 1
    assert golden() == (CONTRACT + 1, {own.name: line(own) for own in script.STREAMS})


def test_the_script_removes_no_line_in_silence(copy):
    script.STREAMS.pop()
    assert "have changed" in script.main([])


def test_the_script_breaks_nothing_for_nothing(copy):
    assert "is not broken" in script.main(["--breaks", str(CONTRACT)])


def test_the_script_changes_no_known_answer_in_silence(copy, monkeypatch):
    monkeypatch.setattr(_answers, "INDICES", [3])
    assert "known_answers.json" in script.main([])
    assert _answers.read()["contract"] == CONTRACT
