"""What a result was measured with: date, processor and versions."""

import datetime
import importlib.metadata
import os
import platform
from pathlib import Path
from typing import Any

import jax

_PACKAGES = ("jax", "flax", "optax")
_CPUINFO = Path("/proc/cpuinfo")


def provenance() -> dict[str, Any]:
    """Return the date, the machine, and the versions of Python and the packages."""
    versions = {name: importlib.metadata.version(name) for name in _PACKAGES}
    return {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "machine": {"processor": _processor(), "cores": os.cpu_count()},
        "versions": {"python": platform.python_version(), **versions},
    }


def _processor() -> str:
    device = jax.devices()[0]
    if device.platform != "cpu":
        return device.device_kind
    lines = _CPUINFO.read_text().splitlines() if _CPUINFO.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if "model name" in line]
    return names[0] if names else platform.processor() or platform.machine()
