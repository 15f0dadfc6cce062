"""Whether results use fresh memory from the system, or reuse that of earlier calls.

glibc allocates blocks of 32 MiB or more from the system and returns them when they are
freed; smaller blocks too, until blocks of their size have been freed once. The system
clears every page it hands out, which takes most of the time for an array that is read
and written once. Programs that keep their memory, with another allocator or with a few
glibc settings, pay this cost only once.
"""

import ctypes

FRESH, REUSED = "fresh", "reused"

# The names of glibc's malloc.h, and the values its thresholds grow to in a program that
# frees large blocks; setting one of them stops that growth.
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -3, -4, -8
_GROWN = {_TRIM_THRESHOLD: 2**26, _MMAP_THRESHOLD: 2**25, _MMAP_MAX: 65536}
_KEEPING = {_TRIM_THRESHOLD: 2**31 - 1, _MMAP_MAX: 0}


def prepare() -> bool:
    """Lets all threads share their memory; call it before any are started.

    Returns:
      Whether memory can be kept, which requires glibc.
    """
    return hasattr(_libc(), "gnu_get_libc_version") and _set({_ARENA_MAX: 1})


def choose(how: str) -> None:
    """Keeps freed memory from now on, or returns it as glibc does by default.

    Args:
      how: `FRESH` or `REUSED`.
    """
    if hasattr(_libc(), "malloc_trim"):
        _set(_KEEPING if how == REUSED else _GROWN)
        _libc().malloc_trim(0)


def _set(parameters: dict[int, int]) -> bool:
    return all(_libc().mallopt(name, value) for name, value in parameters.items())


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None)
