"""Benchmarks dropjax against other libraries.

    python benchmarks/run.py            all rows, as JSON, a table and a figure
    python benchmarks/run.py --quick    a smaller grid, in about two minutes
    python benchmarks/run.py --only "dropout float32*"
    python benchmarks/run.py --only method      methods that other libraries have too
    python benchmarks/run.py --only "real models*"      models of transformers
    python benchmarks/run.py --only "an eager*" --add --out benchmarks/results
    python benchmarks/run.py --versions         the oldest and the newest environments

The contenders of a row are measured alternately in one process, after a warm-up, so
that other load on the machine affects all of them equally. Times are medians with
quartiles; the floor is a jitted `x * c` of the same array. Ctrl-C and SIGTERM keep the
rows completed so far; --add keeps those of earlier runs on the same machine and
versions.

With --versions a few selected rows, or those of --only, run alternately in several
environments and are written to one table. `make bench ARGS=--versions` creates the
environments.

On a GPU the same rows run unattended: calls are queued and awaited in batches, inputs
rotate through more memory than the cache holds, and the achieved bandwidth is reported.
"""

import argparse
import datetime
import difflib
import fnmatch
import functools
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

os.environ["KERAS_BACKEND"] = "jax"

# Imported first: it reports missing packages.
from sidebyside import contenders, memory, report, rows, timing, versions

# isort: split
import output
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
)

HERE = Path(__file__).resolve().parent


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the selected rows and writes the results.

    Returns:
      The exit code of the process: 130 after Ctrl-C, 2 if no row matches or the
      results cannot be written, otherwise 0.
    """
    options = _parse(argv)
    memory.prepare()
    console = Console(stderr=True)
    chosen = _chosen(options)
    if not chosen:
        _tell_absent(console)
        names = [row.name for row in rows.all_rows(quick=options.quick)]
        near = difflib.get_close_matches(options.only, names, 1)
        hint = f"did you mean {near[0]!r}, or" if near else "see"
        console.print(f"No row matches {options.only!r}: {hint} --list.")
        return 2
    if options.list:
        print(*(row.name for row in chosen), sep="\n")
        return 0
    try:
        output.prepare(options.out)
    except OSError as error:
        console.print(f"Cannot write to {options.out}: {error.strerror}.")
        return 2
    if options.versions is not None:
        return _in_environments(chosen, options, console)
    _tell_absent(console)
    results: list[timing.Result] = []
    code, earlier = 0, report.read(options.out) if options.add else None
    try:
        for result in _measured(chosen, options.repeats, console):
            results.append(result)
    except KeyboardInterrupt:
        code = 130
        console.print(f"Stopped: {len(results)} of {len(chosen)} rows are kept.")
    finally:
        _keep(results, earlier, options, console)
    return code


def _tell_absent(console: Console) -> None:
    for name in contenders.absent():
        console.print(f"{name} is not installed and is skipped.")


def _chosen(options: argparse.Namespace) -> list[timing.Row]:
    """The selected rows; with --versions and without --only, a few."""
    several = options.versions is not None and options.only == "*"
    patterns = versions.CHOSEN if several else (options.only,)
    return [
        row
        for row in rows.all_rows(quick=options.quick)
        if options.only == row.group
        or any(fnmatch.fnmatch(row.name, pattern) for pattern in patterns)
    ]


def _in_environments(
    chosen: Sequence[timing.Row], options: argparse.Namespace, console: Console
) -> int:
    """Runs this program for every row in each environment, and writes the results."""
    arguments = ["--quick"] if options.quick else []
    arguments += ["--repeats", str(options.repeats)]
    results: list[list[versions.Measured]] = []
    code = 0
    try:
        for row in chosen:
            results.append(versions.measure(row, options.versions, arguments))
            console.print(f"done: {row.name}")
    except KeyboardInterrupt:
        code = 130
        console.print(f"Stopped: {len(results)} of {len(chosen)} rows are kept.")
    except (OSError, subprocess.CalledProcessError) as error:
        code = 1
        said = getattr(error, "stderr", "")
        console.print(f"Stopped: {error}", said, sep="\n", markup=False)
    if results:
        today = datetime.datetime.now(datetime.UTC).date().isoformat()
        command = _command(options)
        for path in versions.write(options.out, results, command=command, date=today):
            console.print(f"wrote {path}")
    return code


def _keep(
    results: Sequence[timing.Result],
    earlier: report.Earlier | None,
    options: argparse.Namespace,
    console: Console,
) -> None:
    """Writes the completed rows."""
    if results:
        command = _command(options)
        for path in report.write(options.out, results, earlier, command=command):
            console.print(f"wrote {path}")


def _measured(
    chosen: Sequence[timing.Row], repeats: int, console: Console
) -> Iterator[timing.Result]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeElapsedColumn(), console=console) as progress:
        whole = progress.add_task("rows", total=len(chosen))
        part = progress.add_task("", total=None)
        for row in chosen:
            turns = row.repeats or repeats
            progress.reset(part, description=row.name, total=turns)
            tick = functools.partial(progress.advance, part)
            yield timing.measure(row, turns, tick)
            progress.advance(whole)
            if not console.is_terminal:
                console.print(f"done: {row.name}")


def _command(options: argparse.Namespace) -> str:
    """The command that measures the same rows again."""
    words = ["python", "benchmarks/run.py"]
    if options.quick:
        words += ["--quick"]
    if options.only != "*":
        words += ["--only", options.only]
    if options.repeats != _repeats(options):
        words += ["--repeats", str(options.repeats)]
    if options.versions is not None:
        words += ["--versions"]
    flags = os.environ.get("XLA_FLAGS")
    setting = f"XLA_FLAGS={shlex.quote(flags)} " if flags else ""
    return setting + shlex.join(words)


def _repeats(options: argparse.Namespace) -> int:
    return 5 if options.quick else 15


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a smaller grid")
    parser.add_argument("--only", default="*", help="a shell pattern, or a group")
    parser.add_argument("--list", action="store_true", help="list the names of rows")
    parser.add_argument("--repeats", type=int, help="measurements per contender")
    parser.add_argument("--add", action="store_true", help="keep rows of earlier runs")
    parser.add_argument(
        "--versions",
        nargs="*",
        metavar="PYTHON",
        help="interpreters of the environments; by default the oldest and the newest",
    )
    parser.add_argument(
        "--out",
        type=Path,
        help="directory; benchmarks/results for all rows, else runs/benchmarks",
    )
    options = parser.parse_args(argv)
    if options.versions == []:
        options.versions = versions.ENVIRONMENTS
    partial = options.quick or options.only != "*"
    if options.repeats is None:
        options.repeats = _repeats(options)
    if options.out is None:
        options.out = Path("runs/benchmarks") if partial else HERE / "results"
    return options


if __name__ == "__main__":
    # Shells start background processes with SIGINT ignored.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    sys.exit(main())
