"""Checks that a wheel and an sdist contain exactly the files tracked by git.

python .ci/check_dist.py DIST
"""

import pathlib
import subprocess
import sys
import tarfile
import zipfile

ROOT = pathlib.Path(__file__).resolve().parents[1]


def main(dist: pathlib.Path) -> None:
    """Check the one wheel and the one sdist in a directory.

    Args:
      dist: the directory.
    """
    (wheel,) = dist.glob("*.whl")
    (sdist,) = dist.glob("*.tar.gz")
    with zipfile.ZipFile(wheel) as archive:
        in_wheel = set(archive.namelist())
    with tarfile.open(sdist) as archive:
        in_sdist = {
            member.name.partition("/")[2] for member in archive if member.isfile()
        }
    info = wheel.name.rsplit("-", 3)[0] + ".dist-info/"
    notes = ("METADATA", "WHEEL", "RECORD", "licenses/LICENSE")
    kept = _kept()
    if not kept:
        print("not a git checkout: file names are not compared")
        return
    package = {name for name in kept if name.startswith("dropjax/")}
    _compare(wheel.name, in_wheel, package | {info + note for note in notes})
    _compare(sdist.name, in_sdist, kept | {"PKG-INFO"})
    print(
        f"{len(in_wheel)} files in the wheel, {len(in_sdist)} in the sdist, as expected"
    )


def _kept() -> set[str]:
    """The files tracked by git, except those for CI; empty without git."""
    command = ["git", "ls-files", "-z"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    names = filter(None, listed.stdout.split("\0"))
    others = (".ci/", ".github/", ".pre-commit")
    return {name for name in names if not name.startswith(others)}


def _compare(name: str, found: set[str], wanted: set[str]) -> None:
    for what, names in (("lacks", wanted - found), ("also contains", found - wanted)):
        if names:
            sys.exit(f"{name} {what} {', '.join(sorted(names))}")


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
