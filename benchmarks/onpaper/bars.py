"""Limits for compiled GPU programs, and whether a row exceeds them."""

from collections.abc import Iterator, Mapping
from typing import Any

OWN, SHARED, BLOCKS, OTHER = "a coin an element", "shared coins", "blocks", "other"

# Scratch memory, in bytes; where coins are shared and stored, for each element too.
SCRATCH = 2**16
COINS = 0.02
# A training step's scratch memory, as a multiple of what it takes without dropout.
STEP = 1.01
# Launches of a step beside flax's, once: room is made for the keys that a scan keeps.
STARTS = 2
# Of DropConnect per example at a rate of 0.5 and 128 x 800 x 800, at which no word is
# drawn twice: launches forward and both ways, and scratch memory.
EXAMPLES = (6, 14, 12.5 * 2**20)
# Launches of attention in blocks, as a multiple of those without dropout. XLA computes
# what the rows and the columns of a block add to an index in launches of their own,
# once a block has many mask values.
BLOCK_LAUNCHES = 1.6

Row = Mapping[str, Any]


def of_method(kind: str, row: Row, plain: Row) -> Iterator[str]:
    """Where a method needs more launches or memory than its kind should.

    Args:
      kind: who shares a coin.
      row: the method's report.
      plain: that of the same work without it.

    Yields:
      A sentence for each.
    """
    launches = plain["launches"] * (2 if kind == SHARED else 1)
    scratch = SCRATCH + (COINS * row["elements"] if kind == SHARED else 0)
    yield from _above("launches", row["launches"], launches)
    yield from _above("bytes of scratch memory", row["scratch"], scratch)
    if kind == OWN and row["stored"]:
        yield f"stores {', '.join(row['stored'])}"


def of_blocks(row: Row, plain: Row) -> Iterator[str]:
    """Where attention in blocks stores masks, or does not multiply on tensor cores."""
    most = BLOCK_LAUNCHES * plain["launches"]
    yield from _above("launches", row["launches"], most)
    if row["stored"]:
        yield f"stores {', '.join(row['stored'])}"
    loops = [product for product in row["products"] if product.startswith("loop")]
    if loops:
        yield f"multiplies in {', '.join(loops)}"


def of_step(row: Row, plain: Row, flax: Row) -> Iterator[str]:
    """Where a training step stores masks, or starts more kernels than flax's."""
    most = STEP * plain["scratch"]
    yield from _above("bytes of scratch memory", row["scratch"], most)
    yield from _above("launches", row["launches"], flax["launches"] + STARTS)


def of_examples(row: Row, passes: int) -> Iterator[str]:
    """Where DropConnect per example is a loop of launches, or stores masks.

    Args:
      row: its report.
      passes: 1, or 2 both ways.
    """
    yield from _above("launches", row["launches"], EXAMPLES[passes - 1])
    yield from _above("bytes of scratch memory", row["scratch"], EXAMPLES[-1])


def _above(what: str, found: float, most: float) -> Iterator[str]:
    if found > most:
        yield f"{found:,} {what}, more than {most:,.0f}"
