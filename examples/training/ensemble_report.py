"""The results of networks trained side by side: values, a table and a picture."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from training import curves, workdir
from training.errors import UserError
from training.reporting import markdown

_KEYS = (
    "activation", "method", "rate", "noise", "mask_per", "train_examples", "epochs",
    "hidden", "nets", "seed", "samples",
)  # fmt: skip
MEAN_NETWORK = "mean network"
_FORMS = {
    MEAN_NETWORK: "mean network",
    "Gaussian sampling": "Gaussian",
    "closed form": "closed form",
}
_HEADER = ("activation", "method", "epochs", *_FORMS.values(), "train error")

Run = dict[str, Any]
Published = Mapping[str, Mapping[str, Mapping[str, float]]]


def read(folder: Path) -> Run:
    """Read the results of a run.

    Args:
      folder: its folder.

    Returns:
      The settings that matter, what it was measured with, the final errors in percent
      and those after each epoch, as a mean over the networks.

    Raises:
      UserError: a file is missing or damaged, or the run is that of one network.
    """
    config, result = (
        workdir.read_json(folder / name) for name in ("config.json", "result.json")
    )
    if "nets" not in result:
        raise UserError(f"{folder} is a run of one network: it has no vote")
    lines = workdir.read_metrics(folder / "metrics.jsonl")
    try:
        train_error = _percent(result["train"]["accuracy"])
    except (KeyError, TypeError):
        raise UserError(f"{folder / 'result.json'} has no train accuracy") from None
    return {
        **{key: config.get(key) for key in _KEYS},
        **{key: result.get(key) for key in ("date", "machine", "versions")},
        "seconds": round(sum(line["seconds"] for line in lines)),
        "train_error": train_error,
        "test": result["nets"],
        "test_errors": [_percent(line["test_accuracy"]) for line in lines],
    }


def _percent(accuracy: float) -> float:
    return round(100 - 100 * accuracy, 4)


def table(runs: Iterable[Run], published: Published | None = None) -> str:
    """Return the final errors as a table in Markdown.

    Args:
      runs: the results of `read`.
      published: by activation and method the ``mean`` of published errors and that of
        their ``vote``.

    Returns:
      The table: means ± standard deviations over the networks / votes, in percent.
    """
    header = (*_HEADER, "published") if published else _HEADER
    return markdown(header, (tuple(_cells(run, published)) for run in runs))


def _cells(run: Run, published: Published | None) -> Iterator[str]:
    yield from (str(run["activation"]), name(run), str(run["epochs"]))
    yield from (errors(run, form) for form in _FORMS)
    yield f"{run['train_error']:.2f}"
    if published:
        known = published.get(run["activation"], {}).get(run["method"])
        yield f"{known['mean']:.2f} / {known['vote']:.2f}" if known else ""


def name(run: Run) -> str:
    """Return the name of a run's method."""
    gaussian = run["method"] == "dropconnect" and run["noise"] == "gaussian"
    return f"{run['method']}, Gaussian noise" if gaussian else str(run["method"])


def errors(run: Run, form: str) -> str:
    """Return the error of a run's networks and that of their vote.

    Args:
      run: the result of `read`.
      form: the form of inference.

    Returns:
      A string such as "1.63 ± 0.07 / 1.36"; empty if there is no such form.
    """
    if form not in run["test"]:
        return ""
    it = run["test"][form]
    return f"{it['mean']:.2f} ± {it['deviation']:.2f} / {it['vote']:.2f}"


def draw(path: Path, title: str, runs: Sequence[Run]) -> None:
    """Plot the test errors over the epochs, a panel for each activation.

    Args:
      path: the file.
      title: of the picture.
      runs: the results of `read`.
    """
    activations = tuple(dict.fromkeys(run["activation"] for run in runs))
    size = (3.6 * len(activations) + 0.6, 4.2)
    figure = Figure(figsize=size, layout="constrained")
    panels = figure.subplots(1, len(activations), sharey=True, squeeze=False)[0]
    for axes, activation in zip(panels, activations, strict=True):
        for run in runs:
            if run["activation"] == activation:
                values = run["test_errors"]
                axes.plot(range(1, len(values) + 1), values, label=name(run))
        axes.set(title=activation, xlabel="epoch", yscale="log")
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter("{x:g}")
        axes.grid(alpha=0.3, which="both")
        axes.legend()
    panels[0].set_ylabel("test error of the mean network, %")
    figure.suptitle(title)
    curves.save(figure, path)
