"""The character-level LSTM: its text, and what its weight drop masks, and when."""

import gzip
import importlib
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from training import data, layers, models, settings, sources, text
from training.errors import UserError

import dropjax as dj

from .conftest import ROOT, Program, write_text

TOKENS = jnp.arange(12).reshape(2, 6) % 5
RECURRENT = {"cell/hi/kernel", "cell/hf/kernel", "cell/hg/kernel", "cell/ho/kernel"}


def make(host: str, method: str = "dropconnect", hidden: tuple = (4,)) -> models.Model:
    config = settings.shakespeare_config(method)
    config.update(host=host, hidden=hidden)
    return models.build(config, (6,), 5)


def paths(tree: dict) -> dict[str, np.ndarray]:
    leaves = jax.tree.leaves_with_path(tree)
    return {jax.tree_util.keystr(p, simple=True, separator="/"): v for p, v in leaves}


def recurrent_layer(host: str, params: dict) -> dict:
    layer = params["lstm_0"]
    return layer if host == "linen" else layer["module"]


@pytest.mark.parametrize("host", models.HOSTS)
def test_recurrent_kernels_alone_are_masked(host: str) -> None:
    params = recurrent_layer(host, make(host).init(jax.random.key(0)))
    ones = jax.tree.map(jnp.ones_like, params)
    masked = dj.dropconnect(jax.random.key(1), ones, 0.5, where=layers.is_recurrent)
    changed = {path for path, leaf in paths(masked).items() if (leaf != 1).any()}
    assert changed == RECURRENT
    assert len(paths(ones)) == 12


@pytest.mark.parametrize("host", models.HOSTS)
def test_one_mask_serves_the_whole_sequence(
    host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    net, calm = make(host), make(host, "none")
    params = net.init(jax.random.key(0))
    layer = recurrent_layer(host, params)
    room = importlib.import_module(f"dropjax.{host}.weights._dropconnect")
    drawn = []

    def noting(*args: object, **options: object) -> dict:
        drawn.append(dj.dropconnect(*args, **options))
        return drawn[-1]

    monkeypatch.setattr(room, "dropconnect", noting)
    noisy = net.apply(params, TOKENS, jax.random.key(1), False)
    masked = drawn[-1]
    before, after = paths(layer), paths(masked)
    changed = {path for path in before if (before[path] != after[path]).any()}
    assert changed == RECURRENT
    assert all(
        ((after[it] == 0) | (after[it] == 2 * before[it])).all() for it in changed
    )
    monkeypatch.undo()
    held = masked if host == "linen" else {**params["lstm_0"], "module": masked}
    np.testing.assert_allclose(
        noisy,
        calm.apply({**params, "lstm_0": held}, TOKENS, None, True),
        rtol=1e-5,
        atol=1e-6,
    )


@pytest.mark.parametrize("host", models.HOSTS)
def test_the_first_character_sees_no_mask(host: str) -> None:
    net = make(host)
    params = net.init(jax.random.key(0))
    noisy = net.apply(params, TOKENS, jax.random.key(1), False)
    calm = net.apply(params, TOKENS, None, True)
    np.testing.assert_allclose(noisy[:, 0], calm[:, 0], rtol=1e-5, atol=1e-6)
    assert (jnp.abs(noisy[:, 1:] - calm[:, 1:]) > 1e-6).any()


def test_sequences_and_the_characters_that_follow() -> None:
    inputs, labels = text.windows(np.arange(11), 3)
    assert inputs.tolist() == [[0, 1, 2], [3, 4, 5], [6, 7, 8]]
    assert labels.tolist() == [[1, 2, 3], [4, 5, 6], [7, 8, 9]]
    assert [len(part) for part in text.windows(np.arange(0), 3)] == [0, 0]


def test_the_text_is_found_and_split(places: dict[str, Path]) -> None:
    write_text(places["cache"] / "tinyshakespeare", 2000)
    found = data.load("tiny_shakespeare", length=9, train_examples=150)
    assert found.train.inputs.shape == (150, 9)
    assert found.test.inputs.shape == (22, 9)
    assert found.shape == (9,)
    alphabet = sorted(set("to be or not\n"))
    assert found.classes == len(alphabet)
    raw = (places["cache"] / "tinyshakespeare" / sources.TEXT).read_text()
    first = "".join(alphabet[code] for code in found.train.inputs[:3].ravel())
    assert first == raw[:27]
    last = "".join(alphabet[code] for code in found.test.labels[0])
    assert last == raw[1801:1810]


def test_a_gzipped_text(places: dict[str, Path]) -> None:
    folder = write_text(places["system"] / "tinyshakespeare", 2000)
    plain = data.load("tiny_shakespeare")
    path = folder / sources.TEXT
    path.with_name("input.txt.gz").write_bytes(gzip.compress(path.read_bytes()))
    path.unlink()
    packed = data.load("tiny_shakespeare")
    np.testing.assert_array_equal(plain.train.inputs, packed.train.inputs)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"to be", "too short for sequences of 64 characters"),
        (b"\xff\xfe" * 99, "can't decode byte"),
        (b"", "too short"),
    ],
)
def test_a_wrong_text(content: bytes, words: str, places: dict[str, Path]) -> None:
    path = write_text(places["cache"] / "tinyshakespeare") / sources.TEXT
    path.write_bytes(content)
    with pytest.raises(UserError, match=words):
        data.load("tiny_shakespeare")


def test_a_missing_text(places: dict[str, Path]) -> None:
    with pytest.raises(UserError, match=r"to a folder that holds input\.txt \(\.gz"):
        data.load("tiny_shakespeare")


def test_the_comparison_is_in_nats(
    tmp_path: Path, places: dict[str, Path], run_compare: Program
) -> None:
    write_text(places["cache"] / "tinyshakespeare")
    outcome = run_compare(
        f"--config={ROOT / 'configs' / 'shakespeare_compare.py'}",
        "--config.length=8",
        "--config.train_examples=64",
        "--config.test_examples=16",
        "--config.hidden=(8,)",
        "--config.epochs=2",
        "--config.seeds=2",
        f"--workdir={tmp_path / 'run'}",
    )
    assert outcome.code == 0, outcome.err
    header, _, *lines = (tmp_path / "run" / "compare.md").read_text().splitlines()
    assert "test loss, best | final |" in header
    rows = json.loads((tmp_path / "run" / "compare.json").read_text())["rows"]
    for line, row in zip(lines, rows, strict=True):
        loss = np.mean(row["losses"][-1])
        assert f"| {loss:.4f} ± " in line
        assert 2 < loss / np.log(2) < 4
