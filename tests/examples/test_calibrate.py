"""The measurement of calibration: it runs, and wrong settings get one line."""

import json
from pathlib import Path

import calibrate
import numpy as np
import pytest
from training.errors import run_program

from .conftest import ROOT, Outcome

SMALL = ("--config.epochs=4", "--config.train_examples=400")


@pytest.fixture
def run(capsys):
    def program(*arguments: object) -> Outcome:
        argv = ["examples/calibrate.py", *map(str, arguments)]
        return Outcome(
            run_program("calibrate.py", calibrate.main, argv), *capsys.readouterr()
        )

    return program


def test_two_predictions_are_measured_and_drawn(tmp_path: Path, run) -> None:
    outcome = run(f"--workdir={tmp_path}", *SMALL)
    assert outcome.code == 0, outcome.err
    written = {file.name for file in tmp_path.iterdir()}
    assert written == {"lock", "result.json", "reliability.png"}
    result = json.loads((tmp_path / "result.json").read_text())
    for name in ("mean network", "Monte Carlo"):
        assert name in outcome.out
        assert result[name]["accuracy"] > 0.5
        assert 0 < result[name]["calibration error"] < 0.5
        assert result[name]["negative log-likelihood"] < np.log(10)
    assert result["mean network"] != result["Monte Carlo"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--config.method=none", "--config.rate=0.0"], "one that drops"),
        (["--config.method=multi_sample"], "one that drops, with one mask per pass"),
        (["--config.nets=2"], "config.nets must be 1 to measure calibration, got 2"),
        (["--resume"], "run it without --resume"),
        ([f"--config={ROOT / 'configs' / 'digits_compare.py'}"], "of no use here"),
    ],
)
def test_a_wrong_setting_gets_one_line(arguments, words, tmp_path, run) -> None:
    outcome = run(f"--workdir={tmp_path}", *arguments)
    assert outcome.code == 2
    assert words in outcome.err
    assert outcome.err.count("\n") == 1
