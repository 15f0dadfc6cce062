"""Stop, damage, go on: the parameters are those of an uninterrupted run."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from training import workdir
from training.loop import Trainer
from training.steps import State

from .conftest import ROOT, Program

TINY = (
    f"--config={ROOT / 'configs' / 'digits_dropconnect.py'}",
    "--config.train_examples=320",
    "--config.test_examples=50",
    "--config.batch_size=32",
    "--config.hidden=(16,)",
    "--config.schedule=constant",
    "--config.steps_per_call=5",
)
EPOCHS = "--config.epochs=4"


def result(folder: Path) -> dict:
    return json.loads((folder / "result.json").read_text()) | {"date": None}


def steps_in(folder: Path) -> list[int]:
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line)["step"] for line in lines]


def without_times(folder: Path) -> list[dict]:
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [{**json.loads(line), "seconds": None} for line in lines]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "run"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a run of four epochs that nothing interrupted."""
    import train

    folder = tmp_path_factory.mktemp("whole") / "run"
    assert train.main(["train.py", *TINY, EPOCHS, f"--workdir={folder}"]) == 0
    return folder


def stop_after(
    calls: int, monkeypatch: pytest.MonkeyPatch, number: int = signal.SIGINT
) -> None:
    """Send this process a signal in the midst of its nth call."""
    advance, count = Trainer.advance, iter(range(1, 1000))

    def interrupted(self: Trainer, state: State) -> State:
        if next(count) == calls:
            os.kill(os.getpid(), number)
        return advance(self, state)

    monkeypatch.setattr(Trainer, "advance", interrupted)


