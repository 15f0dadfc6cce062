"""The long battery: python -m tests.battery, or `make battery`.

For each generator: every statistic of `tests/test_statistics.py` over larger masks;
counts over streams of any length, 64 GiB unless told; and dieharder (Debian's package
of that name), where it is installed. The streams are laid out as masks use them:

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
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import jax
import numpy as np

from tests.battery import counts, streams

LAYOUTS = {"short": 1 << 16, "long": counts.PART, "one": None}
PARTS = ("own", "counts", "dieharder")
GIB = (1 << 28) // counts.PART
"""How many parts of 32-bit words are a GiB."""
MOST = 1 << 14
"""A TiB: the parts of a single key's stream."""

UNLIKELY = 1e-4
"""The chance that an ideal generator fails a part of the battery."""


def main() -> int:
    """Runs what is asked for; the exit code is 1 where something was found."""
    options = _parse()
    options.out.mkdir(parents=True, exist_ok=True)
    parts, out, found = options.parts, options.out, []
    if "dieharder" in parts and shutil.which("dieharder") is None:
        print("dieharder is not installed: its part is left out", file=sys.stderr)
        parts.remove("dieharder")
    for name in options.generators:
        if "own" in parts:
            found.append(_own_statistics(name, options.side, out))
        for layout in options.layouts:
            if "counts" in parts:
                found.append(_counts(name, layout, options.gib, out))
            if "dieharder" in parts:
                found.append(_dieharder(name, layout, out))
    return int(any(found))


def _own_statistics(name: str, side: int, out: Path) -> bool:
    lines, failed = [], False
    for keep in (0.5, 0.9, 0.99):
        batches = streams.related_keys(streams.GENERATORS[name])
        ps = list(streams.examine(streams.draw, batches, side, keep))
        where, p = min(ps, key=lambda each: each[1])
        failed |= p * len(ps) < UNLIKELY
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
    return p * len(battery) < UNLIKELY


def _dieharder(name: str, layout: str, out: Path) -> bool:
    command = ["dieharder", "-a", "-g", "200", "-k", "2", "-Y", "1"]
    path = out / f"{name}-{layout}-dieharder.txt"
    with path.open("wb") as file:
        test = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=file)
        try:
            for words in _words(name, layout):
                test.stdin.write(words.tobytes())  # type: ignore[union-attr]
        except BrokenPipeError:
            pass  # It has read what it wanted.
        test.wait()
    results = [line for line in path.read_text().splitlines() if line.count("|") == 5]
    verdicts = [line.rsplit("|", 1)[1].strip() for line in results]
    counts = {word: verdicts.count(word) for word in ("PASSED", "WEAK", "FAILED")}
    print(name, layout, "dieharder:", counts, flush=True)
    return counts["FAILED"] > 0


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
    parser.add_argument("--gib", type=int, default=64, help="of each stream's counts")
    parser.add_argument("--side", type=int, default=1024, help="of the masks")
    parser.add_argument("--out", type=Path, default=Path("runs/battery"))
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
