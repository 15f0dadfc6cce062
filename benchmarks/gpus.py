"""Compiles every method for an H100, an A100 and a B200, without a GPU.

    python benchmarks/gpus.py                                all rows
    python benchmarks/gpus.py --only "H100 dropout float32*"  some rows

Needs JAX's CUDA plugin (`pip install '.[gpus]'`), which compiles without a GPU. Nothing
is timed: launches, memory and instructions are exact, and the minimum time follows from
the GPU's bandwidth and the throughput of its pipes. Rows in the JSON file are not
compiled again: delete it to start over. The exit code is 1 if a target is missed.
"""

import argparse
import fnmatch
import json
import os
import sys
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

# Keeps the plugin from looking for a GPU.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

# Imported first: it reports missing packages.
from onpaper.gpu.programs import BOTH, FLAX, METHODS, NETS, OURS, PLAIN, Case

# isort: split
import output
from onpaper import bars
from onpaper.apart import Apart
from onpaper.gpu.programs import cases, compiled
from rich.console import Console

HERE = Path(__file__).resolve().parent
MIB = 2**20

Row = dict[str, Any]
Rows = dict[str, Row]

COLUMNS = (
    "method",
    "pass",
    "library",
    "launches",
    "scratch, KiB",
    "moved, MiB",
    "instructions per element",
    "bound by",
    "limit, us",
    "relative to without",
)
NET_COLUMNS = ("network", "blocks", "library", "launches", "scratch, MiB", "moved, MiB")


def main(argv: Sequence[str] | None = None) -> int:
    """Compiles missing rows and writes the table.

    Returns:
      The exit code.
    """
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="*", help="names of rows, as a shell pattern")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "gpus.json")
    options = parser.parse_args(argv)
    chosen = [it for it in cases() if fnmatch.fnmatch(it.name, options.only)]
    console = Console(stderr=True, highlight=False)
    if not chosen:
        first = next(cases()).name
        console.print(f"No row matches {options.only!r}; an example is {first!r}.")
        return 2
    output.prepare(options.out.parent)
    rows = _read(options.out)
    for case in compile_missing(chosen, rows):
        output.replace(options.out, json.dumps(list(rows.values()), indent=1) + "\n")
        console.print(f"compiled: {case.name}")
    output.replace(options.out.with_suffix(".md"), "\n".join(_page(rows)) + "\n")
    missed = [f"{name}: {what}" for name in rows for what in missed_by(name, rows)]
    for line in missed:
        console.print(line)
    return int(bool(missed))


def missed_by(name: str, rows: Rows) -> list[str]:
    """The targets a row misses; none if the rows it is compared with are missing."""
    case = _case(rows[name])
    row, plain = rows[name], rows.get(case.plain().name)
    flax = rows.get(case._replace(who=FLAX).name)
    if case.who != OURS or case.device != "H100" or case.generator == "rbg":
        return []
    if case.what in NETS:
        return list(bars.of_step(row, plain, flax)) if plain and flax else []
    if case.what == "dropconnect_dense, rate=0.5, mask_per='example'":
        return list(bars.of_examples(row, 1 + (case.passes == BOTH)))
    kind = METHODS[case.what].kind
    if plain is None or kind == bars.OTHER:
        return []
    if kind == bars.BLOCKS:
        return list(bars.of_blocks(row, plain))
    return list(bars.of_method(kind, row, plain))


def _read(path: Path) -> Rows:
    rows = json.loads(path.read_text()) if path.exists() else []
    return {_case(row).name: row for row in rows}


def compile_missing(chosen: Sequence[Case], rows: Rows) -> Iterator[Case]:
    """Compiles missing rows in a separate process, and yields the case of each."""
    apart, version = Apart(), metadata.version("jax")
    for case in chosen:
        if case.name not in rows:
            found = apart(compiled, case)
            rows[case.name] = {**case._asdict(), "jax": version, **found}
            yield case


def _case(row: Row) -> Case:
    return Case(*(row[name] for name in Case._fields))


def _page(rows: Rows) -> Iterator[str]:
    versions = ", ".join(sorted({row["jax"] for row in rows.values()}))
    yield "# Programs compiled for GPUs"
    yield ""
    yield (
        f"Programs compiled for GPUs by XLA (jax {versions}) and NVIDIA's ptxas; "
        "`make gpus`. Nothing was run. Launches, memory and instructions are those "
        "reported by the compiler. A limit is the minimum time that the GPU's "
        "bandwidth and the throughput of its pipes allow, summed over the launches; it "
        "is not a timing. Instructions inside a loop are counted once, and marked with "
        "a +. Matrix products go to cuBLAS: only their bytes are counted, and nothing "
        "is autotuned."
    )
    yield ""
    yield _said_of_layers(rows)
    for device in dict.fromkeys(row["device"] for row in rows.values()):
        own = {name: row for name, row in rows.items() if row["device"] == device}
        yield from ("", f"## {device}", "")
        yield from _table(COLUMNS, _method_lines(own))
        if any(row["what"] in NETS for row in own.values()):
            yield from ("", f"Training steps, on an {device}:", "")
            yield from _table(NET_COLUMNS, _net_lines(own))


def _said_of_layers(rows: Rows) -> str:
    layers = {name: row for name, row in rows.items() if row["face"] != "function"}
    others = [name for name in layers if not _like_its_function(name, rows)]
    said = f"{len(layers) - len(others)} of {len(layers)} layers of Linen and NNX "
    said += "have as many launches and as much scratch memory as their functions"
    return f"{said}; the others: {', '.join(others)}." if others else f"{said}."


def _like_its_function(name: str, rows: Rows) -> bool:
    function = rows.get(_case(rows[name])._replace(face="function").name)
    costs = ("launches", "scratch")
    return function is not None and all(rows[name][it] == function[it] for it in costs)


def _table(columns: Sequence[str], lines: Iterator[list[str]]) -> Iterator[str]:
    yield f"| {' | '.join(columns)} |"
    yield f"|{'---|' * len(columns)}"
    for line in lines:
        yield f"| {' | '.join(line)} |"


def _method_lines(rows: Rows) -> Iterator[list[str]]:
    for row in rows.values():
        if row["what"] in METHODS and row["face"] == "function":
            plain = rows.get(_case(row).plain().name)
            limit = limit_of(row)
            yield [
                f"{row['what']}, {row['form']}",
                row["passes"],
                _who(row),
                str(row["launches"]),
                f"{row['scratch'] / 1024:,.0f}",
                f"{row['bytes'] / MIB:,.0f}",
                f"{row['instructions'] / row['elements']:.1f}{'+' * row['loops']}",
                next(iter(row["microseconds"])),
                f"{limit:,.1f}",
                f"{limit / limit_of(plain):.2f}x" if plain else "",
            ]


def _net_lines(rows: Rows) -> Iterator[list[str]]:
    for row in rows.values():
        if row["what"] in NETS:
            yield [
                row["what"],
                row["form"],
                _who(row),
                str(row["launches"]),
                f"{row['scratch'] / MIB:,.1f}",
                f"{row['bytes'] / MIB:,.0f}",
            ]


def _who(row: Row) -> str:
    if row["who"] == PLAIN:
        return PLAIN
    return f"{row['who']}, {row['generator']} key"


def limit_of(row: Row) -> float:
    """The minimum time of all launches, in microseconds."""
    return float(sum(row["microseconds"].values()))


if __name__ == "__main__":
    sys.exit(main())
