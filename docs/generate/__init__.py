"""Writes the pages of the site that follow from the repository.

conf.py calls `write_all`, which fills the folders of docs/ that are in `GENERATED`; git
ignores them. Each module here makes pages from one source: the public names, the table
of methods and the benchmarks' records, or Markdown outside of docs/.
"""

import pathlib
from collections.abc import Iterator

from . import _methods, _reference
from ._copies import copied_pages
from ._copies import relink as relink
from ._docstrings import full_name as full_name
from ._docstrings import process_docstring as process_docstring
from ._docstrings import process_property as process_property
from ._docstrings import process_signature as process_signature
from ._images import write_images
from ._paths import GENERATED as GENERATED
from ._paths import HERE as HERE


def all_pages() -> Iterator[tuple[str, str]]:
    """The path of each generated page, from docs/, and its text."""
    yield from copied_pages()
    yield from _methods.pages()
    yield from _reference.pages()


def written_pages() -> list[pathlib.Path]:
    """The pages that people write, in Markdown."""
    paths = sorted(HERE.rglob("*.md"))
    return [it for it in paths if it.relative_to(HERE).parts[0] not in GENERATED]


def write_all() -> None:
    """Writes the pages that changed, and removes those that are no longer made."""
    pages = dict(all_pages())
    for folder in GENERATED:
        for path in (HERE / folder).rglob("*.[mr][ds]*"):
            if str(path.relative_to(HERE)) not in pages:
                path.unlink()
    for name, text in pages.items():
        path = HERE / name
        if not path.exists() or path.read_text() != text:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
    write_images()
