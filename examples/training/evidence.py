"""Pages of results: tables and pictures made from the folders of runs."""

import functools
import re
import shutil
import tomllib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from training import data, ensemble_report, workdir
from training.ensemble_report import MEAN_NETWORK
from training.errors import UserError
from training.reporting import markdown, mean_and_deviation

_EXPERIMENTS = Path(__file__).with_name("experiments.toml")
_SUMMARY = "all"
_PLACE = re.compile(r"<!-- results of (\w+) -->")
_MEASURES = {
    "best_accuracy": ("test accuracy, best", ".2%"),
    "final_accuracy": ("test accuracy, final", ".2%"),
    "best_loss": ("test loss, best", ".3f"),
    "final_loss": ("test loss, final", ".3f"),
    "final_train_loss": ("train loss, final", ".3f"),
}
_HEADLINE = ("experiment", "measure", "none", "best method", "published")

Content = dict[str, Any]
_Draw = Callable[[Path], object]


def experiments() -> dict[str, Content]:
    """Return the title and the published figures of each experiment.

    Comparisons also have a measure, and the others a page.
    """
    content = tomllib.loads(_EXPERIMENTS.read_text())
    for known in content.values():
        if other := known.pop("published_as_for", None):
            known["published"] = content[other]["published"]
    return content


def _known(name: str) -> Content:
    known = experiments()
    if name not in known:
        names = ", ".join(known)
        raise UserError(f"{_EXPERIMENTS.name} has no experiment {name}, only {names}")
    return known[name]


def publish(folders: Sequence[Path], page: Path) -> None:
    """Write results to a page, and their values and pictures to ``results/``.

    Args:
      folders: those of comparisons, named after their config files, with or without
        ``evidence_`` before it; or those of runs of several networks, whose parent's
        name is that of the experiment.
      page: a Markdown file. The text between ``<!-- results of NAME -->`` and
        ``<!-- end -->`` is replaced for all experiments with values in ``results/``,
        and in the same way the table of all.

    Raises:
      UserError: a folder has no results, they are damaged, or the page has no place
        for them.
      OSError: the page or a picture cannot be read.
    """
    results, places = page.parent / "results", _PLACE.findall(page.read_text())
    found = list(_read_all(folders))
    for name, *_ in found:
        if name not in places:
            raise _no_place(page, name)
    for name, content, picture in found:
        workdir.write_json(results / f"{name}.json", content)
        picture(results / f"{name}.png")
    for name in places:
        path = results / f"{name}.json"
        if name == _SUMMARY:
            _insert(page, name, _summary(results))
        elif path.is_file():
            _insert(page, name, _section(name, workdir.read_json(path)))


def _read_all(folders: Sequence[Path]) -> Iterator[tuple[str, Content, _Draw]]:
    """The name, the content and a function that writes the picture of each result."""
    groups: dict[Path, list[Path]] = {}
    for folder in map(Path.resolve, folders):
        if (folder / "result.json").is_file():
            groups.setdefault(folder.parent, []).append(folder)
            continue
        content, name = read(folder), folder.name.removeprefix("evidence_")
        _known(name)
        copy = functools.partial(shutil.copyfile, folder / "compare.png")
        yield name, content, copy
    for parent, group in groups.items():
        runs = [ensemble_report.read(folder) for folder in group]
        title = _known(parent.name)["title"]
        if len({run["method"] == "none" for run in _first_activation(runs)}) < 2:
            raise UserError(
                f"the runs in {parent} need one without dropping and one with, with "
                f"activation {runs[0]['activation']}"
            )
        yield (
            parent.name,
            {"runs": runs},
            functools.partial(ensemble_report.draw, title=title, runs=runs),
        )


def read(folder: Path) -> Content:
    """Read the results of a comparison.

    Args:
      folder: its folder.

    Returns:
      The content of its compare.json.

    Raises:
      UserError: it has none, or nothing was measured yet.
    """
    path = folder / "compare.json"
    if not path.is_file():
        raise UserError(
            f"{folder} has no result.json and no compare.json: it is not the folder of "
            "a finished run or of a comparison"
        )
    content = workdir.read_json(path)
    if not content.get("rows"):
        raise UserError(f"{path} has no rows: nothing was measured yet")
    return content


