"""The performance targets of dropjax, and whether the measured rows meet them."""

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from sidebyside import (
    attention_rows,
    memory,
    method_rows,
    model_rows,
    subset_rows,
    weight_rows,
)
from sidebyside import contenders as who
from sidebyside.timing import Result

SCRATCH_BYTES = 1024
# Keys and alignment: a residual would be a byte per element or more.
RESIDUAL_BYTES = 0.05
OVERHEAD = {"cpu": 0.03, "gpu": 0.02}


@dataclass(frozen=True)
class Verdict:
    """A bar, what was measured in its worst row, and whether it is met."""

    bar: str
    wanted: str
    measured: str
    met: bool | None


class _Speed(NamedTuple):
    """At least so many times faster than flax, at most so many times the floor."""

    bar: str
    contender: str
    dtype: str
    in_cache: bool
    limits: Mapping[str, tuple[float | None, float | None]]


_BIG, _SMALL = "64 MiB and up", "in cache"
_SPEEDS = (
    _Speed(f"threefry key, float32, {_BIG}", who.OURS, "float32", False,
           {"cpu": (5, 1.9), "gpu": (1, None)}),
    _Speed(f"fast key, float32, {_BIG}", who.OURS_FAST, "float32", False,
           {"cpu": (7.5, 1.3), "gpu": (2, 1.1)}),
    _Speed(f"fast key, bfloat16, {_BIG}", who.OURS_FAST, "bfloat16", False,
           {"cpu": (12, 1.4), "gpu": (3, 1.25)}),
    _Speed(f"fast key, float32, {_SMALL}", who.OURS_FAST, "float32", True,
           {"cpu": (5, None), "gpu": (None, None)}),
    _Speed(f"unmodified flax, fast key, float32, {_BIG}", who.FLAX_FAST, "float32",
           False, {"cpu": (4, None), "gpu": (None, None)}),
)  # fmt: skip
# How many times faster than drawing all masks, and what share of its scratch memory.
_EXAMPLES = {
    (0.5, "forward"): (25, 0.01),
    (0.5, "forward+backward"): (12, 0.02),
    (0.3, "forward"): (12, 0.01),
    (0.3, "forward+backward"): (6, 0.02),
}
_WIDE_BYTES = 2**30
# The largest shares of the time and of the FLOPs of the net without dropout.
_LEFT_OUT = {
    (subset_rows.UNITS, 0.1): (1.03, None),
    (subset_rows.UNITS, 0.5): (0.62, 0.56),
    (subset_rows.EXAMPLES, 0.1): (1.03, None),
    (subset_rows.TOKENS, 0.1): (1.03, None),
    (subset_rows.EXAMPLES, 0.4): (0.70, 0.66),
    (subset_rows.TOKENS, 0.4): (0.60, 0.55),
}
_DENSE_LAYERS = 3
# Attention by blocks: the largest shares of the time of Flax's without dropout, and
# with a fast key of our own without dropout; the most scratch memory in MiB; and the
# time to compile, as a multiple of that of one piece.
_ATTENTION = {who.OURS: 0.75, who.OURS_FAST: 0.5}
_ATTENTION_DRAWS = 1.1
_ATTENTION_MIB = {2048: 64, 8192: 256, 32768: 1024}
_ATTENTION_COMPILED = 2
# Shorter sequences are computed in one piece, and should not be slower for that.
_ATTENTION_LONG = 1024
_PIECES = {
    who.OURS: attention_rows.PIECE,
    who.OURS_FAST: attention_rows.PIECE_FAST,
}
_PAIRS = {
    "compile": ((who.OURS, who.FLAX), (who.OURS_FAST, who.FLAX)),
    "eager call": (
        (who.OURS, who.FLAX),
        (who.OURS_FAST, who.FLAX),
        ("dropjax linen", who.FLAX),
        ("dropjax linen, fast key", who.FLAX),
        ("dropjax nnx", who.NNX),
    ),
}


