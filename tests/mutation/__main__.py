"""Mutation testing of the core: python -m tests.mutation, or `make mutants`.

Cosmic Ray changes one place of the last commit at a time, in a clone, and
`tests/mutation/suite.py` runs the tests near that place. Of each file's mutants a share
is drawn at random. What became of them is kept in `build/mutants/` for as long as the
file does not change, so that a run that was stopped can be continued.

    python -m tests.mutation --share 0.1 --seed 1
    python -m tests.mutation --share 1 --only _random transforms
"""

import argparse
import ast
import contextlib
import math
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

try:
    from cosmic_ray.commands import init
    from cosmic_ray.work_db import WorkDB, use_db
    from cosmic_ray.work_item import TestOutcome, WorkerOutcome, WorkItem, WorkResult
except ModuleNotFoundError as error:
    sys.exit(f"not installed: {error.name}; run pip install '.[mutation]'")

from tests.mutation._fork import KEPT, check, run

ROOT = Path(__file__).parents[2]
MUTATED = [
    "dropjax/_random.py",
    "dropjax/_fast_prng.py",
    "dropjax/_masks.py",
    "dropjax/_apply.py",
    "dropjax/transforms",
    "dropjax/functional",
]
# One replacement for each operator, its nearest: most others raise at once, and their
# deaths would say little.
OTHERS = re.compile(
    r"core/Replace(Binary|Comparison|Unary)Operator_"
    r"(?!(Add_Sub|Sub_Add|Mul_Div|Div_Mul|FloorDiv_Mul|Mod_FloorDiv|Pow_Mul|"
    r"RShift_LShift|LShift_RShift|BitOr_BitAnd|BitAnd_BitOr|BitXor_BitOr|"
    r"Eq_NotEq|NotEq_Eq|Lt_LtE|LtE_Lt|Gt_GtE|GtE_Gt|Is_IsNot|IsNot_Is|Delete_\w+)$)"
)
# What these say changes no result: `zip` checks itself, and masks are drawn where they
# are read or beforehand, more or less at a time.
SILENT = {"strict", "stored", "_SHARERS", "_UNROLLED", "_LONGEST"}
SKIPPED = WorkResult(worker_outcome=WorkerOutcome.SKIPPED)


def main() -> None:
    """Draws mutants where there are none yet, runs what is left, and reports."""
    options = _parse()
    KEPT.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        copies = [Path(folder) / str(job) for job in range(options.jobs)]
        for copy in copies:
            _git("clone", "--quiet", str(ROOT), str(copy))
        os.chdir(copies[0])
        for file in _files(options.only):
            _draw(file, options.share, options.seed)
        databases = [
            stack.enter_context(use_db(_session(file, options.share, options.seed)))
            for file in _files(options.only)
        ]
        for database in databases:
            _run(database, copies, again=options.again, quick=options.quick)
        _report(databases)


def _files(only: list[str]) -> list[str]:
    """The mutated files, or of them those with this name or in a folder of it."""
    files = _git("ls-files", *MUTATED).split()
    own = [set(Path(file).with_suffix("").parts) for file in files]
    asked = [not only or parts.intersection(only) for parts in own]
    return [
        file
        for file, it in zip(files, asked, strict=True)
        if it and not file.endswith("__init__.py")
    ]


def _session(file: str, share: float, seed: int) -> Path:
    """What became of a file's mutants is kept for as long as it does not change."""
    version = _git("rev-parse", f"HEAD:{file}")[:10]
    return KEPT / f"{Path(file).stem}-{version}-{share}-{seed}.sqlite"


def _git(*arguments: str) -> str:
    return subprocess.check_output(["git", *arguments], cwd=ROOT, text=True).strip()


def _run(database: WorkDB, copies: list[Path], *, again: bool, quick: bool) -> None:
    """Runs what has not run yet, and `again` what survived."""
    waiting = list(database.pending_work_items)
    if again:
        done = database.completed_work_items
        waiting += [item for item, result in done if _survived(result)]
    waiting.sort(key=_place)
    if waiting:
        check(waiting[0].mutations[0].module_path, copies[0], quick=quick)
    for item, result in run(waiting, copies, quick=quick):
        database.set_result(item.job_id, result)
        print(*_place(item), result.test_outcome, flush=True)
        if _survived(result):
            print(result.diff, flush=True)


def _draw(file: str, share: float, seed: int) -> None:
    """Leaves a share of a file's mutants, one at least, and skips the others."""
    session = _session(file, share, seed)
    if session.exists():
        return
    tree = ast.parse(Path(file).read_text())
    with use_db(Path("drawn.sqlite")) as database:
        init([Path(file)], database, {})
        items = list(database.pending_work_items)
        telling = sorted((item for item in items if _tells(item, tree)), key=_place)
        count = math.ceil(share * len(telling))
        drawn = random.Random(seed).sample(telling, count)
        skipped = {item.job_id for item in items} - {item.job_id for item in drawn}
        database.set_multiple_results(list(skipped), SKIPPED)
    print(f"{file}: {count} of {len(telling)} mutants")
    shutil.move("drawn.sqlite", session)


def _survived(result: WorkResult) -> bool:
    return result.test_outcome is TestOutcome.SURVIVED


def _place(item: WorkItem) -> tuple[str, int]:
    return item.mutations[0].operator_name, item.mutations[0].occurrence


def _tells(item: WorkItem, tree: ast.AST) -> bool:
    """False in types, for a signature's star, and for what changes no result."""
    mutation = item.mutations[0]
    if OTHERS.match(mutation.operator_name):
        return False
    binary = "BinaryOperator" in mutation.operator_name
    places = _operators(tree) if binary else _silent(tree)
    start = tuple(mutation.start_pos)
    return binary == any(low <= start < high for low, high in places)


def _operators(tree: ast.AST) -> Iterator[tuple]:
    """From where to where each binary operator may be found, but for annotations."""
    nodes = list(ast.walk(tree))
    types = [
        getattr(node, part, None)
        for node in nodes
        for part in ("annotation", "returns")
    ]
    inside = {node for kind in types if kind for node in ast.walk(kind)}
    for node in nodes:
        if isinstance(node, ast.BinOp) and node not in inside:
            yield _end(node.left), _start(node.right)


def _silent(tree: ast.AST) -> Iterator[tuple]:
    for node in ast.walk(tree):
        names = [getattr(node, "arg", None)]
        if isinstance(node, ast.Assign):
            names = [getattr(target, "id", None) for target in node.targets]
        if isinstance(node, ast.keyword | ast.Assign) and SILENT.intersection(names):
            yield _start(node), _end(node)


def _start(node: ast.AST) -> tuple[int, int]:
    return node.lineno, node.col_offset


def _end(node: ast.AST) -> tuple[int, int]:
    return node.end_lineno, node.end_col_offset


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
