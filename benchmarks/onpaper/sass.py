"""The machine instructions of a kernel, and the pipes of a GPU they occupy."""

import re
from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple

# Opcodes by pipe. That of integers has 16 lanes, as have the two halves of that of
# floats, one of which takes the products of integers; a warp has 32 threads.
_INTEGERS = re.compile(
    r"V?IADD3?|LEA|V?I?ABS(DIFF)?|SGXT|BMSK|FLO|P?LOP3?|SHF|PRMT|[FI]?SEL|[FIH]SETP2?"
    r"|[VFIH]I?MNMX[23]?|VIADDMNMX|FCHK|I2FP|F2FP|P2R|R2P|CS2R|VOTEU?"
)
_FLOATS = re.compile(r"[FH](FMA|ADD|MUL)2?|FSWZADD")
_PRODUCTS = re.compile(r"IMAD")
_WIDE = re.compile(r"IMAD\.(WIDE|HI).*")
_SPECIAL = re.compile(r"MUFU|[IF]2[IF]|FRND|POPC|BREV")

_LABEL = re.compile(r"\s*(\.L_\w+):")
_INSTRUCTION = re.compile(r"\s+/\*[0-9a-f]+\*/\s+(.*?)\s*;")
_PREDICATE = re.compile(r"^@!?U?P[\dT]+\s+")


class Code(NamedTuple):
    """The instructions of a kernel.

    Attributes:
      counts: how many of each opcode there are; a loop's are counted once.
      loops: whether there is a loop.
    """

    counts: Mapping[str, int]
    loops: bool

    @property
    def instructions(self) -> int:
        """How many a thread executes at the most, loops counted once."""
        return sum(count for opcode, count in self.counts.items() if opcode != "NOP")

    def cycles(self) -> dict[str, float]:
        """Cycles for which a warp occupies each pipe of a quarter of a multiprocessor.

        Products of integers whose result has 64 bits count twice.
        """
        products = self._count(_PRODUCTS) + self._count(_WIDE, whole=True)
        return {
            "issue": self.instructions,
            "integers": 2 * self._count(_INTEGERS),
            "floats": max(2 * products, products + self._count(_FLOATS)),
            "special": 8 * self._count(_SPECIAL),
        }

    def _count(self, opcodes: re.Pattern[str], whole: bool = False) -> int:
        """How many there are of opcodes, their modifiers left out unless `whole`."""
        return sum(
            count
            for name, count in self.counts.items()
            if opcodes.fullmatch(name if whole else name.partition(".")[0])
        )


def kernels(disassembly: str) -> dict[str, Code]:
    """The kernels of a file that nvdisasm has printed, by name."""
    sections = disassembly.split("//--------------------- .text.")[1:]
    return {section.split()[0]: _code(section) for section in sections}


def _code(section: str) -> Code:
    labels: dict[str, int] = {}
    lines: list[str] = []
    for line in section.splitlines():
        if label := _LABEL.match(line):
            labels[label[1]] = len(lines)
        elif instruction := _INSTRUCTION.match(line):
            lines.append(_PREDICATE.sub("", instruction[1]))
    # Behind the last exit there is only padding.
    ends = [place for place, line in enumerate(lines) if line.startswith("EXIT")]
    lines = lines[: ends[-1] + 1] if ends else lines
    back = any(_jumps_back(line, place, labels) for place, line in enumerate(lines))
    return Code(Counter(line.split()[0] for line in lines), back)


def _jumps_back(line: str, place: int, labels: Mapping[str, int]) -> bool:
    target = re.match(r"BRA.*?(\.L_\w+)", line)
    return target is not None and labels.get(target[1], place + 1) <= place
