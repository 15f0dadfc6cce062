"""Reports missing packages in one line instead of a traceback."""

import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path


def packages(names: Sequence[str], extra: str) -> None:
    """Exits the program if a package is missing.

    Args:
      names: the packages, importable under these names.
      extra: which of dropjax's extras installs them.
    """
    if missing := [name for name in names if not find_spec(name)]:
        sys.exit(
            f"{Path(sys.argv[0]).name}: not installed: {', '.join(missing)}; run "
            f"pip install '.[{extra}]' in the project's directory"
        )
