"""The long battery: python -m tests.battery, or `make battery`.

For each generator: every statistic of `tests/test_statistics.py` over larger masks;
counts over streams of any length, 64 GiB by default; and dieharder, PractRand and
TestU01 where they are installed (see `external.py`). The streams are laid out as masks
use them:

- short: 65,536 words of each of many keys, folded in one after the other, as by the
  layers and steps of a training, end to end;
- long: 2^24 words of each;
- one: all words of a single key, as of a mask of more than 2^32 elements.

What each found is written to a folder, a file each.

    python -m tests.battery --generators fast --layouts one --parts counts --gib 4
"""

import argparse
import itertools
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import jax
import numpy as np

from tests.battery import counts, external, streams

LAYOUTS = {"short": 1 << 16, "long": counts.PART, "one": None}
PARTS = ("own", "counts", "dieharder", "practrand", "testu01")
GIB = (1 << 28) // counts.PART
"""How many parts of 32-bit words are a GiB."""
MOST = 1 << 14
"""A TiB: the parts of a single key's stream."""

Judge = Callable[[str], external.Verdict]


def main() -> int:
    """Runs the parts; the exit code is 1 if a generator fails one."""
    options = _parse()
    options.out.mkdir(parents=True, exist_ok=True)
    options.parts, found = _installed(options.parts, options.out), []
    for name in options.generators:
        if "own" in options.parts:
            found.append(_own_statistics(name, options.side, options.out))
        for layout in options.layouts:
            if "counts" in options.parts:
                found.append(_counts(name, layout, options.gib, options.out))
            found += _external(name, layout, options)
    return int(any(found))


def _own_statistics(name: str, side: int, out: Path) -> bool:
    lines, failed = [], False
    for keep in (0.5, 0.9, 0.99):
        batches = streams.related_keys(streams.GENERATORS[name])
        ps = list(streams.examine(streams.draw, batches, side, keep))
        where, p = min(ps, key=lambda each: each[1])
        failed |= p * len(ps) < external.UNLIKELY
        lines.append(
            f"rate {1 - keep:.2f}: {len(ps)} p-values over masks of {side} x {side}, "
            f"the smallest {p:.3g}, {min(1, p * len(ps)):.3g} of all ({where})"
        )
        print(name, lines[-1], flush=True)
    (out / f"{name}-own.txt").write_text("\n".join(lines) + "\n")
    return failed


def _counts(name: str, layout: str, gib: int, out: Path) -> bool:
    """Judged at each doubling, as PractRand does."""
    battery, lines = list(counts.battery()), []
    for done, words in enumerate(itertools.islice(_words(name, layout), gib * GIB), 1):
        counts.add(battery, words)
        if done & (done - 1) and done != gib * GIB:
            continue
        where, p = counts.worst(battery)
        lines.append(
            f"{done / GIB:g} GiB: {len(battery)} p-values, the smallest {p:.3g}, "
            f"{min(1, p * len(battery)):.3g} of all ({where})"
        )
        print(name, layout, lines[-1], flush=True)
    (out / f"{name}-{layout}-counts.txt").write_text("\n".join(lines) + "\n")
    return p * len(battery) < external.UNLIKELY


def _external(name: str, layout: str, options: argparse.Namespace) -> Iterator[bool]:
    """Pipes the stream to the batteries of other projects."""
    out, parts = options.out, options.parts

    def judge(part: str, command: Sequence[str], verdict: Judge) -> bool:
        path = out / f"{name}-{layout}-{part}.txt"
        found, bad = verdict(external.run(command, _words(name, layout), path))
        print(name, layout, f"{part}: {found}", flush=True)
        return bad

    if "dieharder" in parts:
        yield judge("dieharder", external.DIEHARDER, external.verdict_of_dieharder)
    if "practrand" in parts:
        command = external.practrand(options.gib)
        yield judge("practrand", command, external.verdict_of_practrand)
    for order in external.BIT_ORDERS if "testu01" in parts else ():
        command = (external.testu01(out), options.crush, order)
        yield judge(f"testu01-{order}", command, external.verdict_of_testu01)


def _installed(parts: list[str], out: Path) -> list[str]:
    """The parts without those that are not installed, with a line for each of these."""
    found = {
        "dieharder": shutil.which("dieharder"),
        "practrand": shutil.which("RNG_test"),
        "testu01": "testu01" in parts and external.testu01(out),
    }
    missing = [part for part in parts if not found.get(part, True)]
    for part in missing:
        print(f"{part} is not installed: its part is left out", file=sys.stderr)
    return [part for part in parts if part not in missing]


def _words(name: str, layout: str) -> Iterator[np.ndarray]:
    """The stream of that layout, a part at a time."""
    root, length = jax.random.key(2013, impl=streams.GENERATORS[name]), LAYOUTS[layout]
    if length is None:
        for part in range(MOST):
            yield np.asarray(streams.draw_part(root, part, MOST, counts.PART))
        return
    fold = jax.jit(jax.vmap(jax.random.fold_in, (None, 0)))
    count = counts.PART // length
    for first in itertools.count(0, count):
        keys = fold(root, np.arange(first, first + count, dtype=np.uint32))
        yield np.asarray(streams.draw(keys, (length,)))


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    names, layouts = list(streams.GENERATORS), list(LAYOUTS)
    parser.add_argument(
        "--generators", nargs="*", choices=names, default=["fast", "threefry"]
    )
    parser.add_argument("--layouts", nargs="*", choices=layouts, default=layouts)
    parser.add_argument("--parts", nargs="*", choices=PARTS, default=list(PARTS))
    parser.add_argument(
        "--gib", type=int, default=64, help="of each stream, for counts and PractRand"
    )
    parser.add_argument(
        "--crush", choices=("small", "crush", "big"), default="small", help="of TestU01"
    )
    parser.add_argument("--side", type=int, default=1024, help="of the masks")
    parser.add_argument("--out", type=Path, default=Path("runs/battery"))
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
