"""Compare methods: python examples/compare.py --config=configs/digits_compare.py.

The same net is trained with each method from several seeds, all seeds of a method
at once, vmapped in one jitted program. The workdir gets compare.md and compare.json.
"""

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np
from jax import lax
from ml_collections import ConfigDict
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from training import command_line, data, models, settings, steps, workdir
from training.data import Dataset
from training.errors import UserError, run_program
from training.experiment import Experiment, prepare
from training.reporting import progress_bar

_HEADER = ("method", "rate", "test accuracy, mean", "standard deviation", "seeds")


@dataclasses.dataclass(frozen=True)
class Row:
    """What the runs of a method came to."""

    method: str
    rate: float
    accuracies: tuple[float, ...]

    def cells(self) -> tuple[str, ...]:
        """Return the row of the table."""
        mean, deviation = np.mean(self.accuracies), self.deviation()
        spread = "" if deviation is None else f"{deviation:.2%}"
        seeds = str(len(self.accuracies))
        return self.method, f"{self.rate:g}", f"{mean:.2%}", spread, seeds

    def deviation(self) -> float | None:
        """Return the standard deviation over the seeds, None for a single one."""
        if len(self.accuracies) == 1:
            return None
        return float(np.std(self.accuracies, ddof=1))


def main(argv: Sequence[str]) -> int:
    """Run the program.

    Args:
      argv: the command line, the program's name first.

    Returns:
      The exit code.
    """
    options = command_line.parse(argv, __doc__ or "", "digits_compare.py")
    if options is None:
        return 0
    if options.resume:
        raise UserError("a comparison is not checkpointed: run it without --resume")
    config, folder = options.config, options.workdir
    settings.check(config, settings.comparison_config())
    with workdir.locked(folder):
        dataset = data.load(
            config.dataset,
            download=options.download,
            train_examples=config.train_examples,
            test_examples=config.test_examples,
        )
        rows = compare(config, dataset, Console())
        _write(folder, config, rows)
    return 0


def compare(config: ConfigDict, dataset: Dataset, console: Console) -> list[Row]:
    """Train with each method and show the table.

    Args:
      config: the settings; see `training.settings.comparison_config`.
      dataset: the data.
      console: where to show the progress and the table.

    Returns:
      The rows of the table.
    """
    methods = [it for it in models.METHODS[config.model] if it in config.methods]
    with progress_bar(console) as bar:
        rows = [_train(config, method, dataset, bar) for method in methods]
    table = Table(*_HEADER, title=f"{config.model} on {config.dataset}")
    for row in rows:
        table.add_row(*row.cells())
    console.print(table)
    return rows


def _train(config: ConfigDict, method: str, dataset: Dataset, bar: Progress) -> Row:
    rate = config.methods[method]
    experiment = prepare(_with_method(config, method, rate), dataset)
    task = bar.add_task(method, total=config.epochs, text="")
    seeds = np.arange(config.seed, config.seed + config.seeds, dtype=np.uint32)
    keys = jax.vmap(jax.random.key)(seeds)
    state, advance = _vmapped(experiment, keys)
    train = jax.device_put((dataset.train.images, dataset.train.labels))
    for _ in range(config.epochs):
        state = advance(keys, state, *train)
        loss, _ = steps.means(state.totals)
        bar.update(task, advance=1, text=f"loss {loss.mean():.4f}")
    count = jax.jit(jax.vmap(experiment.count, in_axes=(0, None, None)))
    _, accuracies = steps.evaluate(count, state.params, dataset.test)
    return Row(method, rate, tuple(map(float, accuracies)))


def _vmapped(
    experiment: Experiment, keys: jax.Array
) -> tuple[steps.State, steps.Advance]:
    epoch = experiment.scan(experiment.steps_per_epoch)
    advance = jax.jit(jax.vmap(epoch, in_axes=(0, 0, None, None)), donate_argnums=1)
    # Mapped, not vmapped: drawing parameters from a batch of keys compiles slowly.
    init = jax.jit(lambda keys: lax.map(experiment.init, keys))
    return init(keys), advance


def _with_method(config: ConfigDict, method: str, rate: float) -> ConfigDict:
    copy = config.copy_and_resolve_references()
    copy.update(method=method, rate=rate)
    return copy


def _write(folder: Path, config: ConfigDict, rows: Sequence[Row]) -> None:
    lines = [_HEADER, ("---",) * len(_HEADER), *(row.cells() for row in rows)]
    text = "".join(f"| {' | '.join(line)} |\n" for line in lines)
    (folder / "compare.md").write_text(text)
    content = [
        {**dataclasses.asdict(row), "deviation": row.deviation()} for row in rows
    ]
    workdir.write_json(
        folder / "compare.json", {"config": config.to_dict(), "rows": content}
    )


if __name__ == "__main__":
    sys.exit(run_program(Path(__file__).name, main, sys.argv))