def verdicts(results: Sequence[Result], backend: str) -> list[Verdict]:
    """Every bar that the results can answer, in the order of the project's table.

    Args:
      results: the rows measured.
      backend: "cpu" or "gpu", which have bars of their own.
    """
    return [
        *_speeds(results, backend),
        *_scratch(results),
        *_residuals(results),
        *_overheads(results, backend),
        *_masks_per_example(results),
        *_without_masks(results),
        *_left_out(results),
        *_attention(results),
        *_attention_compiled(results),
        *_no_slower(results),
        *_beside_peers(results),
        *_in_real_models(results),
    ]


def _speeds(results: Sequence[Result], backend: str) -> Iterator[Verdict]:
    forms = itertools.product(
        _SPEEDS, ("forward", "forward+backward"), (memory.FRESH, memory.REUSED)
    )
    for speed, passes, how in forms:
        rows = [
            row
            for row in _group(results, "dropout")
            if row.settings["dtype"] == speed.dtype
            and row.settings["pass"] == passes
            and row.settings["memory"] == how
            and (row.settings["mib"] < 64) == speed.in_cache
        ]
        if rows:
            reused = ", memory reused" if how == memory.REUSED else ""
            yield _speed(f"{speed.bar}, {passes}{reused}", speed, backend, rows)


def _speed(bar: str, speed: _Speed, backend: str, rows: Sequence[Result]) -> Verdict:
    at_least, at_most = speed.limits[backend]
    faster = min(_facts(rows, (speed.contender,), "times_faster"))
    floor = max(_facts(rows, (speed.contender,), "times_floor"))
    flax = max(_facts(rows, (who.FLAX,), "times_floor"))
    wanted, met = [], []
    if at_least is not None:
        wanted.append(f"at least {at_least:g}x flax")
        met.append(faster >= at_least)
    if at_most is not None:
        wanted.append(f"at most {at_most:g}x the floor")
        met.append(floor <= at_most)
    measured = f"{faster:.1f}x flax, {floor:.2f}x the floor (flax {flax:.1f}x)"
    return Verdict(bar, ", ".join(wanted) or "-", measured, all(met) if met else None)


def _scratch(results: Sequence[Result]) -> Iterator[Verdict]:
    rows = _group(results, "dropout")
    for passes in ("forward", "forward+backward"):
        chosen = [row for row in rows if row.settings["pass"] == passes]
        if chosen:
            most = max(_facts(chosen, (who.OURS, who.OURS_FAST), "scratch_bytes"))
            flax = max(_facts(chosen, (who.FLAX,), "scratch_bytes"))
            measured = f"{most} bytes (flax {flax / 2**20:.0f} MiB)"
            wanted = f"at most {SCRATCH_BYTES} bytes"
            bar = f"scratch memory of a dropout, {passes}"
            yield Verdict(bar, wanted, measured, most <= SCRATCH_BYTES)


def _residuals(results: Sequence[Result]) -> Iterator[Verdict]:
    for row in _group(results, "training step"):
        fact = "residual_bytes_per_element"
        most = max(_facts([row], (who.OURS, who.OURS_FAST), fact))
        (flax,) = _facts([row], (who.FLAX,), fact)
        yield Verdict(
            f"residual per element per layer, {_net(row)}",
            "0 bytes",
            f"{most:.2f} bytes (flax {flax:.2f})",
            most <= RESIDUAL_BYTES,
        )


def _overheads(results: Sequence[Result], backend: str) -> Iterator[Verdict]:
    most = OVERHEAD[backend]
    for row in _group(results, "training step"):
        plain = row.contenders[who.NONE]
        noise = (plain["q3_s"] - plain["q1_s"]) / 2 / plain["median_s"]
        flax = row.contenders[who.FLAX]["times_floor"] - 1
        held = row.settings["net"] == "transformer"
        for name in (who.OURS, who.OURS_FAST):
            own = row.contenders[name]["times_floor"] - 1
            # A few percent are not to be told from a plain step that varies by more.
            clear = noise < abs(own - most)
            measured = f"{own:+.1%} (flax {flax:+.1%}, noise {noise:.1%})"
            yield Verdict(
                f"overhead of dropout in a training step, {_net(row)}, {name}",
                f"under {most:.0%}" if held else "-",
                measured if clear or not held else f"{measured}, too noisy to tell",
                own < most if held and clear else None,
            )


