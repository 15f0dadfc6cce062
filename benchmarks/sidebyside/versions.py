"""Measures rows with several versions of JAX, alternately in separate processes."""

import json
import statistics
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from output import prepare, replace

from sidebyside import contenders as who
from sidebyside import weight_rows
from sidebyside.report import processor, table
from sidebyside.timing import Row

# The rows that have a bar, or of which a figure is shown first.
CHOSEN = (
    "dropout * 512x1024 *",
    "dropout * 4096x* rate 0.1 *",
    "spatial dropout *",
    "dropconnect over *",
    "dropconnect per example *x800x800 *",
    f"dropconnect per example {weight_rows.QUICK} *",
    "dropconnect without masks *",
    "attention dropout *",
    "attention of * tokens",
    "trace and compile *",
    "an eager call*",
)
ENVIRONMENTS = (".venv-oldest/bin/python", ".venv-newest/bin/python")
# A machine that drifts is met by all versions if they take turns.
ROUNDS = 2

Entries = Mapping[str, Mapping[str, float]]


@dataclass(frozen=True)
class Measured:
    """A row in one environment.

    Attributes:
      host: the machine, as `machine.machine` tells it.
      versions: those of Python and of the packages.
      row: what `timing.Result` holds, as JSON.
    """

    host: Mapping[str, Any]
    versions: Mapping[str, str]
    row: Mapping[str, Any]


def measure(
    row: Row, environments: Sequence[str], arguments: Sequence[str]
) -> list[Measured]:
    """Measures a row in every environment, which take turns.

    Args:
      row: what to run.
      environments: their Python interpreters.
      arguments: of the benchmark's program, beside the row's name and the folder.

    Returns:
      A measurement for each environment: of several rounds, the medians.

    Raises:
      subprocess.CalledProcessError: the program failed in an environment.
    """
    rounds: list[list[Measured]] = [[] for _ in environments]
    program = Path(__file__).resolve().parents[1] / "run.py"
    for _ in range(ROUNDS):
        for python, found in zip(environments, rounds, strict=True):
            with tempfile.TemporaryDirectory() as out:
                command = [python, str(program), "--only", row.name, "--out", out]
                command += arguments
                subprocess.run(command, check=True, capture_output=True, text=True)
                found.append(_read(Path(out)))
    return [_median(found) for found in rounds]


def _read(out: Path) -> Measured:
    (path,) = out.glob("*.json")
    content = json.loads(path.read_text())
    (row,) = content["rows"]
    return Measured(content["machine"], content["versions"], row)


def _median(rounds: Sequence[Measured]) -> Measured:
    first, *_ = rounds
    entries = {
        name: {
            fact: statistics.median(one.row["contenders"][name][fact] for one in rounds)
            for fact in entry
        }
        for name, entry in first.row["contenders"].items()
    }
    return Measured(first.host, first.versions, {**first.row, "contenders": entries})


def write(
    out: Path, results: Sequence[Sequence[Measured]], *, command: str, date: str
) -> list[Path]:
    """Writes what was measured as JSON and as a table.

    Args:
      out: the folder, made if need be.
      results: for every row the measurement of each environment.
      command: what to type to measure it again.
      date: the day.

    Returns:
      The paths of both files.
    """
    prepare(out)
    content = {
        "command": command,
        "date": date,
        "machine": results[0][0].host,
        "versions": [one.versions for one in results[0]],
        "rows": [
            {
                **{name: each[0].row[name] for name in ("name", "group", "settings")},
                "baseline": each[0].row["baseline"],
                "contenders": [one.row["contenders"] for one in each],
            }
            for each in results
        ],
    }
    path = out / "versions.json"
    replace(path, json.dumps(content, indent=1) + "\n")
    replace(path.with_suffix(".md"), "\n".join(_markdown(content)) + "\n")
    return [path, path.with_suffix(".md")]


def _markdown(content: Mapping[str, Any]) -> Iterator[str]:
    host, versions = content["machine"], content["versions"]
    yield from ("# The same rows, the oldest and the newest versions", "")
    yield from (f"`{content['command']}`", "")
    yield (
        f"{processor(host)}, {host['cores']} cores, {content['date']}. Environments "
        "take turns, each in a process of its own, and the medians of their rounds are "
        "shown. `faster` is the ratio to the row's first contender in the same process."
    )
    yield ""
    heads = ("", *(f"jax {found['jax']}" for found in versions))
    names = [name for name in versions[0] if all(name in found for found in versions)]
    yield from table(
        heads, [(name, *(found[name] for found in versions)) for name in names]
    )
    for group in dict.fromkeys(row["group"] for row in content["rows"]):
        yield from ("", f"## {group.capitalize()}", "")
        rows = [row for row in content["rows"] if row["group"] == group]
        for row in rows:
            yield from (f"### {row['name']}", "")
            yield from table(("", *_titles(versions)), _lines(row))
            yield ""


def _titles(versions: Sequence[Mapping[str, str]]) -> Iterator[str]:
    for found in versions:
        yield from (f"jax {found['jax']}", "faster", "scratch MiB")


def _lines(row: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    """The baseline first, then we, and others with our key, where all have them."""
    common = [
        name
        for name in row["contenders"][0]
        if all(name in found for found in row["contenders"])
    ]
    shown = [name for name in common if name.startswith(who.OURS) or "fast key" in name]
    for name in dict.fromkeys([row["baseline"], *shown]):
        cells = [cell for found in row["contenders"] for cell in _cells(found[name])]
        yield name, *cells


def _cells(entry: Mapping[str, float]) -> tuple[str, ...]:
    seconds, scratch = entry["median_s"], entry.get("scratch_bytes")
    time = f"{seconds:.2f} s" if seconds >= 1 else f"{seconds * 1e3:.3g} ms"
    mib = "" if scratch is None else f"{scratch / 2**20:.1f}"
    return time, f"{entry['times_faster']:.1f}x", mib
