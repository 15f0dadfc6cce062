"""The comparison: seeds vmapped, a table in three forms."""

import json
from pathlib import Path

import compare
import numpy as np
import pytest
import train
from ml_collections import ConfigDict
from rich.console import Console
from training import data, settings

from .conftest import ROOT, Program

TINY = (
    f"--config={ROOT / 'configs' / 'digits_compare.py'}",
    "--config.train_examples=320",
    "--config.test_examples=100",
    "--config.epochs=2",
    "--config.hidden=(16,)",
)


def test_a_comparison(tmp_path: Path, run_compare: Program) -> None:
    outcome = run_compare(*TINY, "--config.seeds=2", f"--workdir={tmp_path}")
    assert outcome.code == 0, outcome.err
    content = json.loads((tmp_path / "compare.json").read_text())
    assert [row["method"] for row in content["rows"]] == [
        "none", "dropout", "dropconnect",
    ]  # fmt: skip
    for row in content["rows"]:
        assert len(row["accuracies"]) == 2
        assert np.shape(row["losses"]) == (2, 2)
        assert len(row["seconds"]) == 2
        low, high = sorted(row["accuracies"])
        assert row["deviation"] == pytest.approx((high - low) / 2**0.5)
    lines = (tmp_path / "compare.md").read_text().splitlines()
    assert lines[0] == (
        "| method | rate | test accuracy, mean | standard deviation "
        "| test loss, mean | standard deviation | CPU s/epoch | seeds |"
    )
    assert len(lines) == 5
    for name in ("none", "dropout", "dropconnect"):
        assert name in outcome.out


def test_its_runs_are_those_of_the_training_program(tmp_path: Path) -> None:
    config = settings.comparison_config()
    config.update(train_examples=320, test_examples=100, epochs=2, hidden=(16,))
    config.seeds = 2
    with config.unlocked():
        config.methods = ConfigDict({"dropconnect": 0.5})
    dataset = data.load("digits", train_examples=320, test_examples=100)
    (row,) = compare.compare(config, dataset, Console())
    for seed in range(2):
        folder = tmp_path / str(seed)
        arguments = [f"--config.seed={seed}", "--config.method=dropconnect"]
        train.main(
            [
                "train.py",
                f"--config={ROOT / 'configs' / 'digits_none.py'}",
                *TINY[1:],
                *arguments,
                f"--workdir={folder}",
            ]
        )
        measured = json.loads((folder / "result.json").read_text())
        assert row.accuracies[seed] == pytest.approx(
            measured["test"]["accuracy"], abs=0.021
        )


def test_one_seed_has_no_deviation() -> None:
    row = compare.Row("dropout", 0.5, (0.5,), ((2.0,), (1.0,)), (9.0, 0.25, 0.5))
    cells = ("dropout", "0.5", "50.00%", "", "2.0000", "", "0.5", "1")
    assert row.cells(0.5) == cells


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--config.seeds=0"], "config.seeds must be 1 or more, got 0"),
        (["--config.methods.dropout=1"], "the rate of dropout must be at least 0"),
        (["--config.methods.dropot=1"], "no key 'methods.dropot'; did you mean"),
        (["--config.methods={'spatial': 0.1}"], "'spatial' does not fit model 'mlp'"),
        (["--config.rates=(1.0,)"], "config.rates must be a tuple of numbers between"),
        (["--config.nets=2"], "config.nets must be 1 in a comparison"),
        (["--resume"], "a comparison is not checkpointed"),
    ],
)
def test_a_wrong_setting_gets_one_line(
    arguments: list[str], words: str, tmp_path: Path, run_compare: Program
) -> None:
    outcome = run_compare(*TINY, *arguments, f"--workdir={tmp_path}")
    assert outcome.code == 2
    assert words in outcome.err
    assert outcome.err.startswith("compare.py: ")
    assert outcome.err.count("\n") == 1
