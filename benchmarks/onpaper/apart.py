"""Calls in a separate process, since the compiler may crash."""

from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from typing import Any

_TRIES = 5


class Apart:
    """Another process, which is started again where it ended in the middle of a call.

    Without a GPU, JAX's plugin for CUDA crashes about one process in eight.
    """

    def __init__(self) -> None:
        self._pool = _process()

    def __call__(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Calls a function, importable by its name, there."""
        for _ in range(_TRIES - 1):
            try:
                return self._pool.submit(function, *arguments).result()
            except BrokenProcessPool:
                self._pool = _process()
        return self._pool.submit(function, *arguments).result()


def _process() -> ProcessPoolExecutor:
    return ProcessPoolExecutor(1, mp_context=get_context("spawn"))
