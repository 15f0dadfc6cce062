"""Compiles training steps for 4 to 256 TPU chips, without a TPU.

    python benchmarks/pods.py                    all rows, as JSON and as a table
    python benchmarks/pods.py --only "MLP v5e*"  some rows

Needs libtpu (`pip install '.[pods]'`), whose compiler reports the memory and
collectives of a chip, but no times. Rows in the JSON file are not compiled again:
delete it to start over. The exit code is 1 if masks add a collective, or memory.
"""

import argparse
import fnmatch
import itertools
import json
import sys
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

# Imported first: it reports missing packages.
from onpaper.tpu.compiler import MIB, chips, compile_step, worse

# isort: split
import output
from onpaper import nets
from rich.console import Console

HERE = Path(__file__).resolve().parent
GENERATIONS = ("v5e", "v6e")

Row = dict[str, Any]


class Grid(NamedTuple):
    """The cases compiled for a network.

    Attributes:
      net: the network, with the batch of one chip.
      words: its description.
      pods: the topology, and the number of chips that share the parameters.
      noises: the methods, each with a generator.
    """

    net: nets.Net
    words: str
    pods: tuple[tuple[str, int], ...]
    noises: tuple[tuple[str, str], ...]


GRIDS = {
    "MLP": Grid(
        nets.mlp(width=1024, batch=512, depth=8),
        "8 blocks of 1024 x 4096 and back, 512 examples per chip",
        (("2x2", 1), ("4x4", 4), ("8x8", 1), ("16x16", 1), ("16x16", 8)),
        (
            (nets.NONE, "fast"),
            ("dropout", "fast"),
            ("dropout", "threefry"),
            ("dropconnect", "fast"),
            ("dropconnect_dense", "fast"),
        ),
    ),
    "transformer": Grid(
        nets.transformer(width=512, heads=8, length=256, batch=8, depth=8),
        "8 blocks of width 512, 8 heads, 8 x 256 tokens per chip",
        (("2x2", 1), ("16x16", 8)),
        ((nets.NONE, "fast"), ("dropout", "fast"), ("dropconnect", "fast")),
    ),
}
COLUMNS = (
    "chips",
    "sharing the model",
    "method",
    "MiB per chip: parameters, key, batch",
    "scratch",
    "program",
    "collectives",
    "compared with none",
)


def main(argv: Sequence[str] | None = None) -> int:
    """Compiles missing rows and writes the table.

    Returns:
      The exit code.
    """
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="*", help="names of rows, as a shell pattern")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "pods.json")
    options = parser.parse_args(argv)
    rows = json.loads(options.out.read_text()) if options.out.exists() else []
    done = {row["name"] for row in rows}
    cases = [it for it in _cases() if fnmatch.fnmatch(it["name"], options.only)]
    console = Console(stderr=True)
    if not cases:
        first = next(_cases())["name"]
        console.print(f"No row matches {options.only!r}; an example is {first!r}.")
        return 2
    output.prepare(options.out.parent)
    for case in cases:
        if case["name"] not in done:
            rows.append(_compiled(case))
            output.replace(options.out, json.dumps(rows, indent=1) + "\n")
            console.print(f"compiled: {case['name']}", highlight=False)
    output.replace(options.out.with_suffix(".md"), "\n".join(_page(rows)) + "\n")
    return int(any(worse(row, _plain(row, rows)) for row in rows))


def _cases() -> Iterator[Row]:
    for name, grid in GRIDS.items():
        for generation, (pod, model), (noise, generator) in itertools.product(
            GENERATIONS, grid.pods, grid.noises
        ):
            case = {
                "net": name,
                "topology": f"{generation}:{pod}",
                "model": model,
                "noise": noise,
                "generator": generator,
            }
            yield {"name": " ".join(map(str, case.values())), **case}


def _compiled(case: Row) -> Row:
    mesh = chips(case["topology"], case["model"])
    net, noise = GRIDS[case["net"]].net, nets.NOISES[case["noise"]]
    found = compile_step(net, noise, case["generator"], mesh)
    return {**case, "chips": mesh.size, "libtpu": metadata.version("libtpu"), **found}


def _plain(row: Row, rows: Sequence[Row]) -> Row:
    def place(row: Row) -> Row:
        return {name: row[name] for name in ("net", "topology", "model")}

    here = (other for other in rows if place(other) == place(row))
    return next(other for other in here if other["noise"] == nets.NONE)


def _page(rows: Sequence[Row]) -> Iterator[str]:
    found = ", ".join(sorted({row["libtpu"] for row in rows}))
    yield "# Training steps compiled for TPU pods"
    yield ""
    yield (
        f"Training steps compiled by the TPU compiler (libtpu {found}); `make pods`. "
        "Nothing was run: the figures are those of the compiler, and none is a time. "
        "The batch is split evenly over the chips; where chips share the model, the "
        "parameters are split over them and the batch over the others."
    )
    for name, grid in GRIDS.items():
        own = [row for row in rows if row["net"] == name]
        if own:
            yield from ("", f"## {name}", "")
            yield f"{grid.words}; float32, rate {nets.RATE}, the blocks in a scan."
            yield ""
            yield from _table(own)


def _table(rows: Sequence[Row]) -> Iterator[str]:
    yield f"| {' | '.join(COLUMNS)} |"
    yield f"|{'---|' * len(COLUMNS)}"
    for row in rows:
        plain = _plain(row, rows)
        yield f"| {' | '.join(_line(row, plain))} |"


def _line(row: Row, plain: Row) -> Iterator[str]:
    yield f"{row['chips']} {row['topology'].partition(':')[0]}"
    yield str(row["model"])
    yield nets.NONE if row is plain else f"{row['noise']}, {row['generator']} key"
    for size in ("arguments", "scratch", "program"):
        yield f"{row[size] / MIB:.1f}"
    yield ", ".join(f"{count} {kind}" for kind, count in row["collectives"].items())
    if row is plain:
        yield ""
    else:
        same = "the same" if row["talk"] == plain["talk"] else "**different**"
        change = (row["scratch"] - plain["scratch"]) / MIB
        yield f"{change:+.1f} MiB, {same} collectives"


if __name__ == "__main__":
    sys.exit(main())
