"""What a user sees when something is wrong: one line, and an exit code."""

import sys
from collections.abc import Callable, Sequence


class UserError(Exception):
    """A mistake that the user can mend; shown as one line, without a traceback."""


def run_program(
    name: str, main: Callable[[Sequence[str]], int], argv: Sequence[str]
) -> int:
    """Run ``main(argv)``; turn what the user can mend into one line on stderr.

    Args:
      name: the program's name, put before the message.
      main: takes the command line, returns the exit code.
      argv: the command line, the program's name first.

    Returns:
      The exit code: ``main``'s own, 2 after an error, 130 after a Ctrl-C.
    """
    try:
        return main(argv)
    except UserError as error:
        message = str(error)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        message = f"{where}{error.strerror or error}"
    except KeyboardInterrupt:
        return _complain(name, "interrupted", 130)
    return _complain(name, message, 2)


def _complain(name: str, message: str, code: int) -> int:
    print(f"{name}: {' '.join(message.split())}", file=sys.stderr)
    return code
