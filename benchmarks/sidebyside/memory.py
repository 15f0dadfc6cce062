"""Whether a result's memory comes fresh from the system, or from the call before.

glibc takes blocks of 32 MiB and more from the system and gives them back when they
are freed. The system clears every page that it hands out: for an array read and
written once, that is most of the time. Programs that keep their memory, as allocators
made for it do, and as a few settings make glibc do, never pay it again.
"""

import ctypes

FRESH, REUSED = "fresh", "reused"

# The names and defaults of glibc's malloc.h.
_TRIM_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -4, -8
_DEFAULTS = {_TRIM_THRESHOLD: 128 * 1024, _MMAP_MAX: 65536}
_KEEPING = {_TRIM_THRESHOLD: 2**31 - 1, _MMAP_MAX: 0}


def prepare() -> bool:
    """Makes all threads share their memory; to be called before there are any.

    Returns:
      Whether memory can be kept here: the C library must be glibc.
    """
    return hasattr(_libc(), "gnu_get_libc_version") and _set({_ARENA_MAX: 1})


def choose(how: str) -> None:
    """Keeps freed memory from now on, or gives it back as glibc does by itself.

    Args:
      how: `FRESH` or `REUSED`.
    """
    if hasattr(_libc(), "malloc_trim"):
        _set(_KEEPING if how == REUSED else _DEFAULTS)
        _libc().malloc_trim(0)


def _set(parameters: dict[int, int]) -> bool:
    return all(_libc().mallopt(name, value) for name, value in parameters.items())


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None)
