"""The machine and the versions of a measurement, without host names."""

import os
import platform
from importlib import metadata
from pathlib import Path
from typing import Any

import jax

from sidebyside.contenders import torch_threads

PACKAGES = (
    "dropjax",
    "jax",
    "jaxlib",
    "flax",
    "dm-haiku",
    "equinox",
    "keras",
    "torch",
    "torchvision",
    "timm",
    "transformers",
    "numpy",
)


def machine() -> dict[str, Any]:
    """The processor, the cores this process may use, the memory and the device."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "cpu": _cpuinfo("model name") or platform.machine(),
        "avx512": _avx512(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(memory / 2**30),
        "backend": jax.default_backend(),
        "device": jax.devices()[0].device_kind,
        "torch_threads": torch_threads(),
    }


def versions() -> dict[str, str]:
    """The versions of Python and of every library in the comparison."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def _avx512() -> bool | None:
    """Whether there are AVX-512's rotations; None where that is no question."""
    flags = _cpuinfo("flags")
    return None if flags is None else "avx512f" in flags.split()


def _cpuinfo(name: str) -> str | None:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith(name):
                return line.partition(":")[2].strip()
    return None
