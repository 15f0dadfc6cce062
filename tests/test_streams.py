"""The contract of docs/streams.md: what is drawn for a key does not change."""

import pathlib

import pytest

import tests.streams.__main__ as script
from tests.streams import GOLDEN, KEYS, STREAMS, golden, line

ROOT = pathlib.Path(__file__).parents[1]
CONTRACT, LINES = golden()


def test_every_stream_has_a_name_of_its_own():
    names = [stream.name for stream in STREAMS]
    assert len(set(names)) == len(names)


def test_every_stream_has_a_line_and_every_line_a_stream():
    names = {stream.name for stream in STREAMS}
    assert not names - LINES.keys(), "to add these: python -m tests.streams"
    assert not LINES.keys() - names, f"contract {CONTRACT} freezes these streams"


@pytest.mark.parametrize("stream", STREAMS, ids=lambda stream: stream.name)
def test_contract(stream):
    found, expected = line(stream), LINES[stream.name]
    changed = [name for name in KEYS if found[name] != expected[name]]
    assert not changed, (
        f"{stream.name}: contract {CONTRACT} (docs/streams.md) freezes what is drawn "
        f"for a key, and it has changed for {' and '.join(changed)} keys"
    )
    assert found == expected


def test_generators_draw_different_streams():
    for name, own in LINES.items():
        assert own["threefry"] != own["fast"], name


def test_the_contract_is_in_the_documents():
    assert f"Stream contract {CONTRACT}" in (ROOT / "CHANGELOG.md").read_text()
    assert f"stream contract {CONTRACT}" in (ROOT / "docs/streams.md").read_text()


def test_the_script_writes_the_file_as_it_is():
    assert script.written(CONTRACT, LINES) == GOLDEN.read_text()


@pytest.fixture
def copy(tmp_path, monkeypatch):
    """A copy of the file with three streams, which the script may write."""
    streams = [stream for stream in STREAMS if stream.name.startswith("keep_mask at")]
    path = tmp_path / "golden.toml"
    lines = {stream.name: LINES[stream.name] for stream in streams[:3]}
    path.write_text(script.written(CONTRACT, lines))
    monkeypatch.setattr("tests.streams.GOLDEN", path)
    monkeypatch.setattr(script, "GOLDEN", path)
    monkeypatch.setattr(script, "STREAMS", streams[:3])
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
    assert golden() == (CONTRACT + 1, {own.name: line(own) for own in script.STREAMS})


def test_the_script_removes_no_line_in_silence(copy):
    script.STREAMS.pop()
    assert "have changed" in script.main([])


def test_the_script_breaks_nothing_for_nothing(copy):
    assert "is not broken" in script.main(["--breaks", str(CONTRACT)])
