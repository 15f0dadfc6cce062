"""The page of results, from the folders of comparisons; experiments at full size."""

import json
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest
import tabulate
from training import data, evidence, steps
from training.command_line import load_config
from training.comparison import Row
from training.errors import UserError
from training.experiment import prepare

from .conftest import ROOT, Program, write_dataset, write_text

PAGE = ROOT / "docs" / "evidence.md"
SUMMARY = Row("none", 0.0, (8,), ((2.0, 2.0),), ((0.5, 0.7),), ((1.0, 1.0),), (0.25,))
COMPARISONS = {
    name: known for name, known in evidence.experiments().items() if "measure" in known
}
MEASURED = {
    "date": "2026-01-02",
    "machine": {"processor": "a processor", "cores": 2},
    "versions": {"jax": "1", "flax": "2"},
}


def write_run(folder: Path, taken: int = 8) -> Path:
    """Write what compare.py leaves, with the numbers of `SUMMARY` for each method."""
    folder.mkdir(parents=True)
    rows = [
        {"method": method, "rate": rate, "summary": SUMMARY.summary()}
        for method, rate in (("none", 0.0), ("dropout", 0.5))
    ]
    content = {
        **MEASURED,
        "time": {"unit": "CPU s", "total": 61},
        "config": load_config(ROOT / "configs" / "sparsedrop_mnist.py").to_dict(),
        "examples": {"train": 1024, "test": 40},
        "parameters": 1234,
        "steps": 8,
        "steps_taken": taken,
        "rows": rows,
    }
    (folder / "compare.json").write_text(json.dumps(content))
    (folder / "compare.png").write_bytes(b"a picture")
    return folder


@pytest.fixture
def page(tmp_path: Path) -> Path:
    (tmp_path / "docs" / "results").mkdir(parents=True)
    path = tmp_path / "docs" / "page.md"
    names = ("all", *COMPARISONS)
    marks = (f"# {it}\n\n<!-- results of {it} -->\n<!-- end -->\n" for it in names)
    path.write_text("".join(marks) + "The rest.\n")
    return path


def tabulate_to(page: Path, *folders: Path) -> int:
    return tabulate.main(["tabulate.py", *map(str, folders), f"--page={page}"])


def test_results_come_to_the_page_with_published_ones(
    tmp_path: Path, page: Path
) -> None:
    folder = write_run(tmp_path / "evidence_sparsedrop_mnist")
    assert tabulate_to(page, folder) == 0
    text = page.read_text()
    assert "| dropout | 0.5 | 60.00% ± 14.14% |" in text
    assert "| 97.82% ± 0.24% |" in text
    assert "a minute of CPU time on 2 cores of a processor, jax 1, flax 2, 2026" in text
    assert "Structured dropout, perceptron on MNIST](#structured-dropout-percep" in text
    assert "nfinished" not in text
    assert text.endswith("The rest.\n")
    results = page.parent / "results"
    assert (results / "sparsedrop_mnist.png").read_bytes() == b"a picture"
    assert evidence.read(folder) == json.loads(
        (results / "sparsedrop_mnist.json").read_text()
    )
    assert tabulate_to(page, folder) == 0
    assert page.read_text() == text


def test_the_table_has_the_results_of_other_pages(page: Path) -> None:
    results = PAGE.parent / "results"
    for name in ("uci_boston", "uci_concrete"):
        shutil.copy(results / f"{name}.json", page.parent / "results")
    assert tabulate_to(page) == 0
    row = next(it for it in page.read_text().splitlines() if "#concrete" in it)
    _, _, none, best, published = row.strip("| ").split(" | ")
    content = json.loads((results / "uci_concrete.json").read_text())
    last = {it["method"]: it["rmse"]["mean"] for it in content["rows"]}
    assert none.startswith(f"{last['none']:.2f} ± ")
    assert best.startswith(f"dropout: {last['dropout']:.2f} ± ")
    assert "dropout 4.82 ± 0.16 (authors' grid search, 2018)" in published


def test_an_unfinished_comparison_is_marked(tmp_path: Path, page: Path) -> None:
    tabulate_to(page, write_run(tmp_path / "sparsedrop_mnist", taken=4))
    text = page.read_text()
    assert "**Unfinished: these are the first 4 of 8 steps.**" in text
    assert "on-mnist), unfinished |" in text


def write_networks(folder: Path, method: str, activation: str = "relu") -> Path:
    """Write what train.py leaves of three networks, after two epochs."""
    folder.mkdir(parents=True)
    config = load_config(ROOT / "configs" / f"wan2013_mnist_{method}.py")
    config.update(activation=activation, epochs=2, nets=3)
    (folder / "config.json").write_text(json.dumps(config.to_dict()))
    error = {"none": 2.0, "dropout": 1.5, "dropconnect": 1.75}[method]
    form = {"errors": [error] * 3, "mean": error, "deviation": 0.25, "vote": 1.25}
    forms = {"mean network": form}
    if method == "dropconnect":
        forms["closed form"] = form | {"mean": 1.0}
    result = {"train": {"accuracy": 0.9975}, "nets": forms, **MEASURED}
    (folder / "result.json").write_text(json.dumps(result))
    known = ("train_loss", "train_accuracy", "test_loss", "test_accuracy", "seconds")
    times = {"seconds": 900}
    lines = [
        dict.fromkeys(known, 0.5) | {"step": n, "epoch": n} | times for n in (1, 2)
    ]
    (folder / "metrics.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n")
    return folder


