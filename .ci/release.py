"""Checks that everything about a release names the same version, and writes its notes.

python .ci/release.py DIST NOTES [TAG]

Without a tag it is a rehearsal: the changelog need not have the date yet.
"""

import pathlib
import re
import sys
import tomllib

ROOT = pathlib.Path(__file__).resolve().parents[1]
HEADING = re.compile(r"^## (\S+) \((unreleased|\d{4}-\d\d-\d\d)\)$", re.MULTILINE)


def main(dist: pathlib.Path, notes: pathlib.Path, tag: str = "") -> None:
    """Check the version, and write the newest section of the changelog to a file.

    Args:
      dist: the directory of the wheel and the sdist.
      notes: the file to write.
      tag: the tag that is released, "v" and the version.
    """
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    changelog = (ROOT / "CHANGELOG.md").read_text()
    first = HEADING.search(changelog)
    if first is None:
        sys.exit("CHANGELOG.md has no section '## VERSION (DATE or unreleased)'")
    citation = re.search(r"^version: (.*)$", (ROOT / "CITATION.cff").read_text(), re.M)
    found = {
        "CHANGELOG.md": first[1],
        "CITATION.cff": citation[1] if citation else "no version",
        **{file.name: _version_of(file.name) for file in sorted(dist.iterdir())},
    }
    if tag:
        found["the tag"] = tag.removeprefix("v")
        if first[2] == "unreleased":
            sys.exit(f"CHANGELOG.md has no date for {version}")
    for where, other in found.items():
        if other != version:
            sys.exit(f"pyproject.toml has version {version}, but {where} has {other}")
    section = changelog[first.end() :].partition("\n## ")[0].strip()
    if not section:
        sys.exit(f"CHANGELOG.md has nothing about {version}")
    notes.write_text(section + "\n")
    print(f"dropjax {version}: {', '.join(found)} agree; {notes} has the notes")
    if not tag:
        print(
            "This was a rehearsal. To release, give the section of CHANGELOG.md its "
            f"date, commit, and push the tag v{version}: the release workflow uploads."
        )


def _version_of(file: str) -> str:
    name = re.match(r"dropjax-([^-]+?)(-py3-none-any\.whl|\.tar\.gz)$", file)
    return name[1] if name else "another name"


if __name__ == "__main__":
    main(*map(pathlib.Path, sys.argv[1:3]), *sys.argv[3:])
