"""Tabulate runs of several networks: python examples/tabulate.py RUN... [--out=FILE].

Prints a Markdown line for each run and form of inference: the mean and standard
deviation of the test error over the networks, in percent, and the error of their vote.
--out writes the same to a JSON file.

With --page=docs/evidence.md the runs are folders of compare.py: their tables are
written to that page, next to published figures, and their values and pictures to its
folder results/. Without a run it only writes the page's table of all experiments.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

# Imported first: it reports missing packages.
from training.errors import UserError, run_program

# isort: split
from absl import flags
from training import evidence, reporting
from training.command_line import define_help
from training.workdir import read_json, read_metrics, write_json

_KEYS = (
    "activation", "method", "rate", "noise", "mask_per", "train_examples", "epochs",
    "hidden", "nets", "seed", "samples",
)  # fmt: skip
_HEADER = ("activation", "method", "epochs", "inference", "error, %", "vote, %")


def main(argv: Sequence[str]) -> int:
    """Run the program.

    Args:
      argv: the command line, the program's name first.

    Returns:
      The exit code.
    """
    values = flags.FlagValues()
    flags.DEFINE_string("out", None, "The JSON file to write.", flag_values=values)
    flags.DEFINE_string("page", None, "The page to update.", flag_values=values)
    define_help(values)
    try:
        folders = values(argv)[1:]
    except flags.Error as error:
        raise UserError(str(error)) from None
    if values.help:
        print(f"{(__doc__ or '').strip()}\n{values.get_help()}")
        return 0
    if values.page:
        evidence.publish([Path(folder) for folder in folders], Path(values.page))
        return 0
    if not folders:
        raise UserError((__doc__ or "").partition("\n")[0])
    runs = [_read(Path(folder)) for folder in folders]
    lines = (line for run in runs for line in _lines(run))
    print(reporting.markdown(_HEADER, lines), end="")
    if values.out:
        write_json(Path(values.out), {"runs": runs})
    return 0


def _read(folder: Path) -> dict[str, Any]:
    config, result = (
        read_json(folder / name) for name in ("config.json", "result.json")
    )
    if "nets" not in result:
        raise UserError(f"{folder} is a run of one network: it has no vote")
    seconds = sum(line["seconds"] for line in read_metrics(folder / "metrics.jsonl"))
    try:
        train_error = round(100 - 100 * result["train"]["accuracy"], 4)
    except (KeyError, TypeError):
        raise UserError(f"{folder / 'result.json'} has no train accuracy") from None
    return {
        **{key: config.get(key) for key in _KEYS},
        "seconds": round(seconds),
        "train_error": train_error,
        "test": result["nets"],
    }


def _lines(run: dict[str, Any]) -> list[tuple[str, ...]]:
    first = [str(run[name]) for name in _HEADER[:3]]
    return [
        (
            *first,
            form,
            f"{errors['mean']:.2f} ± {errors['deviation']:.2f}",
            f"{errors['vote']:.2f}",
        )
        for form, errors in run["test"].items()
    ]


if __name__ == "__main__":
    sys.exit(run_program(Path(__file__).name, main, sys.argv))
