"""`python -m dropjax`, the output for bug reports."""

import importlib.metadata
import json
import os
import subprocess
import sys

import jax
import pytest

from dropjax import __main__ as report


def test_versions_devices_settings_and_the_stream_contract(capsys):
    assert report.main() == 0
    lines = [line[:29].strip() for line in capsys.readouterr().out.splitlines()]
    values = dict(report._versions()) | dict(report._settings())
    assert lines[: len(values)] == list(values)
    assert values["jax"] == importlib.metadata.version("jax")
    assert values["devices"] == ", ".join(["cpu (cpu)"] * jax.local_device_count())
    assert values["jax_threefry_partitionable"] == "True"


FIELDS = {"words": "words", "masks": "keep", "examples": "keep", "seeds": "key"}
FIELDS |= {"subsets": "positions"}


def with_another_end(answer):
    if isinstance(answer, int):
        return answer ^ 1
    if isinstance(answer, str):
        return answer[:-1] + "10"[int(answer[-1])]
    return [*answer[:-1], with_another_end(answer[-1])]


@pytest.mark.parametrize("part", report._CHECKS)
def test_an_answer_that_differs_is_shown(part, capsys, monkeypatch):
    """The check itself sees one: the last bit of the first answer is changed."""
    check, field, seen = report._CHECKS[part], FIELDS.get(part, "child"), []

    def spoiled(answer):
        seen.append(json.dumps(answer))
        if len(seen) == 1:
            answer = {**answer, field: with_another_end(answer[field])}
        return check(answer)

    monkeypatch.setattr(report, "_CHECKS", {part: spoiled})
    assert report.main() == 1
    output = capsys.readouterr().out
    assert [it.strip() for it in output.splitlines() if "not drawn" in it] == [
        f"not drawn: {seen[0]}"
    ]
    assert output.endswith("does not hold here: please report it\n")


def test_threefry_that_is_not_partitionable_is_outside_the_contract():
    done = subprocess.run(
        [sys.executable, "-m", "dropjax"],
        env={**os.environ, "JAX_THREEFRY_PARTITIONABLE": "0"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "outside the stream contract" in done.stdout
    assert done.stdout.endswith("holds\n")
