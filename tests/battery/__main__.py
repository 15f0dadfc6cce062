"""The long battery: python -m tests.battery, or `make battery`.

Every statistic of `tests/test_statistics.py` over larger masks, and dieharder (Debian's
package of that name), where it is installed, over two streams of each generator:
65,536-word streams of keys folded in one after the other, laid end to end, as the
layers and steps of a training use them, and streams of 2^24 words. What each found is
written to a folder, a file each.

    python -m tests.battery --generators fast --layouts short
"""

import argparse
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import jax
import numpy as np

from tests.battery import streams

LAYOUTS = {"short": 1 << 16, "long": 1 << 24}
CALL = 1 << 24


def main() -> int:
    """Runs what is asked for; the exit code is 1 where something was found."""
    options = _parse()
    options.out.mkdir(parents=True, exist_ok=True)
    found = [
        _own_statistics(name, options.side, options.out) for name in options.generators
    ]
    if shutil.which("dieharder") is None:
        print("dieharder is not installed: its part is left out", file=sys.stderr)
    else:
        found += [
            _dieharder(name, layout, options.out)
            for name in options.generators
            for layout in options.layouts
        ]
    return int(any(found))


def _own_statistics(name: str, side: int, out: Path) -> bool:
    lines, failed = [], False
    for keep in (0.5, 0.9, 0.99):
        batches = streams.related_keys(streams.GENERATORS[name])
        ps = list(streams.examine(streams.draw, batches, side, keep))
        where, p = min(ps, key=lambda each: each[1])
        failed |= p * len(ps) < 1e-4
        lines.append(
            f"rate {1 - keep:.2f}: {len(ps)} p-values over masks of {side} x {side}, "
            f"the smallest {p:.3g}, {min(1, p * len(ps)):.3g} of all ({where})"
        )
        print(name, lines[-1], flush=True)
    (out / f"{name}-own.txt").write_text("\n".join(lines) + "\n")
    return failed


def _dieharder(name: str, layout: str, out: Path) -> bool:
    command = ["dieharder", "-a", "-g", "200", "-k", "2", "-Y", "1"]
    path = out / f"{name}-{layout}-dieharder.txt"
    with path.open("wb") as file:
        test = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=file)
        try:
            for words in _words(name, LAYOUTS[layout]):
                test.stdin.write(words.tobytes())  # type: ignore[union-attr]
        except BrokenPipeError:
            pass  # It has read what it wanted.
        test.wait()
    results = [line for line in path.read_text().splitlines() if line.count("|") == 5]
    verdicts = [line.rsplit("|", 1)[1].strip() for line in results]
    counts = {word: verdicts.count(word) for word in ("PASSED", "WEAK", "FAILED")}
    print(name, layout, "dieharder:", counts, flush=True)
    return counts["FAILED"] > 0


def _words(name: str, length: int) -> Iterator[np.ndarray]:
    """Streams of that many words, of keys folded in one after the other."""
    root, count = jax.random.key(2013, impl=streams.GENERATORS[name]), CALL // length
    fold = jax.jit(jax.vmap(jax.random.fold_in, (None, 0)))
    first = 0
    while True:
        keys = fold(root, np.arange(first, first + count, dtype=np.uint32))
        yield np.asarray(streams.draw(keys, (length,)))
        first += count


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    names, layouts = list(streams.GENERATORS), list(LAYOUTS)
    parser.add_argument(
        "--generators", nargs="*", choices=names, default=["fast", "threefry"]
    )
    parser.add_argument("--layouts", nargs="*", choices=layouts, default=layouts)
    parser.add_argument("--side", type=int, default=1024, help="of the masks")
    parser.add_argument("--out", type=Path, default=Path("runs/battery"))
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
