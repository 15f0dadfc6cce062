"""Measure the calibration of a classifier: python examples/calibrate.py.

Trains a network with dropout, and compares two predictions for the test split: that of
the mean network, without noise, and the mean of many passes with different masks.
Writes result.json, with the accuracy, negative log-likelihood, Brier score and expected
calibration error of both, and reliability.png, the reliability diagram, to the workdir.
"""

import functools
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

# Imported first: it reports missing packages.
from training.errors import UserError, run_program

# isort: split
import jax
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table
from training import command_line, curves, data, settings, steps, workdir
from training.experiment import Experiment, prepare
from training.loop import Trainer
from training.reporting import progress_bar, table

from dropjax import inference

_PASSES = 50
_BATCH = 500
_BINS = 10
_MEASURES: dict[str, Callable[..., jax.Array]] = {
    "negative log-likelihood": inference.negative_log_likelihood,
    "Brier score": inference.brier_score,
    "calibration error": functools.partial(
        inference.expected_calibration_error, num_bins=_BINS
    ),
}


def main(argv: Sequence[str]) -> int:
    """Run the program.

    Args:
      argv: the command line, the program's name first.

    Returns:
      The exit code.
    """
    options = command_line.parse(argv, __doc__ or "", "digits_dropout.py")
    if options is None:
        return 0
    config, folder, console = options.config, options.workdir, Console()
    settings.check(config, settings.default_config())
    _check(config.method, config.nets, options.resume)
    with workdir.locked(folder):
        dataset = data.load(
            config.dataset,
            download=options.download,
            train_examples=config.train_examples,
            test_examples=config.test_examples,
            length=config.length,
        )
        experiment = prepare(config, dataset)
        params = _train(Trainer(config, experiment), console)
        predictions = _predict(experiment, params)
        labels = dataset.test.labels
        result = {name: _measure(p, labels) for name, p in predictions.items()}
        console.print(_table(folder.name, result))
        workdir.write_json(
            folder / "result.json", {"config": config.to_dict(), **result}
        )
        _draw(folder / "reliability.png", folder.name, predictions, labels)
    console.print(f"picture: {folder / 'reliability.png'}", soft_wrap=True)
    return 0


def _check(method: str, nets: int, resume: bool) -> None:
    if method in ("none", "multi_sample"):
        raise UserError(
            "config.method must be one that drops, with one mask per pass, got "
            f"{method}"
        )
    if nets > 1:
        raise UserError(f"config.nets must be 1 to measure calibration, got {nets}")
    if resume:
        raise UserError("this program writes no checkpoints: run it without --resume")


def _train(trainer: Trainer, console: Console) -> dict:
    state, total = trainer.initial_state(), trainer.experiment.steps
    with progress_bar(console) as bar:
        task = bar.add_task("training", total=total, text="")
        while int(state.step) < total:
            state = trainer.advance(state)
            bar.update(task, completed=int(state.step))
    return state.params


def _predict(experiment: Experiment, params: dict) -> dict[str, np.ndarray]:
    """Predict the probabilities of the test split's classes."""
    apply, key = experiment.model.apply, jax.random.fold_in(experiment.key, 1)

    def logits(key: jax.Array | None, inputs: jax.Array) -> jax.Array:
        return apply(params, steps.as_numbers(inputs), key, key is None)

    passes = inference.monte_carlo(logits, _PASSES, outputs="logits")
    forms = {
        "mean network": lambda key, inputs: jax.nn.softmax(logits(None, inputs)),
        "Monte Carlo": lambda key, inputs: passes(key, inputs).mean,
    }
    inputs = experiment.dataset.test.inputs
    batches = [inputs[n : n + _BATCH] for n in range(0, len(inputs), _BATCH)]
    keys = jax.random.split(key, len(batches))
    return {
        name: np.concatenate(list(map(jax.jit(form), keys, batches)))
        for name, form in forms.items()
    }


def _measure(p: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    found = {"accuracy": float((p.argmax(-1) == labels).mean())}
    for name, measure in _MEASURES.items():
        found[name] = float(measure(p, labels, outputs="probabilities"))
    return found


def _table(title: str, result: Mapping[str, Mapping[str, float]]) -> Table:
    filled = table("prediction", "accuracy", "NLL", "Brier", "ECE", title=title)
    for name, row in result.items():
        filled.add_row(name, *(f"{value:.4f}" for value in row.values()))
    return filled


def _draw(
    path: Path, title: str, predictions: Mapping[str, np.ndarray], labels: np.ndarray
) -> None:
    figure = Figure(figsize=(9, 4.6), layout="constrained")
    panels = figure.subplots(1, len(predictions), sharey=True, squeeze=False)[0]
    measure = functools.partial(
        inference.reliability, outputs="probabilities", num_bins=_BINS
    )
    for axes, (name, p) in zip(panels, predictions.items(), strict=True):
        _draw_bins(axes, name, measure(p, labels))
    panels[0].legend(loc="upper left", fontsize="small")
    figure.suptitle(f"Reliability of the predictions of {title}")
    curves.save(figure, path)


def _draw_bins(axes: Axes, name: str, bins: inference.Reliability) -> None:
    edges = np.linspace(0, 1, _BINS + 1)
    width, share = 1 / _BINS, np.asarray(bins.share)
    axes.bar(edges[:-1], bins.accuracy, width, align="edge", label="accuracy")
    axes.bar(
        edges[:-1],
        share,
        width / 3,
        align="edge",
        color="0.4",
        label="share of the examples",
    )
    held = share > 0
    where = np.asarray(bins.confidence)[held], np.asarray(bins.accuracy)[held]
    axes.plot(*where, "k.", label="at the mean confidence")
    axes.plot([0, 1], [0, 1], "k--", linewidth=1, label="perfect calibration")
    error = float(bins.expected_calibration_error)
    axes.set_title(f"{name}: expected calibration error {error:.4f}")
    axes.set(xlabel="confidence", ylabel="accuracy", xlim=(0, 1), ylim=(0, 1))


if __name__ == "__main__":
    sys.exit(run_program(Path(__file__).name, main, sys.argv))
