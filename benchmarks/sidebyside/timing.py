"""Measures contenders alternately: time and scratch memory."""

import functools
import gc
import itertools
import math
import random
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax

from sidebyside import memory

MIN_SAMPLE_S = 2e-3
PAUSE_S = 5e-3
MAX_CALLS = 1000
CACHE_BYTES = 256 * 2**20


@dataclass(frozen=True)
class Call:
    """Something to time, ready to run.

    Attributes:
      run: takes no argument and returns the arrays to wait for.
      facts: what is known of it without running it, as the compiler's scratch memory.
    """

    run: Callable[[], Any]
    facts: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Row:
    """One line of the benchmark: contenders that do the same work.

    Attributes:
      name: what is asked for with `--only`.
      group: the table that the row belongs to.
      settings: what was run: dtype, shape, rate, and so on. `memory` says whether
        results take the memory of the call before; see `sidebyside.memory`.
      build: makes the contenders; nothing is allocated before.
      floor: the contender that the others are multiples of, None if there is none.
      baseline: the contender that the others are compared with.
      repeats: turns of each contender, None for the program's own number.
    """

    name: str
    group: str
    settings: Mapping[str, Any]
    build: Callable[[], dict[str, Call]]
    floor: str | None
    baseline: str
    repeats: int | None = None


@dataclass(frozen=True)
class Result:
    """What a row measured; a contender's entry holds times in seconds and its facts.

    `cpu_s` is the time of all processors, which depends less on other work of theirs.
    """

    name: str
    group: str
    settings: Mapping[str, Any]
    contenders: Mapping[str, Mapping[str, float]]
    baseline: str


def measure(row: Row, repeats: int, tick: Callable[[], object]) -> Result:
    """Builds a row's contenders, times them in turns, and relates them.

    Args:
      row: what to run.
      repeats: turns of each contender.
      tick: called after every round of turns.

    Returns:
      The medians and quartiles, the ratios to the floor and to the baseline (how many
      times faster), and the facts of each call.
    """
    memory.choose(row.settings.get("memory", memory.FRESH))
    calls = row.build()
    samples = interleave(
        {name: call.run for name, call in calls.items()}, repeats, tick
    )
    facts = {name: call.facts for name, call in calls.items()}
    del calls
    gc.collect()
    clock = {name: [one.clock for one in taken] for name, taken in samples.items()}
    medians = {name: statistics.median(times) for name, times in clock.items()}
    entries = {}
    for name, times in clock.items():
        low, median, high = _quartiles(times)
        entry = {"median_s": median, "q1_s": low, "q3_s": high, "repeats": len(times)}
        entry["cpu_s"] = statistics.median(one.processors for one in samples[name])
        if row.floor is not None:
            entry["times_floor"] = median / medians[row.floor]
        entry["times_faster"] = medians[row.baseline] / median
        moved = facts[name].get("bytes_moved")
        if moved is not None:
            entry["gb_per_s"] = moved / median / 1e9
        if "flops" in facts[name]:
            entry["tflop_per_s"] = facts[name]["flops"] / median / 1e12
        entries[name] = {**entry, **facts[name]}
    return Result(row.name, row.group, row.settings, entries, row.baseline)


class Seconds(NamedTuple):
    """Seconds per call, of a clock and of all processors."""

    clock: float
    processors: float


def interleave(
    runs: Mapping[str, Callable[[], Any]],
    repeats: int,
    tick: Callable[[], object] = lambda: None,
) -> dict[str, list[Seconds]]:
    """Seconds per call of each run, from samples taken in turns.

    Every round has an order of its own and every turn a pause before it: what a
    contender leaves behind, as threads that spin for a while and memory to be given
    back, must not always fall on the same one.
    """
    batches = {name: _calls_per_sample(run) for name, run in runs.items()}
    samples: dict[str, list[Seconds]] = {name: [] for name in runs}
    order, shuffle = list(runs), random.Random(0).shuffle
    for _ in range(repeats):
        shuffle(order)
        for name in order:
            time.sleep(PAUSE_S)
            samples[name].append(_sample(runs[name], batches[name]))
        tick()
    return samples


def jitted(
    function: Callable[..., Any],
    inputs: Sequence[tuple],
    compiler_options: Mapping[str, Any] | None = None,
    **facts: float,
) -> Call:
    """A compiled call that goes round the inputs, with its scratch memory."""
    lowered = jax.jit(function).lower(*inputs[0])
    compiled = lowered.compile(compiler_options=dict(compiler_options or {}))
    ring = itertools.cycle(inputs)
    facts["scratch_bytes"] = scratch(compiled)
    return Call(lambda: compiled(*next(ring)), facts)


def both_ways(function: Callable[..., jax.Array]) -> Callable[..., Any]:
    """A function of (key, *arrays, cotangent): the result and the arrays' gradients."""

    def run(key: Any, *arrays: Any) -> Any:
        *primals, cotangent = arrays
        y, pull = jax.vjp(functools.partial(function, key), *primals)
        return y, pull(cotangent)

    return run


def scratch(compiled: jax.stages.Compiled) -> int:
    """Bytes that a program needs beyond its inputs and outputs."""
    return compiled.memory_analysis().temp_size_in_bytes


def input_sets(nbytes: int) -> int:
    """How many sets of inputs to go round: on a GPU, more than its cache holds."""
    return 1 if _on_cpu() else max(2, math.ceil(CACHE_BYTES / nbytes) + 1)


def _calls_per_sample(run: Callable[[], Any]) -> int:
    _sample(run, 1)
    return min(MAX_CALLS, math.ceil(MIN_SAMPLE_S / _sample(run, 1).clock))


def _sample(run: Callable[[], Any], calls: int) -> Seconds:
    # Queued calls of the CPU backend overlap on several cores, those of a GPU do not,
    # and there the wait would be what is timed.
    each = _on_cpu()
    start = Seconds(time.perf_counter(), time.process_time())
    for _ in range(calls):
        out = run()
        if each:
            jax.block_until_ready(out)
    jax.block_until_ready(out)
    end = Seconds(time.perf_counter(), time.process_time())
    return Seconds(*((b - a) / calls for a, b in zip(start, end, strict=True)))


def _quartiles(times: Sequence[float]) -> tuple[float, float, float]:
    if len(times) == 1:
        return times[0], times[0], times[0]
    low, median, high = statistics.quantiles(times, method="inclusive")
    return low, median, high


def _on_cpu() -> bool:
    return jax.default_backend() == "cpu"
