"""What type checkers make of right programs, in tests/typed: nothing to complain of."""

import json
import os
import pathlib
import re
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
PAGES = sorted((ROOT / "tests" / "typed").glob("*.py"))

# jax, flax and optax leave parts of some types open, of which pyright's strict mode
# complains wherever such a function is called. These calls, and no others, may be
# complained of.
OF_THE_HOSTS = re.compile(r"(jax|jnp|nn|nnx|optax)\.|.*\.(init|apply|bind|eval)$")
COMPLAINT_OF_THE_HOSTS = "reportUnknownMemberType"


def run(*command, **environment):
    return subprocess.run(
        [sys.executable, *command],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_typed_programs_are_right(page):
    done = run("-W", "error", str(page))
    assert done.returncode == 0, done.stderr


def test_mypy_finds_nothing_in_right_programs():
    pytest.importorskip("mypy")
    # As from a user's checkout: the package's own lines are for `make lint`.
    options = ("--strict", "--follow-imports=silent", "--explicit-package-bases")
    done = run("-m", "mypy", *options, *map(str, PAGES))
    assert done.returncode == 0, done.stdout


def test_pyright_finds_nothing_of_ours_in_right_programs():
    pytest.importorskip("basedpyright", reason="basedpyright is not installed")
    project = str(ROOT / "tests" / "typed")
    interpreter = ("--pythonpath", sys.executable)
    done = run("-m", "basedpyright", "-p", project, *interpreter, "--outputjson")
    found = json.loads(done.stdout)
    assert found["summary"]["filesAnalyzed"] == len(PAGES)
    complaints = found["generalDiagnostics"]
    assert [shown(one) for one in complaints if not is_of_a_host(one)] == []


def is_of_a_host(complaint):
    called = text_at(complaint["file"], complaint["range"])
    rule = complaint.get("rule")
    return rule == COMPLAINT_OF_THE_HOSTS and OF_THE_HOSTS.match(called) is not None


def text_at(file, where):
    lines = pathlib.Path(file).read_text().splitlines()
    start, end = where["start"], where["end"]
    assert start["line"] == end["line"], where
    return lines[start["line"]][start["character"] : end["character"]]


def shown(complaint):
    line = complaint["range"]["start"]["line"] + 1
    return f"{complaint['file']}:{line}: {complaint['message']}"