def _section(name: str, content: Content) -> str:
    section = _ensembles if "runs" in content else _comparison
    return "\n\n".join(filter(None, section(name, content)))


def _ensembles(name: str, content: Content) -> Iterator[str]:
    known, runs = _known(name), content["runs"]
    yield ensemble_report.table(runs, known.get("published")).rstrip()
    yield _source(name)
    if any("test_errors" in run for run in runs):
        yield f"![{known['title']}: test error over the epochs](results/{name}.png)"
    hours = sum(run["seconds"] for run in runs) / 3600
    dates: dict[str, set[str]] = {}
    for run in runs:
        if run.get("machine"):
            dates.setdefault(_used(run), set()).add(run["date"])
    measured = (f"{used}, {' and '.join(sorted(dates[used]))}" for used in dates)
    said = "; ".join((f"{hours:.1f} hours in all", *measured))
    yield f"{said}; [all values](results/{name}.json)."


def _comparison(name: str, content: Content) -> Iterator[str]:
    table = markdown(_header(name, content), _cells(name, content))
    yield _warning(content)
    yield _size(content)
    yield table.rstrip()
    yield f"![{_known(name)['title']}: test loss over the steps](results/{name}.png)"
    yield _source(name)
    yield _provenance(name, content)


def _warning(content: Content) -> str:
    taken, steps = content["steps_taken"], content["steps"]
    if taken == steps:
        return ""
    return f"**Unfinished: these are the first {taken:,} of {steps:,} steps.**"


def _size(content: Content) -> str:
    config, examples = content["config"], content["examples"]
    widths = config["channels" if config["model"] == "residual" else "hidden"]
    unit = "sequences" if config["dataset"] in data.TEXTS else "images"
    return (
        f"{examples['train']:,} {unit} to train on and {examples['test']:,} to test; "
        f"{content['parameters']:,} parameters, widths {'-'.join(map(str, widths))}; "
        f"{content['steps']:,} steps of {config['batch_size']}; "
        f"{config['seeds']} seeds, means ± standard deviations."
    )


def _shown(content: Content) -> list[str]:
    names = [*_MEASURES]
    if content["config"]["dataset"] in data.TEXTS:
        names = [name for name in names if "accuracy" not in name]
    return names


def _header(name: str, content: Content) -> tuple[str, ...]:
    published = ("published",) if "published" in _known(name) else ()
    measures = (_MEASURES[it][0] for it in _shown(content))
    time = f"{content['time']['unit']} per step"
    return ("method", "rate", *measures, "step of the best loss", time, *published)


def _cells(name: str, content: Content) -> Iterator[tuple[str, ...]]:
    known = _known(name)
    for row in content["rows"]:
        summary = row["summary"]
        cells = [row["method"], f"{row['rate']:g}"]
        for measure in _shown(content):
            cells.append(mean_and_deviation(summary[measure], _MEASURES[measure][1]))
        cells.append(f"{summary['best_loss_step']:,.0f}")
        cells.append(f"{summary['seconds_per_step']:.3g}")
        if "published" in known:
            cells.append(_published(known, row["method"]))
        yield tuple(cells)


def _published(known: Content, method: str) -> str:
    if method not in known.get("published", {}):
        return ""
    return mean_and_deviation(
        known["published"][method], _MEASURES[known["measure"]][1]
    )


def _source(name: str) -> str:
    known = _known(name)
    return f"Published: {known['source']}." if "source" in known else ""


def _provenance(name: str, content: Content) -> str:
    time = content["time"]
    minutes = round(time["total"] / 60)
    duration = f"{minutes:,} minutes" if minutes > 1 else "a minute"
    kind = "CPU time" if time["unit"] == "CPU s" else "time"
    return (
        f"`configs/{name}.py`: {duration} of {kind} on "
        f"{_used(content)}, {content['date']}; [all values](results/{name}.json)."
    )


