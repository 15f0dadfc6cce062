"""The results on a UCI data set: a JSON file, a Markdown table and a picture."""

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from ml_collections import ConfigDict
from rich.table import Table

from training import curves, machine, reporting, workdir
from training.uci_nets import Choice, State

_PUBLISHED = Path(__file__).with_name("uci_published.json")
_QUANTITIES = {"rmse": "test RMSE", "ll": "test log-likelihood"}
_MEAN = {f"mean_{name}": f"{text}, mean network" for name, text in _QUANTITIES.items()}
_SHOWN = (*_QUANTITIES.values(), *_MEAN.values())
_HEADER = ("method", "epochs", *_SHOWN, "rates: inputs, hidden", "tau")
_DIGITS = 4

Row = dict[str, Any]


def rows(config: ConfigDict, method: str, state: State) -> list[Row]:
    """Summarize the final networks of a method, at each number of epochs.

    Args:
      config: the settings.
      method: the method.
      state: the state of the networks; the grid has a point for each length scale of
        concrete dropout, and for each stop of the other methods.

    Returns:
      The rows.
    """
    stops = range(len(config.epochs))
    lengths = config.length_scales if method == "concrete" else (config.length_scale,)
    points = [(stop, stop, lengths[0]) for stop in stops]
    if method == "concrete":
        points = [(stop, *it) for it in enumerate(lengths) for stop in stops]
    scores = {name: np.asarray(it) for name, it in state.scores.items()}
    return [
        {
            "method": method,
            "epochs": config.epochs[stop],
            "length_scale": length,
            **{name: _summary(it[stop, :, at], config) for name, it in scores.items()},
            **_seconds(state),
        }
        for stop, at, length in points
    ]


def _summary(values: np.ndarray, config: ConfigDict) -> dict[str, Any]:
    """The mean over splits and its standard error, and the value of each run."""
    runs = values.reshape(config.splits, config.seeds).astype(float)
    means = runs.mean(1)
    return {
        "mean": round(float(means.mean()), _DIGITS),
        "error": round(float(means.std() / len(means) ** 0.5), _DIGITS),
        "splits": [round(it, _DIGITS) for it in means.tolist()],
        **({"runs": runs.round(_DIGITS).tolist()} if config.seeds > 1 else {}),
    }


def search(config: ConfigDict, grid: Choice, state: State) -> dict[str, Any]:
    """Summarize the search of a method on the validation rows.

    Args:
      config: the settings.
      grid: the points of the grid.
      state: the state of the networks.

    Returns:
      The points with the mean error and log-likelihood over all runs, and how many runs
      chose them, at each number of epochs.
    """
    scores = {name: np.asarray(it, float) for name, it in state.scores.items()}
    best = scores["ll"].argmax(-1)
    points = [
        {
            **{name: _number(it[point]) for name, it in grid._asdict().items()},
            "rmse": scores["rmse"][:, :, point].mean(1).round(_DIGITS).tolist(),
            "ll": scores["ll"][:, :, point].mean(1).round(_DIGITS).tolist(),
            "chosen": (best == point).sum(1).tolist(),
        }
        for point in range(len(grid.rate))
    ]
    return {"epochs": list(config.epochs), "grid": points, **_seconds(state)}


def _number(value: np.floating) -> float | None:
    return None if np.isnan(value) else round(float(value), _DIGITS)


def _seconds(state: State) -> dict[str, int]:
    wall, cpu = (round(float(it)) for it in state.seconds)
    return {"seconds": wall, "cpu_seconds": cpu}


def result(
    config: ConfigDict,
    shape: tuple[int, ...],
    rows: list[Row],
    searches: dict[str, Any],
) -> dict[str, Any]:
    """Return the content of uci.json.

    Args:
      config: the settings.
      shape: examples and features of the data set.
      rows: the rows of all methods.
      searches: the searches of methods that have one.

    Returns:
      These, the published figures, the machine and the versions.
    """
    return {
        **machine.provenance(),
        "config": config.to_dict(),
        "examples": shape[0],
        "features": shape[1],
        "rows": rows,
        "searches": searches,
        "published": json.loads(_PUBLISHED.read_text())[config.dataset],
    }


def markdown(result: dict[str, Any]) -> str:
    """Return the tables of uci.md.

    Args:
      result: the content of uci.json.

    Returns:
      A table of means and standard errors over the splits, with published figures, and
      one of differences: from no dropping, and from published results on the same
      splits.
    """
    lines = [_HEADER, ("---",) * len(_HEADER), *_cells(result)]
    text = _table(lines)
    if differences := list(_differences(result)):
        header = ("difference on the same splits", *_QUANTITIES.values())
        text += "\n" + _table([header, ("---",) * len(header), *differences])
    return text


