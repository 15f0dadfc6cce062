"""Mutation testing of the core: python -m tests.mutation, or `make mutants`.

Cosmic Ray changes one place of the last commit at a time, in a clone, and
`tests/mutation/suite.py` runs the tests near that place. Of each file's mutants a share
is drawn at random. What became of them is kept in `build/mutants/` for as long as their
function does not change, so that a run that was stopped can be continued.

    python -m tests.mutation --share 0.1 --seed 1
    python -m tests.mutation --share 1 --only _random transforms
"""

import argparse
import contextlib
import math
import os
import sys
import tempfile
from pathlib import Path

try:
    from cosmic_ray.work_db import WorkDB, use_db
    from cosmic_ray.work_item import TestOutcome, WorkResult
except ModuleNotFoundError as error:
    sys.exit(f"not installed: {error.name}; run pip install '.[mutation]'")

from tests.mutation._draw import KEPT, ROOT, SKIPPED, git, place, session
from tests.mutation._fork import check, run

MUTATED = [
    "dropjax/_random.py",
    "dropjax/_fast_prng.py",
    "dropjax/_masks.py",
    "dropjax/_apply.py",
    "dropjax/transforms",
    "dropjax/functional",
]


def main() -> None:
    """Draws mutants where there are none yet, runs what is left, and reports."""
    options = _parse()
    KEPT.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        copies = [Path(folder) / str(job) for job in range(options.jobs)]
        for copy in copies:
            git("clone", "--quiet", str(ROOT), str(copy))
        os.chdir(copies[0])
        databases = [
            stack.enter_context(use_db(session(file, options.share, options.seed)))
            for file in _files(options.only)
        ]
        for database in databases:
            _run(database, copies, again=options.again, quick=options.quick)
        _report(databases)


def _files(only: list[str]) -> list[str]:
    """The mutated files, or of them those with this name or in a folder of it."""
    files = git("ls-files", *MUTATED).split()
    own = [set(Path(file).with_suffix("").parts) for file in files]
    asked = [not only or parts.intersection(only) for parts in own]
    return [
        file
        for file, it in zip(files, asked, strict=True)
        if it and not file.endswith("__init__.py")
    ]


def _run(database: WorkDB, copies: list[Path], *, again: bool, quick: bool) -> None:
    """Runs what has not run yet, and `again` what survived."""
    waiting = list(database.pending_work_items)
    if again:
        done = database.completed_work_items
        waiting += [item for item, result in done if _survived(result)]
    waiting.sort(key=place)
    if waiting:
        check(waiting[0].mutations[0].module_path, copies[0], quick=quick)
    for item, result in run(waiting, copies, quick=quick):
        database.set_result(item.job_id, result)
        print(*place(item), result.test_outcome, flush=True)
        if _survived(result):
            print(result.diff, flush=True)


def _survived(result: WorkResult) -> bool:
    return result.test_outcome is TestOutcome.SURVIVED


def _report(databases: list[WorkDB]) -> None:
    """All that survived, and the share killed with a 95% interval (Wilson's)."""
    killed, total = 0, 0
    for database in databases:
        results = [own for _, own in database.results if own != SKIPPED]
        survivors = [own for own in results if _survived(own)]
        print(*(own.diff for own in survivors), sep="\n")
        path = next(iter(database.work_items)).mutations[0].module_path
        print(f"{path}: {len(results) - len(survivors)} of {len(results)} killed")
        killed += len(results) - len(survivors)
        total += len(results)
    low, high = _interval(killed, total)
    print(f"{killed} of {total} killed, {killed / total:.1%} ({low:.1%} to {high:.1%})")


def _interval(count: int, total: int, z: float = 1.96) -> tuple[float, float]:
    share, spread = count / total, z**2 / total
    middle = share + spread / 2
    radius = z * math.sqrt((share * (1 - share) + spread / 4) / total)
    return (middle - radius) / (1 + spread), (middle + radius) / (1 + spread)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--share", type=float, default=0.1, help="of each file's mutants"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--only", nargs="*", default=[], help="names of files or of their folders"
    )
    parser.add_argument(
        "--quick", action="store_true", help="runs one test file, to begin with"
    )
    parser.add_argument(
        "--again", action="store_true", help="runs those that survived once more"
    )
    parser.add_argument("--jobs", type=int, default=2, help="how many run at a time")
    return parser.parse_args()


if __name__ == "__main__":
    main()