def _used(content: Content) -> str:
    """The machine and the versions."""
    machine, versions = content["machine"], content["versions"]
    used = ", ".join(f"{it} {versions[it]}" for it in ("jax", "flax"))
    return f"{machine['cores']} cores of {machine['processor']}, {used}"


def _summary(results: Path) -> str:
    rows = []
    for name, known in experiments().items():
        path = results / f"{name}.json"
        if path.is_file():
            rows.append(_row(known, workdir.read_json(path)))
    return markdown(_HEADLINE, rows).rstrip()


def _row(known: Content, content: Content) -> tuple[str, ...]:
    if "measure" in known:
        return _comparison_row(known, content)
    make = _ensemble_row if "runs" in content else _regression_row
    return (f"[{known['title']}]({known['page']})", *make(known, content))


def _ensemble_row(known: Content, content: Content) -> tuple[str, ...]:
    """The row of networks trained side by side: those with the first activation."""
    runs = _first_activation(content["runs"])
    none, *others = sorted(runs, key=lambda run: run["method"] != "none")
    best = min(others, key=lambda run: run["test"][MEAN_NETWORK]["mean"])
    published = known.get("published", {}).get(none["activation"], {})
    return (
        f"test error in %, {none['activation']}, mean of {none['nets']} mean networks "
        "± deviation / vote",
        ensemble_report.errors(none, MEAN_NETWORK),
        f"{ensemble_report.name(best)}: {ensemble_report.errors(best, MEAN_NETWORK)}",
        ", ".join(
            f"{method} {it['mean']:.2f} / {it['vote']:.2f}"
            for method, it in published.items()
        ),
    )


def _first_activation(runs: Sequence[Content]) -> list[Content]:
    return [run for run in runs if run["activation"] == runs[0]["activation"]]


def _regression_row(known: Content, content: Content) -> tuple[str, ...]:
    """The row of results of uci.py: those after the most epochs."""
    epochs = max(row["epochs"] for row in content["rows"])
    rows, published = (
        [row for row in content[name] if row["epochs"] == epochs]
        for name in ("rows", "published")
    )
    errors = {row["method"]: _rmse(row) for row in rows}
    return (
        "test RMSE ± standard error over splits",
        errors["none"],
        f"dropout: {errors['dropout']}",
        ", ".join(f"dropout {_rmse(row)} ({row['name']})" for row in published),
    )


def _rmse(row: Content) -> str:
    return f"{row['rmse']['mean']:.2f} ± {row['rmse']['error']:.2f}"


def _comparison_row(known: Content, content: Content) -> tuple[str, ...]:
    measure, form = _MEASURES[known["measure"]]
    rows = {row["method"]: row["summary"][known["measure"]] for row in content["rows"]}
    pick = max if "accuracy" in known["measure"] else min
    others = [method for method in rows if method != "none"] or ["none"]
    best = pick(others, key=lambda method: rows[method]["mean"])
    published = [f"{it} {_published(known, it)}" for it in known.get("published", {})]
    unfinished = "" if content["steps_taken"] == content["steps"] else ", unfinished"
    return (
        f"[{known['title']}](#{_anchor(known['title'])}){unfinished}",
        measure,
        mean_and_deviation(rows["none"], form),
        f"{best}: {mean_and_deviation(rows[best], form)}",
        ", ".join(published),
    )


def _anchor(title: str) -> str:
    """The anchor of a heading, as GitHub and the site make it."""
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


def _insert(page: Path, name: str, text: str) -> None:
    """Replace the text between the marks of a result."""
    begin, end = f"<!-- results of {name} -->", "<!-- end -->"
    before, _, rest = page.read_text().partition(begin)
    old, closed, after = rest.partition(end)
    if not closed or _PLACE.search(old):
        raise _no_place(page, name)
    with workdir.replacing(page) as partial:
        partial.write_text(f"{before}{begin}\n\n{text}\n\n{end}{after}")


def _no_place(page: Path, name: str) -> UserError:
    return UserError(
        f"{page} has no place for {name}: add <!-- results of {name} --> and "
        "<!-- end -->"
    )
