"""Tabulate runs of several networks: python examples/tabulate.py RUN... [--out=FILE].

Prints a line of Markdown for each run: for each form of inference the mean ± standard
deviation of the test error over the networks / the error of their vote, in percent.
--out writes the values to a JSON file.

With --page=docs/evidence.md, tables of these runs, or of folders of compare.py, are
written to that page, next to published figures, and their values and pictures to its
folder results/. Without a run, all tables of the page are written again from there.
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