@pytest.mark.parametrize("calls", [1, 4, 5])
def test_an_interrupted_run_goes_on_bit_for_bit(
    calls: int,
    folder: Path,
    whole: Path,
    run_train: Program,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with monkeypatch.context() as patch:
        stop_after(calls, patch)
        outcome = run_train(*TINY, EPOCHS, f"--workdir={folder}")
    assert outcome.code == 128 + signal.SIGINT
    assert "--resume" in outcome.out.splitlines()[-1]
    assert f"--workdir={folder}" in outcome.out.splitlines()[-1]
    assert not (folder / "result.json").exists()
    outcome = run_train(*TINY, EPOCHS, f"--workdir={folder}", "--resume")
    assert outcome.code == 0
    assert "resuming from step" in outcome.out
    assert result(folder) == result(whole)
    assert without_times(folder) == without_times(whole)


def test_sigterm_leaves_a_checkpoint_too(
    folder: Path, run_train: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop_after(2, monkeypatch, signal.SIGTERM)
    outcome = run_train(*TINY, EPOCHS, f"--workdir={folder}")
    assert outcome.code == 128 + signal.SIGTERM
    assert [path.name for path in (folder / "checkpoints").iterdir()] == ["10"]


@pytest.fixture
def in_a_terminal() -> Iterator[None]:
    """What a shell starts in the background ignores SIGINT, as the usual handler."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("in_a_terminal")
def test_a_second_signal_stops_at_once(
    folder: Path, run_train: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    def twice(self: Trainer, state: State) -> State:
        # Not os.kill: two that another thread gets may come as one.
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        raise AssertionError("went on")

    monkeypatch.setattr(Trainer, "advance", twice)
    outcome = run_train(*TINY, EPOCHS, f"--workdir={folder}")
    assert (outcome.code, outcome.err) == (130, "train.py: interrupted\n")
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_calls_need_not_divide_an_epoch(
    folder: Path, whole: Path, run_train: Program
) -> None:
    uneven = (*TINY, EPOCHS, "--config.steps_per_call=7")
    assert run_train(*uneven, f"--workdir={folder}").code == 0
    assert result(folder)["step"] == 40
    losses = [result(run)["train"]["loss"] for run in (folder, whole)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)


def test_fed_batches_go_on_bit_for_bit(
    folder: Path, run_train: Program, monkeypatch: pytest.MonkeyPatch, whole: Path
) -> None:
    fed = (*TINY, EPOCHS, "--config.device_data_mib=0")
    assert run_train(*fed, f"--workdir={folder}").code == 0
    other = folder.with_name("other")
    with monkeypatch.context() as patch:
        stop_after(5, patch)
        run_train(*fed, f"--workdir={other}")
    assert run_train(*fed, f"--workdir={other}", "--resume").code == 0
    assert result(other) == result(folder)
    fed_loss, scanned_loss = (result(run)["train"]["loss"] for run in (folder, whole))
    assert fed_loss == pytest.approx(scanned_loss, rel=1e-3)


def test_a_killed_run_goes_on_from_its_last_checkpoint(
    folder: Path, whole: Path, run_train: Program
) -> None:
    shutil.copytree(whole, folder)
    shutil.rmtree(folder / "checkpoints" / "40")
    with (folder / "metrics.jsonl").open("a") as file:
        file.write('{"step": 50, "epo')
    assert run_train(*TINY, EPOCHS, f"--workdir={folder}", "--resume").code == 0
    assert steps_in(folder) == [10, 20, 30, 40]
    assert result(folder) == result(whole)


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def halve(step: Path) -> None:
    for path in files(step):
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(step: Path) -> None:
    largest = max(files(step / "state"), key=lambda path: path.stat().st_size)
    content = bytearray(largest.read_bytes())
    content[len(content) // 2] ^= 1
    largest.write_bytes(content)


def empty(step: Path) -> None:
    shutil.rmtree(step)
    step.mkdir()


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("config.json", "[]", "config.json must contain a JSON object, got a list"),
        ("config.json", "{", "config.json is not JSON: "),
        ("metrics.jsonl", "{}\n", "metrics.jsonl must have a number for step, got {};"),
        ("metrics.jsonl", "[1]\n", "a number for step, got [1]; remove the line"),
        ("metrics.jsonl", '{"step": 9}\n', "must have a number for epoch, got {"),
    ],
)
def test_a_damaged_file_gets_one_line(
    name: str, content: str, words: str, folder: Path, run_train: Program
) -> None:
    folder.mkdir()
    (folder / name).write_text(content)
    outcome = run_train(*TINY, EPOCHS, f"--workdir={folder}", "--resume")
    assert outcome.code == 2
    assert words in outcome.err
    assert outcome.err.count("\n") == 1
    assert (folder / name).read_text() == content


@pytest.mark.parametrize("damage", [halve, flip, empty])
def test_a_damaged_checkpoint_is_skipped_and_kept_aside(
    damage: object, folder: Path, whole: Path, run_train: Program
) -> None:
    shutil.copytree(whole, folder)
    damage(folder / "checkpoints" / "40")
    outcome = run_train(*TINY, EPOCHS, f"--workdir={folder}", "--resume")
    assert outcome.code == 0
    assert "checkpoint 40 is damaged" in outcome.out
    assert "resuming from step 30" in outcome.out
    assert (folder / "damaged" / "40").is_dir()
    assert result(folder) == result(whole)


def test_a_finished_run_only_shows_its_result(
    folder: Path, whole: Path, run_train: Program
) -> None:
    shutil.copytree(whole, folder)
    outcome = run_train(*TINY, EPOCHS, f"--workdir={folder}", "--resume")
    assert outcome.code == 0
    assert "accuracy" in outcome.out
    assert result(folder) == result(whole)


def test_resume_where_nothing_is_starts_anew(
    folder: Path, whole: Path, run_train: Program
) -> None:
    assert run_train(*TINY, EPOCHS, f"--workdir={folder}", "--resume").code == 0
    assert result(folder) == result(whole)


def test_a_used_workdir_is_refused(whole: Path, run_train: Program) -> None:
    before = files(whole)
    outcome = run_train(*TINY, EPOCHS, f"--workdir={whole}")
    assert outcome.code == 2
    assert "already contains a run: add --resume" in outcome.err
    assert files(whole) == before


def test_another_config_is_refused(
    folder: Path, whole: Path, run_train: Program
) -> None:
    shutil.copytree(whole, folder)
    outcome = run_train(
        *TINY, EPOCHS, f"--workdir={folder}", "--resume", "--config.rate=0.25"
    )
    assert outcome.code == 2
    assert "with another rate: it has 0.5, got 0.25" in outcome.err


def test_two_runs_in_one_workdir(folder: Path, run_train: Program) -> None:
    with workdir.locked(folder):
        outcome = run_train(*TINY, EPOCHS, f"--workdir={folder}")
    assert outcome.code == 2
    assert "another run is writing to" in outcome.err


@pytest.mark.parametrize("name", ["file", "file/below"])
def test_an_unwritable_workdir(tmp_path: Path, name: str, run_train: Program) -> None:
    (tmp_path / "file").touch()
    outcome = run_train(*TINY, f"--workdir={tmp_path / name}")
    assert outcome.code == 2
    assert f"cannot write to the workdir {tmp_path / name}: " in outcome.err
    assert outcome.err.count("\n") == 1


def test_old_checkpoints_go(folder: Path, run_train: Program) -> None:
    run_train(
        *TINY,
        "--config.epochs=5",
        "--config.checkpoint_every=2",
        "--config.keep_checkpoints=2",
        f"--workdir={folder}",
    )
    steps = {path.name for path in (folder / "checkpoints").iterdir()}
    assert steps == {"40", "50"}


def test_ctrl_c_in_a_process_of_its_own(folder: Path) -> None:
    arguments = [*TINY, "--config.epochs=1000000", f"--workdir={folder}"]
    program = [sys.executable, str(ROOT / "examples" / "train.py")]
    run = subprocess.Popen(
        [*program, *arguments],
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    metrics = folder / "metrics.jsonl"
    deadline = time.monotonic() + 120
    while not (metrics.is_file() and metrics.stat().st_size):
        assert run.poll() is None, run.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    run.send_signal(signal.SIGINT)
    out, err = run.communicate(timeout=60)
    assert (run.returncode, err) == (128 + signal.SIGINT, "")
    assert "--resume" in out.splitlines()[-1]
    stopped = max(int(path.name) for path in (folder / "checkpoints").iterdir())
    epochs = f"--config.epochs={stopped // 10 + 2}"
    other = folder.with_name("other")
    # In a process too: with other virtual devices and options other bits come out.
    both = ([f"--workdir={folder}", "--resume"], [f"--workdir={other}"])
    runs = [["train.py", *TINY, epochs, *more] for more in both]
    code = f"import train; assert [train.main(argv) for argv in {runs}] == [0, 0]"
    subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT / "examples",
        check=True,
        capture_output=True,
    )
    assert result(folder) == result(other)
