"""The comparison: seeds vmapped, resumed bit for bit, a table in three forms."""

import json
import os
import signal
from pathlib import Path

import pytest
import train
from training.comparison import Row, Run
from training.interrupts import Interrupt

from .conftest import ROOT, Program

TINY = (
    f"--config={ROOT / 'configs' / 'digits_compare.py'}",
    "--config.train_examples=320",
    "--config.test_examples=100",
    "--config.epochs=2",
    "--config.hidden=(16,)",
    "--config.seeds=2",
)
TWO = "--config.methods={'none': 0.0, 'dropout': 0.5}"
EVALUATIONS = [5, 10]


def rows(folder: Path) -> list[dict]:
    """Return the rows without their times."""
    found = json.loads((folder / "compare.json").read_text())["rows"]
    for row in found:
        row.pop("seconds_per_step")
        row["summary"].pop("seconds_per_step")
    return found


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a comparison that nothing interrupted."""
    import compare

    folder = tmp_path_factory.mktemp("whole") / "run"
    assert compare.main(["compare.py", *TINY, f"--workdir={folder}"]) == 0
    return folder


def test_a_comparison(whole: Path) -> None:
    content = json.loads((whole / "compare.json").read_text())
    assert content["steps_taken"] == content["steps"] == 10
    assert content["examples"] == {"train": 320, "test": 100}
    assert [row["method"] for row in content["rows"]] == [
        "none", "dropout", "dropconnect",
    ]  # fmt: skip
    for row in content["rows"]:
        assert row["steps"] == EVALUATIONS
        for name in ("accuracies", "losses", "train_losses"):
            assert [len(values) for values in row[name]] == [2, 2]
        assert len(row["seconds_per_step"]) == 2
        low, high = sorted(row["accuracies"][-1])
        deviation = row["summary"]["final_accuracy"]["deviation"]
        assert deviation == pytest.approx((high - low) / 2**0.5)
    lines = (whole / "compare.md").read_text().splitlines()
    assert lines[0] == (
        "| method | rate | test accuracy, best | final | test loss, best | final "
        "| train loss, final | step of the best loss | CPU s per step | seeds |"
    )
    assert len(lines) == 5


def test_its_runs_are_those_of_the_training_program(
    whole: Path, tmp_path: Path
) -> None:
    _, _, row = rows(whole)
    for seed in range(2):
        folder = tmp_path / str(seed)
        train.main(
            [
                "train.py",
                f"--config={ROOT / 'configs' / 'digits_none.py'}",
                *TINY[1:-1],
                f"--config.seed={seed}",
                "--config.method=dropconnect",
                f"--workdir={folder}",
            ]
        )
        measured = json.loads((folder / "result.json").read_text())
        assert row["accuracies"][-1][seed] == pytest.approx(
            measured["test"]["accuracy"], abs=0.021
        )


def stop_in_turn(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Send this process a signal in the first call of the nth turn of a method."""
    turn, count = Run.turn, iter(range(1, 1000))

    def interrupted(self: Run, until: int, interrupt: Interrupt) -> None:
        if next(count) != number:
            return turn(self, until, interrupt)
        advance = self._advance

        def stopped(*args: object) -> object:
            self._advance = advance
            os.kill(os.getpid(), signal.SIGTERM)
            return advance(*args)

        self._advance = stopped
        return turn(self, until, interrupt)

    monkeypatch.setattr(Run, "turn", interrupted)


@pytest.mark.parametrize("scan", ["auto", "never"])
def test_an_interrupted_comparison_goes_on_bit_for_bit(
    scan: str, tmp_path: Path, run_compare: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = [tmp_path / name for name in ("whole", "parts")]
    tiny = (*TINY, TWO, f"--config.scan={scan}", "--config.steps_per_call=2")
    assert run_compare(*tiny, f"--workdir={folders[0]}").code == 0
    with monkeypatch.context() as patch:
        stop_in_turn(3, patch)
        outcome = run_compare(*tiny, f"--workdir={folders[1]}")
    assert outcome.code == 128 + signal.SIGTERM
    assert "stopped at step 5 of 10" in outcome.out
    assert outcome.out.splitlines()[-1].endswith("--resume")
    content = json.loads((folders[1] / "compare.json").read_text())
    assert content["steps_taken"] == 5
    assert [row["steps"] for row in content["rows"]] == [[5]] * 2
    outcome = run_compare(*tiny, f"--workdir={folders[1]}", "--resume")
    assert outcome.code == 0
    assert "none 0: resuming from step 7" in outcome.out
    assert rows(folders[1]) == rows(folders[0])
    used = run_compare(*tiny, f"--workdir={folders[1]}")
    assert "already contains a run: add --resume" in used.err


def test_evaluations_of_several_epochs(tmp_path: Path, run_compare: Program) -> None:
    several = (*TINY, TWO, "--config.eval_steps=10", "--config.epochs=3")
    assert run_compare(*several, f"--workdir={tmp_path}").code == 0
    assert [row["steps"] for row in rows(tmp_path)] == [[10, 15]] * 2


def test_best_and_final() -> None:
    losses = ((2.0, 3.0), (1.0, 4.0), (1.5, 5.0))
    accuracies = ((0.5, 0.5), (0.6, 0.7), (0.7, 0.6))
    row = Row("dropout", 0.5, (5, 10, 15), losses, accuracies, losses, (9.0, 0.2, 0.3))
    summary = row.summary()
    assert summary["best_loss"] == pytest.approx({"mean": 2, "deviation": 2**0.5})
    assert summary["final_loss"]["mean"] == 3.25
    assert summary["best_loss_step"] == 7.5
    assert summary["best_accuracy"] == pytest.approx({"mean": 0.7, "deviation": 0})
    assert summary["best_accuracy_step"] == 12.5
    assert summary["seconds_per_step"] == 0.3
    first = row.first(1).summary()
    assert (first["best_loss"]["mean"], first["seconds_per_step"]) == (2.5, 9.0)


def test_one_seed_has_no_deviation() -> None:
    row = Row("none", 0.0, (5,), ((2.0,),), ((0.5,),), ((2.0,),), (0.25,))
    assert row.summary()["final_loss"] == {"mean": 2.0, "deviation": None}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--config.seeds=0"], "config.seeds must be 1 or more, got 0"),
        (["--config.methods.dropout=1"], "the rate of dropout must be at least 0"),
        (["--config.methods.dropot=1"], "no key 'methods.dropot'; did you mean"),
        (["--config.methods={'spatial': 0.1}"], "'spatial' does not fit model 'mlp'"),
        (["--config.rates=(1.0,)"], "config.rates must be a tuple of floats between"),
        (["--config.nets=2"], "config.nets must be 1 in a comparison"),
        (
            ["--config.eval_steps=3"],
            "config.eval_steps must be a divisor or a multiple",
        ),
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