def _table(lines: list[tuple[str, ...]]) -> str:
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _cells(result: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    for row in result["rows"]:
        rates = [row[name]["mean"] for name in ("input_rate", "hidden_rate")]
        drops = row["method"] != "none"
        yield (
            _name(row),
            f"{row['epochs']:,}",
            *(_plus_minus(row[name]) for name in _QUANTITIES),
            *(_plus_minus(row[name]) if drops else "" for name in _MEAN),
            ", ".join(f"{rate:.3f}" for rate in rates) if drops else "",
            f"{row['tau']['mean']:.3f}",
        )
    for row in result["published"]:
        means = (_plus_minus(row[name]) for name in _QUANTITIES)
        yield f"dropout: {row['name']}", f"{row['epochs']:,}", *means, "", "", "", ""


def _name(row: Row) -> str:
    if row["method"] != "concrete":
        return row["method"]
    return f"concrete dropout, l = {row['length_scale']:g}"


def _plus_minus(values: dict[str, Any]) -> str:
    return f"{values['mean']:.2f} ± {values['error']:.2f}"


def _differences(result: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    """Differences split by split, which vary less than the splits do."""
    for ours, other in itertools.product(result["rows"], result["rows"]):
        if other["method"] == "none" != ours["method"] and _comparable(ours, other):
            yield f"{_title(ours)}, minus none", *_gaps(ours, other)
    for ours, theirs in _beside_published(result):
        yield f"{_title(ours)}, minus {theirs['name']}", *_gaps(ours, theirs)


def _gaps(first: Row, second: Row) -> Iterator[str]:
    for name in _QUANTITIES:
        gap = np.subtract(first[name]["splits"], second[name]["splits"])
        yield f"{gap.mean():+.2f} ± {gap.std() / len(gap) ** 0.5:.2f}"


def _beside_published(result: dict[str, Any]) -> list[tuple[Row, Row]]:
    """Our rows of dropout, with published results on the same splits."""
    pairs = itertools.product(result["rows"], result["published"])
    return [it for it in pairs if it[0]["method"] == "dropout" and _comparable(*it)]


def _comparable(first: Row, second: Row) -> bool:
    lengths = {len(row["rmse"].get("splits", ())) for row in (first, second)}
    return len(lengths) == 1 and first["epochs"] == second["epochs"]


def _title(row: Row) -> str:
    return f"{_name(row)}, {row['epochs']:,} epochs"


def table(title: str, result: dict[str, Any]) -> Table:
    """Create the table printed at the end.

    Args:
      title: the run's name.
      result: the content of uci.json.

    Returns:
      The first columns of the table of `markdown`.
    """
    caption = "on test rows, means ± standard errors over the splits"
    header = ("method", "epochs", "RMSE", "log-likelihood")
    filled = reporting.table(*header, title=title, caption=caption)
    for cells in _cells(result):
        filled.add_row(*cells[: len(header)])
    return filled


def write(folder: Path, result: dict[str, Any]) -> None:
    """Write uci.json, uci.md and uci.png.

    Args:
      folder: the run's folder.
      result: the content of uci.json.
    """
    workdir.write_json(folder / "uci.json", result)
    with workdir.replacing(folder / "uci.md") as partial:
        partial.write_text(markdown(result))
    draw(folder / "uci.png", result)


def draw(path: Path, result: dict[str, Any]) -> None:
    """Plot both quantities over the epochs and, by split, ours over those published.

    Args:
      path: the file.
      result: the content of uci.json.
    """
    pairs = _beside_published(result)
    figure = Figure(figsize=(10, 4.2 * (1 + bool(pairs))), layout="constrained")
    grid = figure.subplots(1 + bool(pairs), 2, squeeze=False)
    for column, name in enumerate(_QUANTITIES):
        _draw_epochs(grid[0, column], name, result)
        if pairs:
            _draw_splits(grid[1, column], name, pairs)
    splits = result["config"]["splits"]
    figure.suptitle(
        f"Monte Carlo dropout: {result['config']['dataset']}, {splits} splits"
    )
    curves.save(figure, path)


def _draw_epochs(axes: Axes, name: str, result: dict[str, Any]) -> None:
    for method in dict.fromkeys(map(_name, result["rows"])):
        own = [row for row in result["rows"] if _name(row) == method]
        points = [(it["epochs"], it[name]["mean"], it[name]["error"]) for it in own]
        axes.errorbar(*zip(*points, strict=True), capsize=3, label=method)
    for index, row in enumerate(result["published"]):
        # Side by side, as most have the same number of epochs.
        axes.errorbar(
            row["epochs"] * 1.12 ** (index + 1),
            row[name]["mean"],
            row[name]["error"],
            fmt="s",
            color=str(0.2 * index),
            markersize=4,
            capsize=3,
            label=f"published: {row['name']}",
        )
    axes.set(xscale="log", xlabel="epochs", ylabel=f"{_QUANTITIES[name]}, mean ± error")
    ticks = result["config"]["epochs"]
    axes.set_xticks(ticks, labels=[f"{it:,}" for it in ticks])
    axes.grid(alpha=0.3)
    axes.legend(fontsize="x-small")


def _draw_splits(axes: Axes, name: str, pairs: list[tuple[Row, Row]]) -> None:
    for ours, theirs in pairs:
        values = theirs[name]["splits"], ours[name]["splits"]
        axes.plot(*values, "o", label=_title(ours))
    quantity, whose = _QUANTITIES[name], pairs[0][1]["name"]
    axes.axline((values[0][0],) * 2, slope=1, color="gray", label="equal")
    axes.set(xlabel=f"{quantity}: {whose}", ylabel=f"{quantity}, a dot per split")
    axes.grid(alpha=0.3)
    axes.legend(fontsize="x-small")
