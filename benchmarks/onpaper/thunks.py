"""The launches of a GPU program, from XLA's dumped list of thunks."""

import math
import re
from collections.abc import Iterator
from typing import NamedTuple

from hlo import Module

_LINE = re.compile(r"(\s*)(\d+): k(\w+) +\[.*?\] *(\S*)(.*)$")
_GRID = re.compile(r"grid: \[(\d+), (\d+), (\d+)\] threads: \[(\d+), (\d+), (\d+)\]")
# What starts nothing itself, but holds others or waits for them.
_HOLDERS = {
    "While",
    "AsyncStart",
    "AsyncDone",
    "CommandBuffer",
    "Sequential",
    "DynamicSliceFusion",
    "Conditional",
}


class Launch(NamedTuple):
    """A kernel, a copy or a call of a library.

    Attributes:
      kernel: its name in the machine code.
      kind: such as "CustomKernel" or "CublasLtMatmul".
      instruction: its name in the HLO.
      threads: how many.
      times: how often it is started, loops counted.
    """

    kernel: str
    kind: str
    instruction: str
    threads: int
    times: int


def instructions(metadata: str) -> dict[int, str]:
    """The HLO instruction of each thunk, by its number."""
    found = {}
    for block in metadata.split("thunk_metadata {"):
        name = re.search(r'profile_annotation: "([^"]+)"', block)
        number = re.search(r"thunk_id: (\d+)", block)
        if name and number:
            found[int(number[1])] = name[1]
    return found


def launches(sequence: str, metadata: str, module: Module) -> Iterator[Launch]:
    """All launches of a program, those of a loop with its number of rounds.

    Args:
      sequence: the dumped thunk_sequence.txt.
      metadata: the dumped thunk_metadata.txt.
      module: the optimized HLO, which knows the rounds.

    Yields:
      Launches, in order.
    """
    names = instructions(metadata)
    inside = [(-1, 1, "")]
    for match in filter(None, map(_LINE.match, sequence.splitlines())):
        indent, kind = len(match[1]), match[3]
        inside = [outer for outer in inside if outer[0] < indent]
        _, times, holder = inside[-1]
        # A slice and what takes it are one instruction, a fusion.
        name = names.get(int(match[2]), holder)
        if kind == "While":
            rounds = module.trips(name) if name in module else 1
            inside.append((indent, times * rounds, ""))
        elif kind in _HOLDERS:
            inside.append((indent, times, name))
        else:
            grid = _GRID.search(match[5])
            threads = math.prod(map(int, grid.groups())) if grid else 0
            yield Launch(match[4], kind, name, threads, times)