def _masks_per_example(results: Sequence[Result]) -> Iterator[Verdict]:
    for row in _group(results, weight_rows.EXAMPLES):
        shape = "x".join(map(str, row.settings["shape"]))
        case = row.settings["rate"], row.settings["pass"]
        if shape == weight_rows.QUICK:
            continue
        for name in (who.OURS, who.OURS_FAST):
            own = row.contenders[name]
            bar = f"mask per example, {shape}, rate {case[0]}, {case[1]}, {name}"
            mib = own["scratch_bytes"] / 2**20
            plain = row.contenders.get(weight_rows.EINSUM)
            if plain is None:
                fits = own["scratch_bytes"] < _WIDE_BYTES
                yield Verdict(bar, "under 1 GiB of scratch", f"{mib:.0f} MiB", fits)
                continue
            least, share = _EXAMPLES[case]
            most = share * plain["scratch_bytes"]
            package = row.contenders.get(weight_rows.PACKAGE, {}).get("median_s")
            beside = package and f", {package / own['median_s']:.0f}x the package"
            yield Verdict(
                bar,
                f"at least {least}x the plain way, {share:.0%} of its scratch",
                f"{own['times_faster']:.1f}x, {mib:.1f} of "
                f"{plain['scratch_bytes'] / 2**20:.0f} MiB{beside or ''}",
                own["times_faster"] >= least and own["scratch_bytes"] <= most,
            )
            if name == who.OURS_FAST:
                yield _beside_the_same_bits(f"{bar}, beside the same bits", row)


def _beside_the_same_bits(bar: str, row: Result) -> Verdict:
    own, plain = (
        row.contenders[name]["median_s"]
        for name in (who.OURS_FAST, weight_rows.EINSUM_FAST)
    )
    measured = f"{_time(own)} against {_time(plain)}"
    return Verdict(bar, "faster than the plain way, fast key", measured, own < plain)


def _without_masks(results: Sequence[Result]) -> Iterator[Verdict]:
    for row in _group(results, weight_rows.GAUSSIAN):
        for name in (weight_rows.NOISE, weight_rows.MOMENTS):
            times = row.contenders[name]["times_floor"]
            yield Verdict(
                f"{name}, {row.settings['pass']}",
                f"at most {_DENSE_LAYERS}x a dense layer",
                f"{times:.2f}x",
                times <= _DENSE_LAYERS,
            )


def _left_out(results: Sequence[Result]) -> Iterator[Verdict]:
    for row in _group(results, subset_rows.GROUP):
        if row.settings["width"] < subset_rows.WIDTH:
            continue
        plain, rate = row.contenders[who.NONE], row.settings["rate"]
        for name in row.contenders:
            if (name, rate) not in _LEFT_OUT:
                continue
            own, (time, flops) = row.contenders[name], _LEFT_OUT[name, rate]
            shares = own["times_floor"], own["flops"] / plain["flops"]
            wanted = f"at most {time:g} of the time of {who.NONE}"
            met = shares[0] <= time
            if flops is not None:
                wanted += f", {flops:g} of its FLOPs"
                met = met and shares[1] <= flops
            measured = f"{shares[0]:.2f}, {shares[1]:.2f} of the FLOPs"
            yield Verdict(f"{row.name}, {name}", wanted, measured, met)


