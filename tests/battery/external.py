"""Batteries of other projects, where they are installed; they read words from a pipe.

- dieharder: Debian's package of that name;
- PractRand: its program `RNG_test` on the PATH;
- TestU01: a program `testu01` on the PATH, with the arguments of `testu01.c`, which is
  compiled otherwise, if there are a C compiler and TestU01's headers and libraries.
"""

import contextlib
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

Verdict = tuple[str, bool]
"""What a battery found, and whether the generator fails."""

UNLIKELY = 1e-4
"""The probability that an ideal generator fails a part of the battery."""

DIEHARDER = ("dieharder", "-a", "-g", "200", "-k", "2", "-Y", "1")
DRIVER = Path(__file__).with_name("testu01.c")
LIBRARIES = ("-ltestu01", "-lprobdist", "-lmylib", "-lm")
BIT_ORDERS = ("forward", "reversed")


def practrand(gib: int) -> tuple[str, ...]:
    """PractRand's core set, at each doubling of the length up to so many GiB."""
    return ("RNG_test", "stdin32", "-tlmin", "1MB", "-tlmax", f"{gib}GB")


def testu01(folder: Path) -> str | None:
    """The path of the program, which is compiled if there is none on the PATH."""
    found, compiler = shutil.which("testu01"), shutil.which("cc")
    if found or compiler is None:
        return found
    compiled = folder / "testu01"
    command = [compiler, "-O2", "-o", compiled, DRIVER, *LIBRARIES]
    failed = subprocess.run(command, capture_output=True).returncode
    return None if failed else str(compiled)


def run(command: Sequence[str], words: Iterable[np.ndarray], out: Path) -> str:
    """Writes words to a program for as long as it reads, and returns what it printed.

    They are 32-bit and little-endian. The file `out` keeps what was printed; nothing is
    returned of a program that was killed.
    """
    with out.open("wb") as file:
        test = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=file)
        assert test.stdin is not None
        # A broken pipe: the program has read what it wanted.
        with contextlib.suppress(BrokenPipeError), test.stdin:
            for part in words:
                test.stdin.write(part.astype("<u4").tobytes())
        killed = test.wait() < 0
    return "" if killed else out.read_text()


def verdict_of_dieharder(output: str) -> Verdict:
    results = [line for line in output.splitlines() if line.count("|") == 5]
    counts = Counter(line.rsplit("|", 1)[1].strip() for line in results)
    return _said(counts) if results else "nothing", not results or "FAILED" in counts


def verdict_of_practrand(output: str) -> Verdict:
    """One unusual or suspicious result among thousands is to be expected."""
    lengths = re.findall(r"^length= (.+?) \(", output, re.MULTILINE)
    evaluations = r"unusual|(?:mildly |very )?suspicious|fail"
    counts = Counter(re.findall(evaluations, output.lower()))
    bad = not lengths or "fail" in counts or "very suspicious" in counts
    return f"{lengths[-1]}: {_said(counts)}" if lengths else "nothing", bad


def verdict_of_testu01(output: str) -> Verdict:
    """TestU01 lists the p-values outside of [0.001, 0.999]."""
    count = re.search(r"Number of statistics: +(\d+)", output)
    if count is None:
        return "nothing", True
    listed = re.findall(r"^ *\d+ +\w.*? {2,}(\S.*)$", output, re.MULTILINE)
    smallest = min(map(_p_value, listed), default=1.0)
    said = f"{count[1]} statistics, extreme: {', '.join(listed) or 'none'}"
    return said, smallest * int(count[1]) < UNLIKELY


def _p_value(text: str) -> float:
    """The distance from 0 or 1, as TestU01 writes it: 5.0e-4, 0.9995, eps, 1 - eps1."""
    text = text.removeprefix("1 -").strip()
    p = 0.0 if text.startswith("eps") else float(text)
    return 2 * min(p, 1 - p)


def _said(counts: Counter[str]) -> str:
    return ", ".join(f"{n} {word}" for word, n in counts.items()) or "no anomalies"
