"""The regression with doubt: its configs run, and wrong settings get one line."""

import json
from pathlib import Path

import numpy as np
import pytest
import uncertainty
from training import regression
from training.command_line import load_config
from training.errors import run_program

from .conftest import ROOT, Outcome

CONFIGS = sorted((ROOT / "configs").glob("uncertainty_*.py"))
SMALL = ("--config.steps=30", "--config.hidden=(8,6)", "--config.passes=4")


@pytest.fixture
def run(capsys):
    def program(*arguments: object) -> Outcome:
        argv = ["examples/uncertainty.py", *map(str, arguments)]
        return Outcome(
            run_program("uncertainty.py", uncertainty.main, argv), *capsys.readouterr()
        )

    return program


@pytest.mark.parametrize("method", regression.METHODS)
def test_every_method_runs_and_tells_its_doubt(method, tmp_path: Path, run) -> None:
    outcome = run(f"--workdir={tmp_path}", f"--config.method={method}", *SMALL)
    assert outcome.code == 0, outcome.err
    written = {file.name for file in tmp_path.iterdir()}
    assert written == {"lock", "result.json", "uncertainty.png"}
    result = json.loads((tmp_path / "result.json").read_text())
    assert all(row["model"] > 0 for row in result["places"].values())
    assert len(result["learned rates"]) == (2 if method == "concrete" else 0)
    assert ("learned rates" in outcome.out) == (method == "concrete")
    assert "among the measurements" in outcome.out


def test_every_config_is_sound() -> None:
    assert {load_config(path).method for path in CONFIGS} == {"dropout", "concrete"}
    for path in CONFIGS:
        regression.check(load_config(path))


def test_there_is_a_gap_in_the_measurements() -> None:
    config = regression.regression_config()
    x, y = regression.measurements(config)
    assert ((np.abs(x) >= 1) & (np.abs(x) <= 3)).all()
    assert abs((y - regression.law(x)).std() - config.noise) < 0.02


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--config.method=x"], "config.method must be one of dropout, dropconnect"),
        (["--config.rate=1.0"], "config.rate must be between 0 and 1, got 1.0"),
        (["--config.hidden=()"], "config.hidden must be a tuple"),
        (["--config.passes=1"], "config.passes must be 2 or more, got 1"),
        (["--resume"], "run it without --resume"),
        ([f"--config={ROOT / 'configs' / 'digits_none.py'}"], "regression_config()"),
    ],
)
def test_a_wrong_setting_gets_one_line(arguments, words, tmp_path, run) -> None:
    outcome = run(f"--workdir={tmp_path}", *arguments)
    assert outcome.code == 2
    assert words in outcome.err
    assert outcome.err.count("\n") == 1