def test_networks_side_by_side_come_to_the_page(tmp_path: Path, page: Path) -> None:
    page.write_text(f"{page.read_text()}<!-- results of wan2013 -->\n<!-- end -->\n")
    group = tmp_path / "wan2013"
    folders = [
        write_networks(group / f"{activation}_{method}", method, activation)
        for activation in ("relu", "tanh")
        for method in ("dropout", "none", "dropconnect")
    ]
    assert tabulate_to(page, *folders) == 0
    text = page.read_text()
    dropconnect = "1.75 ± 0.25 / 1.25 |  | 1.00 ± 0.25 / 1.25 | 0.25 | 1.20 / 1.12"
    assert f"\n| relu | dropconnect | 2 | {dropconnect} |\n" in text
    assert "| tanh | none | 2 | 2.00 ± 0.25 / 1.25 |  |  | 0.25 | 1.65 / 1.49 |" in text
    assert (
        ", relu, mean of 3 mean networks ± deviation / vote | 2.00 ± 0.25 / 1.25 | drop"
        in text
    )
    assert "| dropout: 1.50 ± 0.25 / 1.25 | none 1.62 / 1.40, dropout 1.28" in text
    assert "\n3.0 hours in all; 2 cores of a processor, jax 1, flax 2, 2026-01" in text
    results = page.parent / "results"
    runs = json.loads((results / "wan2013.json").read_text())["runs"]
    assert [run["test_errors"] for run in runs] == [[50.0, 50.0]] * 6
    assert {run["date"] for run in runs} == {"2026-01-02"}
    assert (results / "wan2013.png").stat().st_size > 10_000
    assert tabulate_to(page) == 0
    assert page.read_text() == text


@pytest.mark.parametrize("name", ["evidence", "wan2013"])
def test_the_tables_of_the_pages_are_those_of_their_values(
    name: str, tmp_path: Path
) -> None:
    shutil.copytree(PAGE.parent / "results", tmp_path / "results")
    copy = Path(shutil.copy(PAGE.with_stem(name), tmp_path))
    assert tabulate_to(copy) == 0
    assert copy.read_text() == PAGE.with_stem(name).read_text()


def test_what_cannot_be_published(tmp_path: Path, page: Path) -> None:
    with pytest.raises(UserError, match="no experiment other, only uci_concrete, "):
        tabulate_to(page, write_run(tmp_path / "other"))
    folder = write_run(tmp_path / "sparsedrop_mnist")
    page.write_text("Nothing.")
    with pytest.raises(UserError, match="has no place for sparsedrop_mnist: add <!--"):
        tabulate_to(page, folder)
    one = write_networks(tmp_path / "wan2013" / "relu_none", "none")
    with pytest.raises(UserError, match="one without dropping and one with, with act"):
        tabulate_to(page, one)
    with pytest.raises(UserError, match="leave --out away"):
        tabulate.main(["tabulate.py", str(one), f"--page={page}", "--out=x.json"])
    begin = "<!-- results of {} -->\n"
    page.write_text(
        begin.format("sparsedrop_mnist") + begin.format("all") + "<!-- end -->"
    )
    with pytest.raises(UserError, match="has no place for sparsedrop_mnist: add"):
        tabulate_to(page, folder)
    (folder / "compare.json").unlink()
    with pytest.raises(UserError, match=r"has no result\.json and no compare\.json"):
        tabulate_to(page, folder)


@pytest.mark.parametrize("name", COMPARISONS)
def test_every_experiment_reaches_the_page(
    name: str, tmp_path: Path, page: Path, places: dict, run_compare: Program
) -> None:
    for folder in ("mnist", "fashion-mnist"):
        write_dataset(places["cache"] / folder)
    write_text(places["cache"] / "tinyshakespeare")
    path = ROOT / "configs" / f"{name}.py"
    last = max(set(load_config(path).methods) - {"none"})
    outcome = run_compare(
        f"--config={path}",
        f"--workdir={tmp_path / name}",
        "--config.epochs=1",
        "--config.batch_size=8",
        "--config.train_examples=8",
        "--config.test_examples=8",
        "--config.hidden=(8,)",
        "--config.channels=(2,)",
        "--config.length=5",
        "--config.heads=2",
        "--config.seeds=2",
        f"--config.methods={{'none': 0.0, '{last}': 0.5}}",
    )
    assert outcome.code == 0, outcome.err
    assert tabulate_to(page, tmp_path / name) == 0
    assert f"\n| {last} | 0.5 |" in page.read_text()


def test_the_page_has_a_place_and_a_heading_for_each_experiment() -> None:
    text = PAGE.read_text()
    for name, known in COMPARISONS.items():
        assert f"<!-- results of {name} -->" in text
        assert f"## {known['title']}\n" in text
        assert (ROOT / "configs" / f"{name}.py").is_file()


@pytest.mark.parametrize(
    ("name", "parameters"),
    [("sparsedrop_fashion_vit_full", 25e6), ("sparsedrop_shakespeare_full", 50e6)],
)
def test_full_size_experiments_are_sound(name: str, parameters: float) -> None:
    config = load_config(ROOT / "configs" / f"{name}.py")
    text = config.dataset in data.TEXTS
    shape, dtype = ((config.length,), np.int32) if text else ((28, 28, 1), np.uint8)
    inputs = np.zeros((config.train_examples, *shape), dtype)
    labels = inputs if text else np.zeros(len(inputs), np.int32)
    split = data.Split(inputs, labels)
    for method, rate in config.methods.items():
        single = config.copy_and_resolve_references()
        single.update(method=method, rate=rate)
        experiment = prepare(single, data.Dataset(split, split, 65 if text else 10))
        state = jax.eval_shape(experiment.init, experiment.key)
        size = sum(leaf.size for leaf in jax.tree.leaves(state.params))
        assert size == pytest.approx(parameters, rel=0.05)
        after = jax.eval_shape(
            experiment.scan(1), experiment.key, state, inputs, labels
        )
        assert isinstance(after, steps.State)
