"""Whether a result's memory comes fresh from the system, or from the call before.

glibc takes blocks of 32 MiB and more from the system and gives them back when they
are freed; smaller ones too, until blocks of their size have been freed once. The system
clears every page that it hands out: for an array read and written once, that is most of
the time. Programs that keep their memory, as allocators made for it do, and as a few
settings make glibc do, never pay it again.
"""

import ctypes

FRESH, REUSED = "fresh", "reused"

# The names of glibc's malloc.h, and what its thresholds grow to in a program that frees
# large blocks: to set one of them is to end that growth.
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -3, -4, -8
_GROWN = {_TRIM_THRESHOLD: 2**26, _MMAP_THRESHOLD: 2**25, _MMAP_MAX: 65536}
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
        _set(_KEEPING if how == REUSED else _GROWN)
        _libc().malloc_trim(0)


def _set(parameters: dict[int, int]) -> bool:
    return all(_libc().mallopt(name, value) for name, value in parameters.items())


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None)
