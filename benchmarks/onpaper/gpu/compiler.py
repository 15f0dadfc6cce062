"""Compiles a function for a GPU and reads the reports of XLA and NVIDIA's tools."""

import re
import subprocess
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import jax
from hlo import Instruction, Module, size_of
from jax.experimental import topologies
from jax.sharding import SingleDeviceSharding

from onpaper import sass
from onpaper.gpu.devices import DEVICES, Device, limits, target_config
from onpaper.thunks import Launch, launches

Report: TypeAlias = dict[str, Any]

# Nothing can be timed to choose by, so products go to cuBLAS.
_OPTIONS: dict[str, Any] = {
    "xla_gpu_autotune_level": 0,
    "xla_gpu_enable_triton_gemm": False,
    "xla_dump_emitter_re": "ptx",
}
_TOOLS = Path(jax.__file__).parents[1] / "nvidia" / "cu13" / "bin"
# Of smaller launches the time is that of starting them.
_LARGE = 2**14
# What is smaller than this is no mask of an array's.
_ARRAY = 2**16


def compile_for(device: str, function: Callable[..., Any], *arguments: Any) -> Report:
    """Compiles a function for a GPU.

    Args:
      device: one of `DEVICES`.
      function: what is compiled.
      arguments: trees of arrays, keys or their shapes.

    Returns:
      How many launches there are; the bytes of scratch memory, and those that all
      launches read and write; the least time in microseconds, by what binds each
      launch; instructions of all threads; whether a kernel loops, so that this is too
      few; the masks and words, as shapes, that are stored in memory; and the kinds of
      matrix products, as "library" or "loop", and the dtypes of the operands.
    """
    found = DEVICES[device]
    lowered = jax.jit(function).lower(*_placed(found, arguments))
    with tempfile.TemporaryDirectory() as folder:
        compiled = lowered.compile({**_OPTIONS, "xla_dump_to": folder})
        return _read(compiled, found, Path(folder))


def _placed(device: Device, tree: Any) -> Any:
    topology = topologies.get_topology_desc(
        platform="cuda", target_config=target_config(device), topology="1x1x1"
    )
    there = SingleDeviceSharding(topology.devices[0])
    return jax.tree.map(
        lambda it: jax.ShapeDtypeStruct(it.shape, it.dtype, sharding=there), tree
    )


def _read(compiled: jax.stages.Compiled, device: Device, folder: Path) -> Report:
    module = Module(compiled.as_text() or "")
    found = list(launches(_text(folder, "sequence"), _text(folder, "metadata"), module))
    codes: dict[str, sass.Code] = {}
    large = {launch.kernel for launch in found if launch.threads >= _LARGE}
    for path in folder.glob("*.ptx"):
        if large.intersection(re.findall(r"\.entry (\w+)\(", path.read_text())):
            codes |= sass.kernels(_disassembled(path, device.target))
    memory: Any = compiled.memory_analysis()
    return {
        "launches": sum(launch.times for launch in found),
        "scratch": memory.temp_size_in_bytes,
        **_sums(found, codes, module, device),
        "stored": sorted({it for launch in found for it in _masks(launch, module)}),
        "products": sorted({_product(it, module) for it in module if _multiplies(it)}),
    }


def _sums(
    found: list[Launch], codes: Mapping[str, sass.Code], module: Module, device: Device
) -> Report:
    moved, executed, loops = 0.0, 0, False
    bound: dict[str, float] = defaultdict(float)
    for launch in found:
        known = launch.instruction in module
        size = sum(module.traffic(launch.instruction)) if known else 0.0
        large = launch.threads >= _LARGE
        code = codes.get(launch.kernel) if large else None
        least = limits(device, code, launch.threads, size)
        binding = max(least, key=lambda resource: least[resource])
        bound[binding] += launch.times * least[binding]
        moved += launch.times * size
        if code is not None:
            executed += launch.times * launch.threads * code.instructions
            loops |= code.loops
    most = sorted(bound.items(), key=lambda item: -item[1])
    return {
        "bytes": round(moved),
        "instructions": executed,
        "loops": loops,
        "microseconds": {name: round(time, 2) for name, time in most},
    }


def _masks(launch: Launch, module: Module) -> Iterator[str]:
    """Arrays of booleans, or of random words."""
    if launch.instruction in module:
        for shape in module.results(launch.instruction):
            if shape.startswith(("u32[", "pred[")) and size_of(shape) >= _ARRAY:
                yield shape


def _multiplies(instruction: Instruction) -> bool:
    library = 'custom_call_target="__cu' in instruction.attributes
    return library or instruction.opcode in ("dot", "convolution")


def _product(instruction: Instruction, module: Module) -> str:
    """Who computes a product, and the dtypes of its first two operands."""
    where = "library" if instruction.opcode == "custom-call" else "loop"
    operands = module.operands(instruction.name)[:2]
    return " ".join([where, *(it.shape.partition("[")[0] for it in operands)])


def _text(folder: Path, kind: str) -> str:
    (path,) = folder.glob(f"*.thunk_{kind}.txt")
    return path.read_text()


def _disassembled(path: Path, target: str) -> str:
    cubin = path.with_suffix(".cubin")
    _run(_TOOLS / "ptxas", f"-arch={target}", path, "-o", cubin)
    return _run(_TOOLS / "nvdisasm", "-c", cubin)


def _run(*command: str | Path) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return done.stdout
