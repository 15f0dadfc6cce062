"""What a method costs, from the records of the benchmarks."""

import functools
import json
from collections.abc import Iterator
from typing import Any

from ._paths import RESULTS

CPU = ("methods/cpu.json", "cpu.json", "attention/cpu.json")
Rows = list[dict[str, Any]]


@functools.cache
def read(name: str) -> Any:
    """A record, from benchmarks/results."""
    return json.loads((RESULTS / name).read_text())


def table(heads: list[str], lines: list[list[str]]) -> str:
    """A table in Markdown."""
    rule = ["---", *["--:"] * (len(heads) - 1)]
    return "\n".join(f"| {' | '.join(line)} |" for line in [heads, rule, *lines])


def costs(name: str, wanted: list[str]) -> Iterator[str]:
    """The section of a method, where some rows of the CPU's records are wanted."""
    found = [*cpu(name, wanted), *h100(name), *tpu(name)]
    yield from found or ["No benchmark has a row of this method yet."]


def cpu(name: str, wanted: list[str]) -> Iterator[str]:
    """The times measured on a CPU."""
    own = name.replace("_", " ")
    for path in CPU:
        record = read(path)
        rows = [it for it in record["rows"] if it["name"] in wanted]
        if not wanted and path == CPU[0]:
            names = (f"{own} ", f"{own}, ")
            rows = [it for it in record["rows"] if it["name"].startswith(names)]
        if rows:
            page = path.replace(".json", ".md")
            yield (
                f"**Measured on a CPU**: {record['machine']['cpu']}, "
                f"{record['machine']['cores']} cores, jax {record['versions']['jax']}, "
                f"{record['date']}. [All rows](../benchmarks/{page})."
            )
            yield from map(cpu_table, rows)


def cpu_table(row: dict[str, Any]) -> str:
    """The libraries in one row of a record."""
    lines = []
    for who, it in row["contenders"].items():
        if "median_s" in it:
            times = f"{it['times_floor']:.2f}x" if "times_floor" in it else ""
            scratch = it.get("scratch_bytes")
            mib = "" if scratch is None else f"{scratch / 2**20:.1f}"
            lines.append([who, time(it["median_s"]), times, mib])
    own = row["contenders"].items()
    floors = [who for who, it in own if it.get("times_floor") == 1.0]
    heads = [row["name"], "median", f"relative to {floors[0]}" if floors else ""]
    return table([*heads, "scratch, MiB"], lines)


def time(seconds: float) -> str:
    """Three digits, in a unit that suits them."""
    if seconds >= 1:
        return f"{seconds:.3g} s"
    return f"{1e3 * seconds:.3g} ms" if seconds >= 1e-3 else f"{1e6 * seconds:.3g} µs"


def h100(name: str) -> Iterator[str]:
    """The limits that the GPU compiler's programs have on an H100."""
    rows = [
        row
        for row in read("gpus.json")
        if row["device"] == "H100" and row["face"] == "function"
        if row["what"].split(",")[0] == name and row["generator"] != "rbg"
    ]
    if rows:
        versions = ", ".join(sorted({row["jax"] for row in rows}))
        yield (
            f"**By the compiler for an H100**, jax {versions}; nothing was run. Times "
            "are lower limits, which follow from the bandwidth and the arithmetic that "
            "the compiled program needs. [All rows](../benchmarks/gpus.md)."
        )
        heads = ["program, library", "forward", "relative", "launches", "scratch, KiB"]
        heads += ["forward and backward", "relative"]
        programs = dict.fromkeys(map(program, rows))
        yield table(heads, [h100_line(one, rows) for one in programs])


def program(row: dict[str, Any]) -> tuple[str, ...]:
    """What is compiled, whatever its passes."""
    return row["what"], row["form"], row["who"], row["generator"]


def h100_line(one: tuple[str, ...], rows: Rows) -> list[str]:
    """Both programs of a method and a library."""
    what, form, who, generator = one
    size = next(row["elements"] for row in rows if program(row) == one)
    line = [
        f"{what}, {form}, {size / 1e6:.1f} million elements; {who}"
        + f", {generator} key" * (who != "without")
    ]
    for passes, count in (("forward", 4), ("forward+backward", 2)):
        same = [it for it in rows if it["passes"] == passes]
        own = [it for it in same if program(it) == one]
        floors = [it for it in same if program(it)[:3] == (what, form, "without")]
        line += h100_cells(own[0], floors)[:count] if own else [""] * count
    return line


def h100_cells(row: dict[str, Any], floors: Rows) -> list[str]:
    """What is shown of one program."""
    relative = f"{limit(row) / limit(floors[0]):.2f}x" if floors else ""
    scratch = f"{row['scratch'] / 2**10:,.0f}"
    return [f"{limit(row):.1f} µs", relative, str(row["launches"]), scratch]


def limit(row: dict[str, Any]) -> float:
    """The microseconds that a program takes at least."""
    return sum(row["microseconds"].values())


def tpu(name: str) -> Iterator[str]:
    """What the TPU compiler says of training steps with the method."""
    rows = read("pods.json")
    own = [row for row in rows if row["noise"] == name]
    if own:
        plain = [without(row, rows) for row in own]
        pairs = list(zip(own, plain, strict=True))
        ratios = [row["scratch"] / other["scratch"] for row, other in pairs]
        others = sum(row["talk"] != other["talk"] for row, other in pairs)
        versions = ", ".join(sorted({row["libtpu"] for row in own}))
        chips = sorted({row["chips"] for row in own})
        added = f"other collectives in {others} of them" if others else "no collective"
        yield (
            f"**By the compiler for TPUs**, libtpu {versions}; nothing was run. Over "
            f"{len(own)} training steps on {chips[0]} to {chips[-1]} chips of v5e and "
            f"v6e, the method adds {added}, and the step needs {min(ratios):.2f} to "
            f"{max(ratios):.2f} times the scratch memory of the step without. "
            "[All rows](../benchmarks/pods.md)."
        )


def without(row: dict[str, Any], rows: Rows) -> dict[str, Any]:
    """The same training step without the method."""
    same = ("net", "topology", "model")
    (found,) = (
        it
        for it in rows
        if it["noise"] == "none" and all(it[which] == row[which] for which in same)
    )
    return found
