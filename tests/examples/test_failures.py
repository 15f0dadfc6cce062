"""What goes wrong outside of the program: a full disk, lost files, lost packages."""

import functools
import os
import resource
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import matplotlib.figure
import numpy as np
import pytest
from training import workdir
from training.checkpoints import Checkpoints
from training.errors import UserError, writing
from training.loop import Trainer
from training.steps import State

from .conftest import ROOT, Program
from .test_resume import EPOCHS, TINY, files, result, steps_in, whole

__all__ = ["whole"]  # the fixture
FULL = Path("/dev/full")
STEPS = {"20", "30", "40"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "run"


@pytest.fixture
def small_files() -> Iterator[functools.partial]:
    """Limit the size of files, as a full disk does, and raise the limit again."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    def limit(size: int) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))

    yield limit
    limit(before[0])
    signal.signal(signal.SIGXFSZ, handler)


def test_a_checkpoint_that_finds_no_room(
    folder: Path, whole: Path, run_train: Program, small_files: functools.partial
) -> None:
    shutil.copytree(whole, folder)
    for step in ("30", "40"):
        shutil.rmtree(folder / "checkpoints" / step)
    kept = {path: path.read_bytes() for path in files(folder / "checkpoints")}
    small_files(8192)
    outcome = run_train(*TINY, EPOCHS, f"--workdir={folder}", "--resume")
    small_files(resource.RLIM_INFINITY)
    assert outcome.code == 2
    assert outcome.err == (
        f"train.py: cannot write the checkpoint of step 30 to {folder}/checkpoints: "
        "File too large. Earlier checkpoints are kept: once this is fixed, add "
        "--resume to continue from the last one\n"
    )
    assert kept == {path: path.read_bytes() for path in files(folder / "checkpoints")}
    assert [path.name for path in (folder / "checkpoints").iterdir()] == ["20"]
    assert run_train(*TINY, EPOCHS, f"--workdir={folder}", "--resume").code == 0
    assert result(folder) == result(whole)
    assert steps_in(folder) == [10, 20, 30, 40]


_ON_A_SMALL_DISK = """
mount -t tmpfs -o size=1m tmpfs {disk} || exit 77
{python} {program} {arguments} --workdir={disk}/run
code=$?
ls {disk}/run/checkpoints
exit $code
"""


def test_a_disk_that_fills_up(tmp_path: Path) -> None:
    """In a process of its own: nothing comes from the threads of others either."""
    script = _ON_A_SMALL_DISK.format(
        disk=tmp_path,
        python=sys.executable,
        program=ROOT / "examples" / "train.py",
        arguments=shlex.join([*TINY, EPOCHS, "--config.hidden=(800,)"]),
    )
    if not shutil.which("unshare"):
        pytest.skip("there is no unshare")
    done = subprocess.run(
        ["unshare", "--map-root-user", "--mount", "sh", "-c", script],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    if done.returncode == 77 or done.stderr.startswith("unshare: "):
        pytest.skip(f"nothing can be mounted here: {done.stderr}")
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("train.py: cannot write the checkpoint of step ")
    assert f" to {tmp_path}/run/checkpoints: No space left on device. " in done.stderr
    assert done.stderr.count("\n") == 1
    assert all(name.isdigit() for name in done.stdout.splitlines()[-2:])


@pytest.mark.parametrize("name", ["config.json", "result.json"])
def test_a_file_that_finds_no_room(
    name: str, folder: Path, run_train: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not FULL.exists():
        pytest.skip("there is no /dev/full")
    real = Path.write_text

    def write_text(self: Path, text: str) -> int:
        return real(FULL if self.name.startswith(name) else self, text)

    monkeypatch.setattr(Path, "write_text", write_text)
    outcome = run_train(*TINY, "--config.epochs=1", f"--workdir={folder}")
    said = f"train.py: cannot write {folder / name}: No space left on device\n"
    assert (outcome.code, outcome.err) == (2, said)
    assert not list(folder.glob(f"{name}*"))
    assert ("evaluation mode" in outcome.out.splitlines()[-1]) == (
        name == "result.json"
    )


def test_metrics_that_find_no_room(
    folder: Path, run_train: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not FULL.exists():
        pytest.skip("there is no /dev/full")
    advance, path = Trainer.advance, folder / "metrics.jsonl"

    def fills_the_disk(self: Trainer, state: State) -> State:
        path.unlink(missing_ok=True)
        path.symlink_to(FULL)
        return advance(self, state)

    monkeypatch.setattr(Trainer, "advance", fills_the_disk)
    outcome = run_train(*TINY, "--config.epochs=1", f"--workdir={folder}")
    said = f"train.py: cannot write {path}: No space left on device\n"
    assert (outcome.code, outcome.err) == (2, said)


def test_a_picture_that_finds_no_room(
    folder: Path, run_train: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    def savefig(self: object, path: Path, **options: object) -> None:
        path.write_text("half a picture")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(matplotlib.figure.Figure, "savefig", savefig)
    outcome = run_train(*TINY, "--config.epochs=1", f"--workdir={folder}")
    assert outcome.code == 2
    said = f"cannot write {folder / 'curves.png'}: No space left on device\n"
    assert outcome.err == f"train.py: {said}"
    assert "evaluation mode" in outcome.out
    assert not list(folder.glob("curves.png*"))
    assert result(folder)["step"] == 10


def test_what_was_there_stays_where_nothing_can_be_written(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    workdir.write_json(path, {"before": 1})
    with pytest.raises(UserError, match=r"result\.json: no"), workdir.replacing(path):
        raise OSError(5, "no")
    assert workdir.read_json(path) == {"before": 1}
    assert [it.name for it in tmp_path.iterdir()] == ["result.json"]
    with pytest.raises(UserError, match="here: no number"), writing(Path("here")):
        raise OSError("no number")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_workdir(folder: Path, run_train: Program) -> None:
    folder.mkdir(mode=0o555)
    outcome = run_train(*TINY, f"--workdir={folder}")
    assert (outcome.code, outcome.err.count("\n")) == (2, 1)
    assert f"cannot write to the workdir {folder}: Permission denied" in outcome.err


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:10])


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (truncate, "its content does not match its digest"),
        (Path.unlink, "state.msgpack is missing"),
    ],
)
def test_all_checkpoints_damaged(
    damage: object, words: str, folder: Path, whole: Path, run_train: Program
) -> None:
    shutil.copytree(whole, folder)
    for path in files(folder / "checkpoints"):
        damage(path)
    outcome = run_train(*TINY, EPOCHS, f"--workdir={folder}", "--resume")
    assert outcome.code == 2
    lines = outcome.out.splitlines()
    for line, step in zip(lines, (40, 30, 20), strict=True):
        assert line.startswith(f"checkpoint {step} is damaged: ")
        assert line.endswith(words)
    assert outcome.err == (
        f"train.py: none of the checkpoints in {folder}/checkpoints can be read (tried "
        f"40, 30, 20): to start over, choose another --workdir, or delete {folder}\n"
    )
    assert {path.name for path in (folder / "checkpoints").iterdir()} == STEPS


def test_a_checkpoint_of_another_net(folder: Path) -> None:
    checkpoints = Checkpoints(folder, 1)
    checkpoints.save(1, {"kernel": 1.0})
    said = []
    for other in ({"kernel": np.ones(2)}, {"bias": 1.0}):
        with pytest.raises(UserError, match="none of the checkpoints"):
            checkpoints.restore(other, said.append)
    words = "it belongs to another network or optimizer"
    assert set(said) == {f"checkpoint 1 is damaged: {words}"}
    assert checkpoints.restore({"kernel": 0.0}, said.append) == {"kernel": 1.0}
    checkpoints.close()


def test_what_a_killed_run_left_of_a_checkpoint_goes(
    folder: Path, whole: Path, run_train: Program
) -> None:
    shutil.copytree(whole, folder)
    half = folder / "checkpoints" / "50.orbax-checkpoint-tmp"
    shutil.copytree(folder / "checkpoints" / "40", half)
    outcome = run_train(*TINY, EPOCHS, f"--workdir={folder}", "--resume")
    assert outcome.code == 0
    assert "resuming from step 40" in outcome.out
    assert not half.exists()


def test_resume_says_that_it_starts_anew(folder: Path, run_train: Program) -> None:
    arguments = (*TINY, "--config.epochs=1", f"--workdir={folder}")
    outcome = run_train(*arguments, "--resume")
    first = f"no checkpoint in {folder}/checkpoints: starting at step 0"
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.splitlines()[0] == first
    outcome = run_train(*arguments[:-1], f"--workdir={folder.with_name('other')}")
    assert "no checkpoint" not in outcome.out


PROGRAMS = {
    **{f"examples/{name}.py": "examples" for name in ("train", "compare", "tabulate")},
    **{f"examples/{name}.py": "examples" for name in ("uncertainty", "train_parallel")},
    **{f"examples/{name}.py": "examples" for name in ("calibrate", "uci")},
    **{f"benchmarks/{name}.py": "benchmarks" for name in ("run", "step_profile")},
    **{f"benchmarks/{name}.py": name for name in ("pods", "gpus")},
}


def test_every_program_is_here() -> None:
    found = [
        path
        for room in ("examples", "benchmarks")
        for path in ROOT.glob(f"{room}/*.py")
    ]
    mains = [path for path in found if "__main__" in path.read_text()]
    assert {str(path.relative_to(ROOT)) for path in mains} == set(PROGRAMS)


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_missing_package_gets_one_line(program: str) -> None:
    """Without the site, there is no package but Python's own."""
    done = subprocess.run(
        [sys.executable, "-S", ROOT / program],
        capture_output=True,
        text=True,
        env={"PATH": os.environ["PATH"]},
    )
    assert done.returncode == 1
    assert done.stderr.startswith(f"{Path(program).name}: not installed: ")
    assert "rich" in done.stderr
    assert f"run pip install '.[{PROGRAMS[program]}]' in" in done.stderr
    assert done.stderr.count("\n") == 1
