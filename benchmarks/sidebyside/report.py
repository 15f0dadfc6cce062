"""Writes the results as JSON, as a table and as a figure."""

import dataclasses
import datetime
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
from output import prepare, replace

from sidebyside import bars, figure, model_rows
from sidebyside.machine import machine, versions
from sidebyside.timing import Result

MIB = 2**20


class Earlier(NamedTuple):
    """Rows of earlier runs, and when and how they were measured."""

    rows: Sequence[Result]
    command: str
    date: str


def read(out: Path) -> Earlier | None:
    """The rows that a folder holds, if they were measured here, with what is here.

    Args:
      out: the folder.

    Returns:
      None where there are none, or where machine or versions were others.
    """
    path = _path(out)
    if not path.exists():
        return None
    content = json.loads(path.read_text())
    if (content["machine"], content["versions"]) != (machine(), versions()):
        return None
    rows = [Result(**row) for row in content["rows"]]
    return Earlier(rows, content["command"], content["date"])


def write(
    out: Path,
    results: Sequence[Result],
    earlier: Earlier | None = None,
    *,
    command: str,
) -> list[Path]:
    """Writes the three files, named after the backend.

    Args:
      out: the folder, made if need be.
      results: the rows that are done.
      earlier: rows to be kept, but for those that were measured again.
      command: what to type to measure them again.

    Returns:
      The paths of the files. There is no figure without the rows that it shows.
    """
    prepare(out)
    path, results = _path(out), list(results)
    if earlier is not None:
        again = {row.name: row for row in results}
        kept = [again.pop(row.name, row) for row in earlier.rows]
        results = [*kept, *again.values()]
        command = "; ".join(dict.fromkeys([*earlier.command.split("; "), command]))
    content = as_dict(results, command)
    if earlier is not None:
        first = earlier.date.partition(" ")[0]
        if first != content["date"]:
            content["date"] = f"{first} to {content['date']}"
    replace(path, json.dumps(content, indent=1) + "\n")
    table = path.with_suffix(".md")
    replace(table, "\n".join(_markdown(content, results)) + "\n")
    drawn = figure.draw(path.with_suffix(".png"), results, _source(content))
    return [path, table, *drawn]


def _path(out: Path) -> Path:
    return out / f"{jax.default_backend()}.json"


def as_dict(results: Sequence[Result], command: str) -> dict[str, Any]:
    """Everything there is to know about a run, ready for JSON."""
    return {
        "command": command,
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "machine": machine(),
        "versions": versions(),
        "bars": [
            dataclasses.asdict(verdict)
            for verdict in bars.verdicts(results, jax.default_backend())
        ],
        "rows": [dataclasses.asdict(result) for result in results],
    }


def _source(content: Mapping[str, Any]) -> str:
    host, found = content["machine"], content["versions"]
    device = "" if host["backend"] == "cpu" else f"{host['device']}, "
    return (
        f"{device}{processor(host)}, {host['cores']} cores, jax {found['jax']}, "
        f"{content['date']}"
    )


def processor(host: Mapping[str, Any]) -> str:
    """The processor's name, and whether it has AVX-512, which makes threefry faster."""
    has = {True: " with AVX-512", False: " without AVX-512"}
    return f"{host['cpu']}{has.get(host.get('avx512'), '')}"


def _markdown(content: Mapping[str, Any], results: Sequence[Result]) -> Iterator[str]:
    host = content["machine"]
    yield "# dropjax beside what people use today"
    yield ""
    yield f"`{content['command']}`"
    yield ""
    yield (
        f"{_source(content)}; {host['memory_gib']} GiB of memory. Medians of turns "
        "taken in one process, quartiles in brackets. The floor is a jitted `x * c` "
        "of the same array; for training steps and attention it is the same without "
        "dropout. "
        "Where memory is reused, results take the memory of the call before, instead "
        "of fresh pages that the system clears first. CPU times are those of all "
        "processors together; other work on the machine changes them less."
    )
    yield ""
    yield ", ".join(f"{name} {found}" for name, found in content["versions"].items())
    if host["torch_threads"] is not None:
        yield f"(torch computes with {host['torch_threads']} threads)."
    if content["bars"]:
        yield from ("", "## The bars", "")
        yield from table(
            ("bar", "wanted", "measured, at worst", ""), map(_bar, content["bars"])
        )
    for group in dict.fromkeys(row.group for row in results):
        yield from ("", f"## {group.capitalize()}", "")
        rows = [row for row in results if row.group == group]
        if group == model_rows.GROUP:
            yield from (model_rows.CELLS, "", *table(*model_rows.summary(rows)), "")
        yield from _group(rows)


def _bar(bar: Mapping[str, Any]) -> tuple[str, ...]:
    met = {True: "met", False: "**not met**", None: ""}[bar["met"]]
    return bar["bar"], bar["wanted"], bar["measured"], met


_COLUMNS = {
    "cpu_s": ("CPU ms", lambda value: f"{value * 1e3:.3g}"),
    "times_floor": ("of the floor", lambda value: f"{value:.2f}x"),
    "times_faster": ("faster than {baseline}", lambda value: f"{value:.1f}x"),
    "gb_per_s": ("GB/s", lambda value: f"{value:.1f}"),
    "tflop_per_s": ("TFLOP/s", lambda value: f"{value:.3f}"),
    "scratch_bytes": ("scratch MiB", lambda value: f"{value / MIB:.2f}"),
    "compile_cpu_s": ("compile CPU s", lambda value: f"{value:.2f}"),
    "logits_ulps": ("logits, ulps from flax", lambda value: f"{value:g}"),
    "gradient_ulps": ("gradients, ulps from flax", lambda value: f"{value:g}"),
    "residual_bytes_per_element": (
        "residual bytes per element",
        lambda value: f"{value:.2f}",
    ),
}


def _group(rows: Sequence[Result]) -> Iterator[str]:
    known = {fact for row in rows for one in row.contenders.values() for fact in one}
    columns = {fact: form for fact, form in _COLUMNS.items() if fact in known}
    for row in rows:
        titles = (title.format(baseline=row.baseline) for title, _ in columns.values())
        yield f"### {row.name}"
        yield ""
        lines = [
            (
                name,
                _times(one),
                *(
                    form(one[fact]) if fact in one else ""
                    for fact, (_, form) in columns.items()
                ),
            )
            for name, one in row.contenders.items()
        ]
        yield from table(("", "time", *titles), lines)
        yield ""


def _times(one: Mapping[str, float]) -> str:
    unit, scale = ("s", 1.0) if one["median_s"] >= 1 else ("ms", 1e3)
    low, median, high = (one[name] * scale for name in ("q1_s", "median_s", "q3_s"))
    return f"{median:.3g} [{low:.3g}, {high:.3g}] {unit}"


def table(heads: Sequence[str], lines: Any) -> Iterator[str]:
    """The lines of a table in Markdown."""
    yield f"| {' | '.join(heads)} |"
    yield f"|{'---|' * len(heads)}"
    for line in lines:
        yield f"| {' | '.join(line)} |"
