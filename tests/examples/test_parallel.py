"""Many devices, in one process or two: the parameters of one device."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
import train
import train_parallel
from training import command_line, data
from training.checkpoints import Checkpoints
from training.errors import run_program
from training.experiment import prepare

from .conftest import ROOT

SMALL = (
    f"--config={ROOT / 'configs' / 'digits_dropconnect.py'}",
    "--config.train_examples=160",
    "--config.test_examples=50",
    "--config.batch_size=32",
    "--config.hidden=(16,)",
    "--config.schedule=constant",
)
CNN = ("--config.model=cnn", "--config.channels=(4,)", "--config.host=nnx")


def parameters(folder: Path, *arguments: str) -> Any:
    """Those of a run's last checkpoint."""
    options = command_line.parse(["", *arguments], "", "")
    config = options.config
    dataset = data.load("digits", train_examples=config.train_examples)
    like = jax.jit(prepare(config, dataset).init)(jax.random.key(0))
    checkpoints = Checkpoints(folder, config.keep_checkpoints)
    state = checkpoints.restore(like, print)
    checkpoints.close()
    return state.params


def assert_same_parameters(first: Path, second: Path, *arguments: str) -> None:
    pairs = (parameters(folder, *arguments) for folder in (first, second))

    def compare(one: jax.Array, other: jax.Array) -> None:
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)

    jax.tree.map(compare, *pairs)


def run(program: Any, *arguments: str) -> None:
    assert program.main([program.__name__, *arguments]) == 0


def start_two(*arguments: str) -> list[subprocess.Popen]:
    """Two processes with two devices each."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        address = f"localhost:{free.getsockname()[1]}"
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": "2"}
    environment["PYTHONPATH"] = str(ROOT)
    command = [sys.executable, str(ROOT / "examples" / "train_parallel.py"), *arguments]
    command += [f"--coordinator={address}", "--processes=2"]
    return [
        subprocess.Popen(
            [*command, f"--process={index}"],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for index in range(2)
    ]


def test_two_processes_then_eight_devices_give_the_parameters_of_one(
    tmp_path: Path,
) -> None:
    parallel, whole = tmp_path / "parallel", tmp_path / "whole"
    workdir = f"--workdir={parallel}"
    started = start_two(*SMALL, "--config.epochs=2", workdir)
    run(train, *SMALL, "--config.epochs=2", f"--workdir={whole}")
    try:
        first, second = (process.communicate(timeout=300)[0] for process in started)
    finally:
        for process in started:
            process.send_signal(signal.SIGKILL)
    assert [process.returncode for process in started] == [0, 0], first + second
    assert "cpu: 4 devices, of 2 processes; from step 0" in first
    assert "epoch" not in second
    assert_same_parameters(parallel, whole, *SMALL)
    last = ("--config.epochs=3", "--resume")
    run(train_parallel, *SMALL, *last, workdir)
    run(train, *SMALL, *last, f"--workdir={whole}")
    assert_same_parameters(parallel, whole, *SMALL)


@pytest.mark.parametrize(
    "method", [("dropout",), ("spatial", *CNN)], ids=lambda method: method[0]
)
def test_masks_do_not_depend_on_the_devices(
    method: tuple[str, ...], tmp_path: Path
) -> None:
    name, *net = method
    arguments = (*SMALL, "--config.epochs=1", f"--config.method={name}", *net)
    parallel, whole = tmp_path / "parallel", tmp_path / "whole"
    run(train_parallel, *arguments, f"--workdir={parallel}")
    run(train, *arguments, f"--workdir={whole}")
    assert_same_parameters(parallel, whole, *arguments)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--processes=2"], "give --coordinator=HOST:PORT, --processes=N"),
        (["--coordinator=here:1", "--processes=2", "--process=2"], "from 0 to N - 1"),
        (["--process=first"], "--process"),
        (["--config.nets=2"], "config.nets must be 1"),
        (["--config.batch_size=12"], "must be a multiple of the number of devices, 8"),
    ],
)
def test_mistakes_are_named(
    arguments: list[str],
    words: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture,
) -> None:
    argv = ["train_parallel.py", *arguments, f"--workdir={tmp_path / 'run'}"]
    assert run_program("train_parallel.py", train_parallel.main, argv) == 2
    assert words in capsys.readouterr().err
