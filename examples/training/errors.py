"""Errors shown to the user as one line, with an exit code."""

import contextlib
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path


class UserError(Exception):
    """An error that the user can fix; shown as one line, without a traceback."""


def run_program(
    name: str, main: Callable[[Sequence[str]], int], argv: Sequence[str]
) -> int:
    """Run ``main(argv)`` and print errors that the user can fix in one line to stderr.

    Args:
      name: the program's name, printed before the message.
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
        message = f"{where}{reason(error)}"
    except KeyboardInterrupt:
        return _complain(name, "interrupted", 130)
    return _complain(name, message, 2)


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Name the file in errors on writing, which the system does not always do.

    Args:
      path: the file that is written in the context.

    Yields:
      Nothing.

    Raises:
      UserError: an OSError was raised.
    """
    try:
        yield
    except OSError as error:
        raise UserError(f"cannot write {path}: {reason(error)}") from error


def reason(error: OSError) -> str:
    """Return the system's message, without its number and the path.

    Args:
      error: the error.

    Returns:
      A short message, such as "No space left on device".
    """
    return error.strerror or str(error)


def _complain(name: str, message: str, code: int) -> int:
    print(f"{name}: {' '.join(message.split())}", file=sys.stderr)
    return code
