"""Tabulate runs: python examples/tabulate.py RUN... [--out=FILE | --page=FILE].

Prints a line of Markdown for each run of several networks: for each form of inference
the mean ± standard deviation of the test error over the networks / the error of their
vote, in percent. --out writes the values to a JSON file.

With --page=docs/evidence.md, the values and pictures of these runs, or of folders of
compare.py, are written to the page's folder results/, and then all tables of the page
are written again, next to published figures. The folder of a comparison must be named
after its config file; runs of several networks must be in a folder named after their
experiment. The experiments are listed in examples/training/experiments.toml.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

# Imported first: it reports missing packages.
from training.errors import UserError, run_program

# isort: split
from absl import flags
from training import ensemble_report, evidence
from training.command_line import define_help
from training.workdir import write_json


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
    if values.page and values.out:
        raise UserError("--page writes a JSON file of its own: leave --out away")
    if values.page:
        evidence.publish([Path(folder) for folder in folders], Path(values.page))
        return 0
    if not folders:
        raise UserError((__doc__ or "").partition("\n")[0])
    runs = [ensemble_report.read(Path(folder)) for folder in folders]
    print(ensemble_report.table(runs), end="")
    if values.out:
        write_json(Path(values.out), {"runs": runs})
    return 0


if __name__ == "__main__":
    sys.exit(run_program(Path(__file__).name, main, sys.argv))
