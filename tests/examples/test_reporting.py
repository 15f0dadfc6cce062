"""What is shown fits where it is shown, and says what it is."""

import io

import calibrate
import compare
import pytest
import uncertainty
from rich.console import Console
from training import reporting, settings, uci_report
from training.comparison import Row

from .conftest import Program
from .test_resume import TINY
from .test_uci import recorded

WIDTHS = (40, 60, 80, 100, 140)
FORMS = {
    "Gaussian sampling": {"mean": 1.25, "deviation": 0.05, "vote": 1.11},
    "mean network": {"mean": 1.25, "deviation": 0.05, "vote": 1.11},
}
MEASURED = {split: {"loss": 0.0514, "accuracy": 0.9846} for split in ("train", "test")}
PLACES = {
    f"{where} the measurements": {"error": 0.1, "model": 0.1, "data": 0.1}
    for where in ("between", "among", "beyond")
}


def comparison(method: str) -> object:
    config = settings.comparison_config()
    losses, accuracies = ((1.2, 1.3), (0.07, 0.09)), ((0.812, 0.8), (0.981, 0.976))
    rows = [
        Row(name, 0.5, (98, 196), losses, accuracies, losses, (0.5, 0.4))
        for name in ("none", method)
    ]
    return compare._table(config, rows)


TABLES = {
    "compare": comparison("dropconnect"),
    "compare, long name": comparison("multi_sample"),
    "train": reporting.result_table("a run of some name", MEASURED),
    "calibrate": calibrate._table(
        "a run", {name: dict.fromkeys("abcd", 0.1234) for name in ("one", "two")}
    ),
    "nets": reporting.nets_table("a run of some name", FORMS),
    "uci": uci_report.table("a run of some name", recorded("boston")),
    "uncertainty": uncertainty._table(
        "a run", {"places": PLACES, "learned rates": [0.1, 0.2, 0.3]}
    ),
}


def shown(thing: object, width: int) -> list[str]:
    """Print into a pipe."""
    console = Console(file=io.StringIO(), width=width)
    console.print(thing)
    return console.file.getvalue().splitlines()


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", TABLES)
def test_a_table_keeps_its_borders_and_its_words(name: str, width: int) -> None:
    lines = shown(TABLES[name], width)
    rows = [line.rstrip() for line in lines if line.lstrip()[:1] in tuple("┃│")]
    assert rows
    for row in rows:
        assert row.endswith(("┃", "│")), row
        assert len(row) <= width
    assert "…" not in "".join(lines)
    if width >= 80:
        whole = shown(TABLES[name], 1000)
        assert [line.strip() for line in lines] == [line.strip() for line in whole]


@pytest.fixture(params=WIDTHS)
def terminal(request: pytest.FixtureRequest) -> Console:
    return Console(
        file=io.StringIO(), width=request.param, force_terminal=True, no_color=True
    )


def last_frame(console: Console) -> str:
    frames = console.file.getvalue().replace("\n", "\r").split("\r")
    return next(frame for frame in reversed(frames) if "%" in frame)


def test_the_bar_shows_epoch_and_loss_in_any_terminal(terminal: Console) -> None:
    with reporting.Board(terminal, 5000, 1000, 0) as board:
        board.progress(4999, 0.0514, 0.9846, 123456.0)
    frame = last_frame(terminal)
    assert "epoch 1000/1000" in frame
    assert "train loss 0.0514" in frame
    assert "…" not in frame
    assert ("accuracy 0.9846" in frame) == (terminal.width >= 70)
    assert ("123,456 examples/s" in frame) == (terminal.width >= 110)


def test_a_comparisons_bar_too(terminal: Console) -> None:
    with reporting.progress_bar(terminal) as bar:
        bar.add_task("dropconnect 0.5", total=2, text="test loss 0.0514")
    frame = last_frame(terminal)
    assert "dropconnect 0.5" in frame
    assert "test loss 0.0514" in frame
    assert "…" not in frame


def test_a_log_says_which_numbers_are_of_training(tmp_path, run_train: Program) -> None:
    outcome = run_train(*TINY, "--config.epochs=1", f"--workdir={tmp_path}")
    banner, legend, line, *_ = outcome.out.splitlines()
    assert "linen mlp with dropconnect 0.5 on digits" in banner
    assert legend == (
        "train: running means over the epoch, in training mode (with noise); "
        "test: after the epoch, in evaluation mode"
    )
    assert line.startswith("epoch 1/1  train loss ")
    assert ", accuracy " in line
    assert "  test accuracy " in line
    assert "in evaluation mode" in outcome.out.splitlines()[-2]
