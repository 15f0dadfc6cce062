"""One stream."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Stream:
    """What is drawn for a key: `draw(key)` returns an array of bools or integers.

    `shape`, `rate` and `options` describe it to the readers of the file.
    """

    name: str
    shape: tuple[int, ...]
    rate: Any
    options: dict[str, Any]
    draw: Callable[..., Any]

    @property
    def said(self) -> str:
        """The options, as in a call."""
        return ", ".join(f"{k}={_readable(v)}" for k, v in self.options.items())


def _readable(value: Any) -> str:
    return getattr(value, "__name__", None) or repr(value)
