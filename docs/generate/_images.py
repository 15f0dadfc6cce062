"""The panels of docs/picture.py as images of their own."""

import ast
import io
import re
from typing import Any

import numpy as np

from ._paths import HERE

PICTURE = HERE / "picture.py"
FAMILY = HERE / "family.png"
IMAGES = HERE / "methods" / "images"


def shown_methods() -> set[str]:
    """The functions that have a panel, found without drawing it."""
    tree = ast.walk(ast.parse(PICTURE.read_text()))
    texts = [it.value for it in tree if isinstance(it, ast.Constant)]
    found = (re.fullmatch(r"(\w+)(\(.*\))?", it) for it in texts if isinstance(it, str))
    return {match[1] for match in found if match}


def write_images() -> None:
    """Draws the panels, unless they were drawn from the same picture."""
    mark = IMAGES / "drawn.txt"
    state = f"{PICTURE.stat().st_mtime_ns} {FAMILY.stat().st_mtime_ns}"
    if mark.exists() and mark.read_text() == state:
        return
    import picture

    IMAGES.mkdir(parents=True, exist_ok=True)
    panels = [panel for row in picture.rows() for panel in row]
    inputs = {it.subject: it for it in panels if it.note and not is_method(it)}
    drawn: set[str] = set()
    for panel in filter(is_method, panels):
        name = panel.name.split("(")[0]
        if name not in drawn:
            drawn.add(name)
            before, after = picture.paint(inputs[panel.subject]), picture.paint(panel)
            write_image(name, after)
            write_image(f"{name}-pair", side_by_side(before, after))
    mark.write_text(state)


def is_method(panel: Any) -> bool:
    """Whether a panel shows a function, rather than an input."""
    import dropjax

    return hasattr(dropjax, panel.name.split("(")[0] or " ")


def side_by_side(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Two images of the same height, with space between them."""
    gap = np.ones((len(before), 40, 3))
    return np.hstack([before, gap, after])


def write_image(name: str, pixels: np.ndarray) -> None:
    """Writes an image of colors from 0 to 1."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray((255 * pixels).round().astype(np.uint8)).save(file, "PNG")
    (IMAGES / f"{name}.png").write_bytes(file.getvalue())
