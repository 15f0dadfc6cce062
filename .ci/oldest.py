"""Prints pip constraints for the oldest versions that pyproject.toml allows.

python .ci/oldest.py EXTRA... > constraints.txt
"""

import pathlib
import re
import sys
import tomllib

ROOT = pathlib.Path(__file__).resolve().parents[1]
REQUIREMENT = re.compile(r"([\w-]+)(?:\[([\w,]+)\])?(?:>=([\w.]+))?")


def main(extras: list[str]) -> None:
    """Print the lower bound of each requirement as a pinned version.

    Args:
      extras: extras whose requirements are included, with those of extras they name.
    """
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    optional = project["optional-dependencies"]
    waiting = [*project["dependencies"], *(r for e in extras for r in optional[e])]
    while waiting:
        name, further, bound = REQUIREMENT.match(waiting.pop()).groups()
        if name == project["name"]:
            waiting += (r for e in further.split(",") for r in optional[e])
        elif bound:
            print(f"{name}=={bound}")


if __name__ == "__main__":
    main(sys.argv[1:])
