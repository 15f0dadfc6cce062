"""The instructions of optimized HLO, and the memory they use, from its text."""

import math
import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

_BITS = {"pred": 8, "token": 0, "c64": 64, "c128": 128, "bf16": 16}
_SHAPE = re.compile(r"\b(pred|token|bf16|[sufc]\d+\w*)\[([\d,]*)\]")
_HEAD = re.compile(r"(?:ENTRY )?%?([\w.-]+) \(.*\) -> .*\{$")
_LINE = re.compile(r"\s+(ROOT )?%?([\w.-]+) = (.*?) ([\w-]+)\((.*)$")
_SLICES = ("dynamic-slice", "slice", "gather")


class Instruction(NamedTuple):
    """A line of a computation.

    Attributes:
      name: its own.
      shape: its result's, as written.
      opcode: what it does.
      operands: the names of its arguments; a parameter's is its number.
      attributes: what follows the arguments.
    """

    name: str
    shape: str
    opcode: str
    operands: tuple[str, ...]
    attributes: str


class Module:
    """A module's instructions by name, and the computations that they call."""

    def __init__(self, text: str) -> None:
        self._computations: dict[str, dict[str, Instruction]] = {}
        self._home: dict[str, dict[str, Instruction]] = {}
        body: dict[str, Instruction] = {}
        for line in text.splitlines():
            if head := _HEAD.match(line):
                body = self._computations.setdefault(head[1], {})
            elif match := _LINE.match(line):
                found = _instruction(*match.groups()[1:])
                body[found.name] = found
                self._home[found.name] = body

    def __iter__(self) -> Iterator[Instruction]:
        for body in self._computations.values():
            yield from body.values()

    def __contains__(self, name: object) -> bool:
        return name in self._home

    def __getitem__(self, name: str) -> Instruction:
        return self._home[name][name]

    def trips(self, name: str) -> int:
        """How often a loop runs; once, where the compiler does not know."""
        found = re.search(r'"known_trip_count":\{"n":"(\d+)"\}', self[name].attributes)
        return int(found[1]) if found else 1

    def called(self, name: str) -> list[Instruction]:
        """The instructions of a fusion."""
        found = re.search(r"calls=%?([\w.-]+)", self[name].attributes)
        return list(self._computations[found[1]].values()) if found else []

    def operands(self, name: str) -> list[Instruction]:
        """The instructions whose results an instruction takes."""
        body = self._home[name]
        return [body[operand] for operand in self[name].operands if operand in body]

    def results(self, name: str) -> list[str]:
        """The shapes that an instruction writes.

        Bytes behind other results are the scratch memory of a library, left out here.
        """
        found = [f"{kind}[{sizes}]" for kind, sizes in _SHAPE.findall(self[name].shape)]
        scratch = len(found) > 1 and found[-1].startswith(("s8[", "u8["))
        return found[:-1] if scratch else found

    def traffic(self, name: str) -> tuple[float, float]:
        """Bytes that an instruction reads and writes; of a slice, the slice's alone."""
        operands = self.operands(name)
        read = [size_of(operand.shape) for operand in operands]
        written = sum(map(size_of, self.results(name)))
        inner = self.called(name) if self[name].opcode == "fusion" else []
        for parameter in (it for it in inner if it.opcode == "parameter"):
            place = int(parameter.operands[0])
            read[place], less = _part(parameter, inner, read[place])
            written -= less
        unique = {it.name: size for it, size in zip(operands, read, strict=True)}
        return sum(unique.values()), max(written, 0)


def size_of(shape: str) -> float:
    """The bytes of all arrays in a shape."""
    return sum(
        math.prod(int(size) for size in sizes.split(",") if size) * _bits(kind) / 8
        for kind, sizes in _SHAPE.findall(shape)
    )


def _bits(kind: str) -> int:
    if kind in _BITS:
        return _BITS[kind]
    return int(re.sub(r"^[a-z]+(\d+).*$", r"\1", kind))


def _instruction(name: str, shape: str, opcode: str, rest: str) -> Instruction:
    end = _closing(rest)
    inside = rest[:end]
    operands = [inside] if opcode == "parameter" else re.findall(r"%([\w.-]+)", inside)
    return Instruction(name, shape, opcode, tuple(operands), rest[end:])


def _closing(text: str) -> int:
    """Where the parenthesis ends in which a text starts."""
    depth = 1
    for place, character in enumerate(text):
        depth += (character == "(") - (character == ")")
        if depth == 0:
            return place
    return len(text)


def _part(
    parameter: Instruction, body: Sequence[Instruction], whole: float
) -> tuple[float, float]:
    """What a fusion reads of a parameter, and what of it is updated in place."""
    users = list(_users(parameter.name, body))
    if users and all(user.opcode in _SLICES for user in users):
        return min(whole, sum(size_of(user.shape) for user in users)), 0
    for user in users:
        if user.opcode == "dynamic-update-slice" and user.operands[0] == parameter.name:
            (update,) = (it for it in body if it.name == user.operands[1])
            return whole * (len(users) > 1), whole - size_of(update.shape)
    return whole, 0


def _users(name: str, body: Sequence[Instruction]) -> Iterator[Instruction]:
    """Those that take an array, be it in another shape."""
    for user in body:
        if name in user.operands:
            if user.opcode == "bitcast":
                yield from _users(user.name, body)
            else:
                yield user
