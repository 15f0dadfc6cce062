"""The page of results: tables and pictures made from the folders of comparisons."""

import math
import re
import shutil
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from training import data, workdir
from training.errors import UserError
from training.reporting import markdown, mean_and_deviation

_EXPERIMENTS = Path(__file__).with_name("experiments.toml")
_SUMMARY = "all"
_MEASURES = {
    "best_accuracy": ("test accuracy, best", ".2%"),
    "final_accuracy": ("test accuracy, final", ".2%"),
    "best_loss": ("test loss, best", ".3f"),
    "final_loss": ("test loss, final", ".3f"),
    "final_train_loss": ("train loss, final", ".3f"),
}
_HEADLINE = ("experiment", "measure", "none", "best method", "published")

Content = dict[str, Any]


def experiments() -> dict[str, Content]:
    """Return the title, the measure and the published figures of each comparison."""
    return {name: known for name, known in _listed().items() if "page" not in known}


def _listed() -> dict[str, Content]:
    return tomllib.loads(_EXPERIMENTS.read_text())


def _known(name: str) -> Content:
    known = experiments()
    if name not in known:
        names = ", ".join(known)
        raise UserError(f"{_EXPERIMENTS.name} has no experiment {name}, only {names}")
    return known[name]


def publish(folders: Sequence[Path], page: Path) -> None:
    """Write the results of comparisons to a page, and their files to ``results/``.

    Args:
      folders: the comparisons' folders, named after their config files, with or without
        ``evidence_`` before it. Without any, only the table of all is written.
      page: a Markdown file. The text between ``<!-- results of NAME -->`` and
        ``<!-- end -->`` is replaced, and in the same way the table of all experiments.

    Raises:
      UserError: a file is missing or damaged, or the page has no place for a result.
    """
    results = page.parent / "results"
    for folder in folders:
        name = folder.resolve().name.removeprefix("evidence_")
        content = read(folder)
        workdir.write_json(results / f"{name}.json", content)
        shutil.copyfile(folder / "compare.png", results / f"{name}.png")
        _insert(page, name, _section(name, content))
    _insert(page, _SUMMARY, _summary(results))


def read(folder: Path) -> Content:
    """Read the results of a comparison.

    Args:
      folder: its folder.

    Returns:
      The content of its compare.json.

    Raises:
      UserError: there is none, or nothing was measured yet.
    """
    path = folder / "compare.json"
    if not path.is_file():
        raise UserError(
            f"{folder} has no compare.json: it is not a comparison's folder"
        )
    content = workdir.read_json(path)
    if not content.get("rows"):
        raise UserError(f"{path} has no rows: nothing was measured yet")
    return content


def _section(name: str, content: Content) -> str:
    table = markdown(_header(name, content), _cells(name, content))
    title = _known(name)["title"]
    lines = [_warning(content), _size(content), table.rstrip()]
    lines += [f"![{title}: test loss over the steps](results/{name}.png)"]
    lines += [_source(name), _provenance(name, content)]
    return "\n\n".join(filter(None, lines))


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
    machine, versions = content["machine"], content["versions"]
    time, packages = content["time"], ("jax", "flax")
    used = ", ".join(f"{it} {versions[it]}" for it in packages)
    minutes = math.ceil(time["total"] / 60)
    return (
        f"`configs/{name}.py`: {minutes:,} minutes ({time['unit']}) on "
        f"{machine['cores']} cores of {machine['processor']}, {used}, "
        f"{content['date']}; [all values](results/{name}.json)."
    )


def _summary(results: Path) -> str:
    rows = []
    for name, known in _listed().items():
        path = results / f"{name}.json"
        if path.is_file():
            row = _regression if "page" in known else _comparison
            rows.append(row(known, workdir.read_json(path)))
    return markdown(_HEADLINE, rows).rstrip()


def _regression(known: Content, content: Content) -> tuple[str, ...]:
    """The row of results of uci.py: those after the most epochs."""
    epochs = max(row["epochs"] for row in content["rows"])
    rows, published = (
        [row for row in content[name] if row["epochs"] == epochs]
        for name in ("rows", "published")
    )
    errors = {row["method"]: _rmse(row) for row in rows}
    return (
        f"[{known['title']}]({known['page']})",
        "test RMSE ± standard error over splits",
        errors["none"],
        f"dropout: {errors['dropout']}",
        ", ".join(f"dropout {_rmse(row)} ({row['name']})" for row in published),
    )


def _rmse(row: Content) -> str:
    return f"{row['rmse']['mean']:.2f} ± {row['rmse']['error']:.2f}"


def _comparison(known: Content, content: Content) -> tuple[str, ...]:
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
    begin, end = f"<!-- results of {name} -->\n", "<!-- end -->"
    before, found, rest = page.read_text().partition(begin)
    _, closed, after = rest.partition(end)
    if not found or not closed:
        raise UserError(
            f"{page} has no place for {name}: add {begin.strip()} and {end}"
        )
    with workdir.replacing(page) as partial:
        partial.write_text(f"{before}{begin}\n{text}\n\n{end}{after}")
