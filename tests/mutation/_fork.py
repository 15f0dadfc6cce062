"""Runs the tests of mutants, each in a fork of a process that has imported JAX.

To import JAX, Flax and pytest takes longer than most mutants live.
"""

import difflib
import os
import resource
import signal
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import chex  # noqa: F401
import flax.linen
import flax.nnx  # noqa: F401
import hypothesis  # noqa: F401
import jax
import optax  # noqa: F401
from cosmic_ray.mutating import mutate_code
from cosmic_ray.plugins import get_operator
from cosmic_ray.work_item import TestOutcome, WorkerOutcome, WorkItem, WorkResult

from tests.mutation import suite
from tests.mutation._draw import KEPT

BYTES = 12 << 30  # A mutant may ask for more memory than there is.
SECONDS = 600  # Some never end.

jax.config.update("jax_num_cpu_devices", 8)  # As in tests/conftest.py.
jax.config.update("jax_compilation_cache_dir", str(KEPT / "compiled"))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


def run(
    items: Sequence[WorkItem], copies: Sequence[Path], *, quick: bool
) -> Iterator[tuple[WorkItem, WorkResult]]:
    """Yields each item and what became of it, running one in each copy at a time."""
    waiting, idle, running = list(reversed(items)), list(copies), {}
    while waiting or running:
        while waiting and idle:
            item, copy = waiting.pop(), idle.pop()
            code = _mutate(item, copy)
            running[_start(_path(item), copy, quick)] = item, copy, code
        process, status = os.wait()
        item, copy, code = running.pop(process)
        diff = _restore(_path(item), copy, code)
        outcome = TestOutcome.KILLED if status else TestOutcome.SURVIVED
        yield item, WorkResult(WorkerOutcome.NORMAL, _output(copy), outcome, diff)
        idle.append(copy)


def check(path: Path, copy: Path, *, quick: bool) -> None:
    """Without a mutant the tests must pass."""
    status = os.waitpid(_start(path, copy, quick), 0)[1]
    if status:
        sys.exit(f"{path}: its tests fail without a mutant\n{_output(copy)}")


def _path(item: WorkItem) -> Path:
    return item.mutations[0].module_path


def _output(copy: Path) -> str:
    return (copy / "output").read_text(errors="replace")[-4000:]


def _mutate(item: WorkItem, copy: Path) -> str:
    """Changes the file, and returns what it was."""
    mutation, file = item.mutations[0], copy / _path(item)
    code = file.read_text()
    operator = get_operator(mutation.operator_name)(**mutation.operator_args)
    file.write_text(mutate_code(code, operator, mutation.occurrence))
    return code


def _restore(path: Path, copy: Path, code: str) -> str:
    """Writes what the file was, and returns how it was changed."""
    old, new = code.splitlines(), (copy / path).read_text().splitlines()
    (copy / path).write_text(code)
    lines = difflib.unified_diff(old, new, f"a/{path}", f"b/{path}", n=1, lineterm="")
    return "\n".join(lines)


def _start(path: Path, copy: Path, quick: bool) -> int:
    """The process that runs the tests."""
    # Python takes a file for unchanged if its size is, and the second of its change.
    for compiled in (copy / path.parent / "__pycache__").glob(f"{path.stem}.*"):
        compiled.unlink()
    process = os.fork()
    if process:
        return process
    code = 1
    try:
        _enter(copy)
        code = suite.main(str(path), quick=quick)
    except BaseException as error:
        print(repr(error), flush=True)
    os._exit(code)


def _enter(copy: Path) -> None:
    """In the fork: its own folder, output, and limits of time and memory."""
    output = os.open(copy / "output", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.chdir(copy)
    os.environ["PYTHONPATH"] = str(copy)
    sys.path.insert(0, str(copy))
    for name in [name for name in sys.modules if name.split(".")[0] == "tests"]:
        del sys.modules[name]
    resource.setrlimit(resource.RLIMIT_DATA, (BYTES, BYTES))
    signal.alarm(SECONDS)
