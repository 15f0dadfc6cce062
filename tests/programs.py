"""What XLA made of a function: the steps of the program, without running it."""

import functools
import math
import re
from typing import NamedTuple

import jax

_COMPUTATION = re.compile(r"^(?:ENTRY )?%?([\w.-]+) \(.*?^\}", re.MULTILINE | re.DOTALL)
_STEP = re.compile(r"\s+(?:ROOT )?%?[\w.-]+ = (\(.*?\)|\S+) ([a-z-]+)\(")
_CALLED = re.compile(r"calls=%?([\w.-]+)")
_APPLIED = re.compile(r"(?:reduce|reduce-window|scatter|sort)\(.*to_apply=%?([\w.-]+)")
# What names values or runs other steps, and computes nothing itself.
_FREE = {"parameter", "constant", "get-tuple-element", "tuple", "bitcast"}
_FREE |= {"while", "call", "conditional"}


class Step(NamedTuple):
    """One instruction that writes an array: a fused loop, a product, a copy.

    Attributes:
      kind: the instruction, as "fusion".
      shape: what it writes, as "f32[4,8]{1,0}".
      size: the elements that it writes.
      body: the instructions of a fused loop, else its own.
    """

    kind: str
    shape: str
    size: int
    body: str

    def count(self, operation):
        return len(re.findall(rf" {operation}\(", self.body))


def compiled(function, *arguments):
    return jax.jit(function).lower(*arguments).compile()


def both_ways(function):
    """A function of (key, *arrays, cotangent): the result and the arrays' gradients."""

    def run(key, *arrays):
        *primals, cotangent = arrays
        y, back = jax.vjp(functools.partial(function, key), *primals)
        return y, back(cotangent)

    return run


def scratch(program):
    """Bytes that a program needs beyond its inputs and outputs."""
    return program.memory_analysis().temp_size_in_bytes


def instructions(program):
    return sum(" = " in line for line in program.as_text().splitlines())


def steps(program, least=1):
    """The steps that write `least` elements or more, those of loops counted once."""
    text = program.as_text()
    bodies = {m.group(1): m.group(0) for m in _COMPUTATION.finditer(text)}
    inner = {*_CALLED.findall(text), *_APPLIED.findall(text)}
    lines = [
        line
        for name, body in bodies.items()
        if name not in inner
        for line in body.splitlines()[1:]
    ]
    found = [_step(line, bodies) for line in lines if _STEP.match(line)]
    return [step for step in found if step.kind not in _FREE and step.size >= least]


def _step(line, bodies):
    shape, kind = _STEP.match(line).groups()
    called = _CALLED.search(line) if kind == "fusion" else None
    sizes = [
        math.prod(int(side) for side in sides.split(",") if side)
        for sides in re.findall(r"\w+\[([\d,]*)\]", shape)
    ]
    body = bodies[called.group(1)] if called else line
    return Step(kind, shape, max(sizes, default=0), body)
