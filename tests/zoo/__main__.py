"""Writes `trees.txt` anew."""

import dropjax as dj
from dropjax.transforms._paths import named, owners
from tests import zoo
from tests.zoo.models import MODELS

PLAIN = {"dict", "list", "tuple", "FrozenDict", "State", "NoneType"}


def lines(title, tree):
    known = {entry.path: entry.mark for entry in zoo.read().get(title, [])}
    selected = dj.selected(tree)
    yield f"== {title}"
    for (path, leaf), owner in zip(named(tree), owners(tree), strict=True):
        mark = known.get(path, "?+" if path in selected else "?-")
        shape = str(tuple(leaf.shape)).replace(" ", "").replace(",)", ")")
        held = [] if owner in PLAIN else [f"@{owner}"]
        yield " ".join([mark, path, str(leaf.dtype), shape, *held])
    yield ""


def main():
    text = [line for title, make in MODELS.items() for line in lines(title, make())]
    zoo.FILE.write_text("\n".join(text))


if __name__ == "__main__":
    main()