def _attention(results: Sequence[Result]) -> Iterator[Verdict]:
    for row in _group(results, attention_rows.TIMED):
        if row.settings["shape"][1] < _ATTENTION_LONG:
            for name, peer in _PIECES.items():
                yield _beside(row, name, peer, f"not above {peer}")
            continue
        for name, most in _ATTENTION.items():
            share = row.contenders[name]["times_floor"]
            wanted = f"at most {most} of the time of {attention_rows.FLAX_NONE}"
            yield Verdict(f"{row.name}, {name}", wanted, f"{share:.2f}", share <= most)
        names = (who.OURS_FAST, attention_rows.OURS_NONE)
        fast, plain = _facts([row], names, "median_s")
        yield Verdict(
            f"{row.name}, {who.OURS_FAST}",
            f"at most {_ATTENTION_DRAWS} of the time of {attention_rows.OURS_NONE}",
            f"{fast / plain:.2f}",
            fast <= _ATTENTION_DRAWS * plain,
        )


def _attention_compiled(results: Sequence[Result]) -> Iterator[Verdict]:
    for row in _group(results, attention_rows.COMPILED):
        limit = _ATTENTION_MIB.get(row.settings["shape"][1])
        for name, peer in _PIECES.items() if limit else ():
            own, piece = row.contenders[name], row.contenders[peer]
            mib = own["scratch_bytes"] / 2**20
            wanted = f"at most {limit} MiB of scratch"
            yield Verdict(f"{row.name}, {name}", wanted, f"{mib:.0f} MiB", mib <= limit)
            times = own["median_s"] / piece["median_s"]
            yield Verdict(
                f"{row.name}, {name}",
                f"compiled in at most {_ATTENTION_COMPILED}x the time of {peer}",
                f"{times:.2f}x",
                times <= _ATTENTION_COMPILED,
            )


def _no_slower(results: Sequence[Result]) -> Iterator[Verdict]:
    for group, pairs in _PAIRS.items():
        for row in _group(results, group):
            for name, peer in pairs:
                own, other = (row.contenders[who]["median_s"] for who in (name, peer))
                measured = f"{_time(own)} against {_time(other)}"
                bar = f"{row.name}, {name}"
                yield Verdict(bar, f"not above {peer}", measured, own <= other)


def _beside_peers(results: Sequence[Result]) -> Iterator[Verdict]:
    for row in _group(results, method_rows.GROUP):
        work = {who.FLOOR, who.NONE, who.OURS, who.OURS_FAST}
        peers = {name: row.contenders[name] for name in row.contenders.keys() - work}
        peer = min(peers, key=lambda name: peers[name]["median_s"])
        for name in (who.OURS, who.OURS_FAST):
            yield _beside(row, name, peer, f"not above its fastest peer, {peer}")


def _in_real_models(results: Sequence[Result]) -> Iterator[Verdict]:
    for row in _group(results, model_rows.GROUP):
        for name in (who.OURS, who.OURS_FAST):
            yield _beside(row, name, who.FLAX, f"not above {who.FLAX}")


def _beside(row: Result, name: str, peer: str, wanted: str) -> Verdict:
    """Whether a contender is as fast as another, if their quartiles do not overlap."""
    own, other = row.contenders[name], row.contenders[peer]
    met = own["median_s"] <= other["median_s"]
    unclear = not met and own["q1_s"] <= other["q3_s"]
    measured = f"{_time(own['median_s'])} against {_time(other['median_s'])}"
    return Verdict(
        f"{row.name}, {name}",
        wanted,
        f"{measured}, too noisy to tell" if unclear else measured,
        None if unclear else met,
    )


def _group(results: Sequence[Result], group: str) -> list[Result]:
    return [row for row in results if row.group == group]


def _facts(rows: Iterable[Result], names: Sequence[str], fact: str) -> list[Any]:
    return [row.contenders[name][fact] for row in rows for name in names]


def _net(row: Result) -> str:
    return f"{row.settings['net']}, {row.settings['form']}"


def _time(seconds: float) -> str:
    if seconds >= 1:
        return f"{seconds:.2f} s"
    return f"{seconds * 1e3:.1f} ms" if seconds >= 0.01 else f"{seconds * 1e6:.0f} µs"
