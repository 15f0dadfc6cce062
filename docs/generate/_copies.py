"""Markdown from outside of docs/ as pages, and links between files as on the site."""

import os
import pathlib
import re
from collections.abc import Iterator

from ._paths import HERE, RESULTS, ROOT

LINK = re.compile(r"\[([^\[\]]*)\]\((?![a-z]+:|#)([^)#\s]+)(#[^)\s]*)?\)")


def places() -> dict[pathlib.Path, pathlib.Path]:
    """Files outside of docs/ that are pages of the site, and where they are there."""
    found = {
        ROOT / "README.md": HERE / "index.md",
        ROOT / "CHANGELOG.md": HERE / "project" / "changelog.md",
        ROOT / "CONTRIBUTING.md": HERE / "project" / "contributing.md",
    }
    for path in sorted(RESULTS.rglob("*.md")):
        found[path] = HERE / "benchmarks" / path.relative_to(RESULTS)
    return found


def copied_pages() -> Iterator[tuple[str, str]]:
    """All of them but the README, in whose place the first screen is."""
    for source, target in places().items():
        if source.name != "README.md":
            text = relink(titled(source.read_text(), source), source, target)
            yield str(target.relative_to(HERE)), text


def titled(text: str, source: pathlib.Path) -> str:
    """The text, with a title of its own for each record that run.py writes."""
    if not text.startswith("# dropjax beside"):
        return text
    words = source.relative_to(RESULTS).with_suffix("").parts
    _, _, rest = text.partition("\n")
    name = ", ".join([*words[:-1], words[-1].upper()])
    return f"# Benchmarks: {name}\n{rest}"


def relink(text: str, source: pathlib.Path, target: pathlib.Path) -> str:
    """The text of a file, with links that hold where it is on the site.

    A link to a file that is no page becomes a download, and one that shows the name of
    a page's file shows the title of the page.
    """
    where = places()

    def moved(link: re.Match[str]) -> str:
        words, name, anchor = link.groups(default="")
        path = (source.parent / name).resolve()
        there = where.get(path, path)
        is_name = words.endswith(".md") and there.is_relative_to(HERE)
        shown = "" if is_name and not anchor else words
        return f"[{shown}]({os.path.relpath(there, target.parent)}{anchor})"

    return LINK.sub(moved, text)
