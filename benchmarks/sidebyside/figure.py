"""The figure of dropout compared with reading and writing the array."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from sidebyside import contenders as who
from sidebyside.timing import Result

LABELS = {
    who.FLOOR: "x * c",
    who.OURS_FAST: "dropjax, fast key",
    who.OURS: "dropjax",
    "torch": "torch",
    "equinox": "equinox",
    "haiku": "haiku",
    "keras": "keras (JAX)",
    who.FLAX: "flax",
}
WORDS = (
    "fast key: a key of the generator dropjax.fast_prng; fresh memory: results take "
    "new pages, which the system clears first; reused: they take those of the call "
    "before"
)
OURS, FLOOR, OTHERS = "#1f6f8b", "#444444", "#c3cbd1"


def draw(path: Path, results: Sequence[Result], source: str) -> list[Path]:
    """Draws the forward pass over 64 MiB, one panel per dtype.

    Args:
      path: where to write the figure.
      results: the rows measured.
      source: the machine, the versions and the date, for the foot of the figure.

    Returns:
      The path, or nothing where the rows that it shows were not measured.
    """
    shown = [row for row in results if _is_shown(row)]
    if not shown:
        return []
    figure, axes = plt.subplots(
        1, len(shown), figsize=(3.4 * len(shown), 3.3), sharey=True, squeeze=False
    )
    for ax, row in zip(axes[0], shown, strict=True):
        _panel(ax, row)
    axes[0, 0].invert_yaxis()
    figure.suptitle(
        "Time of a dropout at rate 0.1, forward pass, as a multiple of a jitted x * c "
        "(shorter is better)",
        fontsize=12,
    )
    figure.text(0.5, 0.01, f"{WORDS}\n{source}", ha="center", fontsize=7)
    figure.tight_layout(rect=(0, 0.06, 1, 1))
    figure.savefig(path, dpi=160, facecolor="white")
    plt.close(figure)
    return [path]


def _is_shown(row: Result) -> bool:
    if row.group != "dropout":
        return False
    settings = row.settings
    forward = settings["pass"] == "forward"
    return forward and settings["mib"] == 64 and settings["rate"] == 0.1


def _panel(ax: Axes, row: Result) -> None:
    names = [name for name in LABELS if name in row.contenders]
    values = [row.contenders[name]["times_floor"] for name in names]
    colors = [
        OURS if "dropjax" in name else FLOOR if name == who.FLOOR else OTHERS
        for name in names
    ]
    drawn = ax.barh([LABELS[name] for name in names], values, color=colors)
    ax.bar_label(drawn, [f"{value:.1f}x" for value in values], padding=3, fontsize=8)
    title = f"{row.settings['dtype']}, 64 MiB, {row.settings['memory']} memory"
    ax.set_title(title, fontsize=9)
    ax.set_xlim(0, 1.15 * max(values))
    ax.tick_params(left=False, labelsize=9)
    ax.xaxis.set_visible(False)
    ax.spines[["top", "right", "bottom"]].set_visible(False)
