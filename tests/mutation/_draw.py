"""Draws the mutants of a file, and keeps what became of them.

A session is a database of Cosmic Ray: the mutants of one version of a file. A new
version inherits the results of all mutants whose function has not changed.
"""

import ast
import math
import random
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from cosmic_ray.commands import init
from cosmic_ray.work_db import WorkDB, use_db
from cosmic_ray.work_item import WorkerOutcome, WorkItem, WorkResult

ROOT = Path(__file__).parents[2]
KEPT = ROOT / "build" / "mutants"
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


def session(file: str, share: float, seed: int) -> Path:
    """The database of a file as it is; drawn where there is none yet."""
    version = git("rev-parse", f"HEAD:{file}")[:10]
    drawn = f"{Path(file).stem}-{version}-{share}-{seed}.sqlite"
    if not (KEPT / drawn).exists():
        with use_db(Path(drawn)) as database:
            _draw(database, file, share, seed)
            _inherit(database, file)
        shutil.move(drawn, KEPT / drawn)
    return KEPT / drawn


def git(*arguments: str) -> str:
    return subprocess.check_output(["git", *arguments], cwd=ROOT, text=True).strip()


def _draw(database: WorkDB, file: str, share: float, seed: int) -> None:
    """Leaves a share of a file's mutants, one at least, and skips the others."""
    init([Path(file)], database, {})
    items = list(database.pending_work_items)
    tree = ast.parse(Path(file).read_text())
    telling = sorted((item for item in items if _tells(item, tree)), key=place)
    count = math.ceil(share * len(telling))
    drawn = random.Random(seed).sample(telling, count)
    print(f"{file}: {count} of {len(telling)} mutants")
    skipped = {item.job_id for item in items} - {item.job_id for item in drawn}
    database.set_multiple_results(list(skipped), SKIPPED)


def _inherit(database: WorkDB, file: str) -> None:
    """Takes the results of equal mutants from the sessions of other versions."""
    known: dict[tuple, WorkResult] = {}
    for other in KEPT.glob(f"{Path(file).stem}-*.sqlite"):
        with use_db(other) as old:
            results = {job: own for job, own in old.results if own != SKIPPED}
            named = _identities(old.work_items, git("show", other.stem.split("-")[1]))
        known |= {named[job]: result for job, result in results.items()}
    named = _identities(database.work_items, Path(file).read_text())
    for item in database.pending_work_items:
        if named[item.job_id] in known:
            database.set_result(item.job_id, known[named[item.job_id]])


def _identities(items: Iterable[WorkItem], code: str) -> dict[str, tuple]:
    """What makes a mutant the same in another version: its place in its function."""
    lines, found, seen = code.splitlines(), {}, Counter()
    starts = [_first_line(node) for node in ast.parse(code).body]
    for item in sorted(items, key=place):
        line, column = item.mutations[0].start_pos
        first = max((start for start in starts if start <= line), default=1)
        last = min((start for start in starts if start > line), default=len(lines) + 1)
        around = "\n".join(lines[first - 1 : last - 1])
        identity = (place(item)[0], around, line - first, column)
        seen[identity] += 1
        found[item.job_id] = (*identity, seen[identity])
    return found


def _first_line(node: ast.stmt) -> int:
    """The line of its first decorator, if it has any."""
    nodes = [node, *getattr(node, "decorator_list", ())]
    return min(own.lineno for own in nodes)


def place(item: WorkItem) -> tuple[str, int]:
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
