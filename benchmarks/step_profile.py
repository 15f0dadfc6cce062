"""Profiles a training step: which loops draw masks, and what they cost.

    python benchmarks/step_profile.py
    python benchmarks/step_profile.py --form unrolled --steps 20

Runs the transformer of the benchmark under JAX's profiler, with and without dropout,
and sums the time of the compiled program's loops: matrix products, element-wise loops,
those that draw masks, and all loops by the shape of their output. The time of a loop is
the wall-clock time reported by the profiler, including other load on the machine.
"""

import argparse
import collections
import functools
import math
import re
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

# Imported first: it reports missing packages.
from sidebyside import contenders as who
from sidebyside import training

# isort: split
import jax
from hlo import Instruction, Module, size_of
from rich.console import Console
from rich.progress import track
from rich.table import Table

DRAWS = "jit(_draw_and_apply)"
# The words of an array's elements, as opposed to those of the layers' keys.
LEAST_WORDS = 2**16
LEAST_MS = 2.0

Cell: TypeAlias = tuple[str, str]
"""A contender, and a kind or shape of loop."""


class Loop(NamedTuple):
    """An instruction of the compiled program.

    Attributes:
      kind: "product", "mask" if it draws one, or "loop".
      shape: the shape of its output.
      threads: the number of partitions.
    """

    kind: str
    shape: str
    threads: int


def main(argv: Sequence[str] | None = None) -> int:
    """Profiles each contender and prints two tables.

    Returns:
      The process's exit code.
    """
    options = _parse(argv)
    net, scanned = training.transformer(768, 12, 128, 8), options.form == "scanned"
    contenders = who.in_training()
    kinds, shapes = collections.Counter[Cell](), collections.Counter[Cell]()
    for name, one in contenders.items():
        step = training.training_step(net, one.drop, options.blocks, scanned=scanned)
        params, x = training.initial(net, options.blocks, scanned=scanned)
        inputs = params, one.key, x
        compiled = jax.jit(step).lower(*inputs).compile()
        times = profile(functools.partial(compiled, *inputs), options.steps, name)
        for loop, (kind, shape, threads) in parse(compiled.as_text()):
            kinds[name, kind] += times[loop]
            if kind != "product":
                shapes[name, f"{shape}, {threads} threads"] += times[loop]
    for title, cells in {"ms per step": kinds, "loops that write": shapes}.items():
        table = Table(title, *contenders)
        rows = {row for name, row in cells}
        found = {row: [cells[name, row] for name in contenders] for row in rows}
        for row, times in sorted(found.items(), key=lambda each: -max(each[1])):
            if max(times) >= LEAST_MS:
                table.add_row(row, *(f"{ms:.1f}" for ms in times))
        Console().print(table)
    return 0


def parse(text: str) -> Iterator[tuple[str, Loop]]:
    """The named instructions of a compiled program that take time."""
    module = Module(text)
    for it in module:
        if it.opcode not in ("fusion", "dot", "convolution"):
            continue
        if it.opcode != "fusion" or "kind=kCustom" in it.attributes:
            kind = "product"
        else:
            kind = "mask" if any(map(_draws, module.called(it.name))) else "loop"
        parts = re.search(r'outer_dimension_partitions":\[([^]]*)]', it.attributes)
        threads = math.prod(map(int, re.findall(r"\d+", parts[1] if parts else "")))
        yield it.name, Loop(kind, it.shape, threads)


def _draws(instruction: Instruction) -> bool:
    """Whether it shifts the random words of an array."""
    shifts = instruction.opcode == "shift-right-logical"
    large = size_of(instruction.shape) >= 4 * LEAST_WORDS
    return shifts and large and DRAWS in instruction.attributes


def profile(run: Callable[[], Any], steps: int, name: str) -> collections.Counter[str]:
    """Milliseconds per step of every event that the profiler reports."""
    jax.block_until_ready(run())
    times: collections.Counter[str] = collections.Counter()
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            for _ in track(range(steps), description=name):
                jax.block_until_ready(run())
        (path,) = Path(folder).rglob("*.xplane.pb")
        for plane in jax.profiler.ProfileData.from_file(str(path)).planes:
            for line in plane.lines:
                for event in line.events:
                    times[event.name] += event.duration_ns / 1e6 / steps
    return times


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--form", choices=("scanned", "unrolled"), default="scanned")
    parser.add_argument("--blocks", type=int, default=2)
    parser.add_argument("--steps", type=int, default=20)
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
