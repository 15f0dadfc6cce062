"""Mutation testing of the core: python -m tests.mutation, or `make mutants`.

Cosmic Ray changes one place of the last commit at a time, in a clone, and
`tests/mutation/suite.py` runs the tests near that place. Of each file's mutants a share
is drawn at random. What became of them is kept in `build/mutants/`: where a run was
cut, the next goes on.

    python -m tests.mutation --share 0.1 --seed 1
"""

import argparse
import ast
import collections
import functools
import math
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

try:
    from cosmic_ray.work_db import WorkDB, use_db
    from cosmic_ray.work_item import TestOutcome, WorkerOutcome, WorkItem, WorkResult
except ModuleNotFoundError as error:
    sys.exit(f"not installed: {error.name}; run pip install '.[mutation]'")

ROOT = Path(__file__).parents[2]
CONFIG = "tests/mutation/cosmic_ray.toml"
KEPT = ROOT / "build" / "mutants"
# What these say changes no result: `zip` checks itself, and coins are drawn where they
# are read or beforehand, more or less at a time.
SILENT = {"strict", "stored", "_SHARERS", "_UNROLLED", "_LONGEST"}
SKIPPED = WorkResult(worker_outcome=WorkerOutcome.SKIPPED)


def main() -> None:
    """Draws mutants where there are none yet, runs what is left, and reports."""
    options = _parse()
    commit = _run("git", "rev-parse", "--short", "HEAD", cwd=ROOT)
    session = KEPT / f"{commit}-{options.share}-{options.seed}.sqlite"
    KEPT.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        _run("git", "clone", "--quiet", ROOT, copy, cwd=ROOT)
        if not session.exists():
            drawn = copy / "session.sqlite"
            _run("cosmic-ray", "init", CONFIG, drawn, cwd=copy)
            _run("cr-filter-operators", drawn, CONFIG, cwd=copy)
            with use_db(drawn) as database:
                _draw(database, copy, options.share, options.seed)
            drawn.rename(session)
        _run("cosmic-ray", "exec", CONFIG, session, cwd=copy)
    with use_db(session) as database:
        _report(database)


def _run(*command: str | Path, cwd: Path) -> str:
    """Runs a command with this interpreter's tools first, and compiled code kept."""
    own = {
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        "PYTHONPATH": "",
        "JAX_COMPILATION_CACHE_DIR": str(KEPT / "compiled"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }
    env = {**os.environ, **own}
    return subprocess.check_output(command, cwd=cwd, env=env, text=True).strip()


def _draw(database: WorkDB, copy: Path, share: float, seed: int) -> None:
    """Leaves a share of each file's mutants, one at least, and skips the others."""
    by_file = collections.defaultdict(list)
    for item in database.pending_work_items:
        by_file[item.mutations[0].module_path].append(item)
    generator, skipped = random.Random(seed), []
    for path, items in sorted(by_file.items()):
        tells = functools.partial(_tells, tree=ast.parse((copy / path).read_text()))
        telling = sorted(filter(tells, items), key=_place)
        drawn = generator.sample(telling, math.ceil(share * len(telling)))
        print(f"{path}: {len(drawn)} of {len(telling)} mutants")
        skipped += [item.job_id for item in items if item not in drawn]
    database.set_multiple_results(skipped, SKIPPED)


def _place(item: WorkItem) -> tuple[str, int]:
    return item.mutations[0].operator_name, item.mutations[0].occurrence


def _tells(item: WorkItem, tree: ast.AST) -> bool:
    """False in types, for a signature's star, and for what changes no result."""
    mutation = item.mutations[0]
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


def _report(database: WorkDB) -> None:
    """The share killed, with a 95% interval (Wilson's), and all that survived."""
    killed, total = collections.Counter(), collections.Counter()
    paths = {item.job_id: item.mutations[0].module_path for item in database.work_items}
    for job, result in database.results:
        if result.worker_outcome is WorkerOutcome.SKIPPED:
            continue
        survived = result.test_outcome is TestOutcome.SURVIVED
        total[paths[job]] += 1
        killed[paths[job]] += not survived
        if survived:
            print(result.diff)
    for path in sorted(total):
        print(f"{path}: {killed[path]} of {total[path]} killed")
    low, high = _interval(killed.total(), total.total())
    print(
        f"{killed.total()} of {total.total()} killed, "
        f"{killed.total() / total.total():.1%} ({low:.1%} to {high:.1%})"
    )


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
    return parser.parse_args()


if __name__ == "__main__":
    main()
