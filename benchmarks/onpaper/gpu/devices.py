"""GPU parameters, as XLA describes them, and the minimum time of a launch."""

from typing import NamedTuple

from onpaper.sass import Code

_QUARTERS = 4
_WARP = 32


class Device(NamedTuple):
    """A GPU.

    Attributes:
      name: as its driver says it.
      target: its instruction set, for ptxas.
      capability: its compute capability.
      cores: streaming multiprocessors.
      lanes: of float32, in each of them.
      bandwidth: of its memory, in bytes per second.
      clock: that it holds under load, in GHz.
      top_clock: the highest, which XLA's own cost model takes.
      memory: in bytes.
      cache: of the second level, in bytes.
      shared: memory of a multiprocessor, in bytes.
      shared_block: of that, the most that a block may ask for.
    """

    name: str
    target: str
    capability: tuple[int, int]
    cores: int
    lanes: int
    bandwidth: float
    clock: float
    top_clock: float
    memory: int
    cache: int
    shared: int
    shared_block: int


DEVICES = {
    "H100": Device(
        name="NVIDIA H100 80GB HBM3",
        target="sm_90a",
        capability=(9, 0),
        cores=132,
        lanes=128,
        bandwidth=3.35232e12,
        clock=1.755,
        top_clock=1.98,
        memory=84942979072,
        cache=52428800,
        shared=233472,
        shared_block=232448,
    ),
    "A100": Device(
        name="NVIDIA A100-SXM4-80GB",
        target="sm_80",
        capability=(8, 0),
        cores=108,
        lanes=64,
        bandwidth=2.03904e12,
        clock=1.41,
        top_clock=1.41,
        memory=85100068864,
        cache=41943040,
        shared=167936,
        shared_block=166912,
    ),
    "B200": Device(
        name="NVIDIA B200",
        target="sm_100a",
        capability=(10, 0),
        cores=148,
        lanes=128,
        bandwidth=7.67232e12,
        clock=1.85,
        top_clock=1.965,
        memory=191514411008,
        cache=132644864,
        shared=233472,
        shared_block=232448,
    ),
}


def limits(
    device: Device, code: Code | None, threads: int, size: float
) -> dict[str, float]:
    """The least time of a launch by what may bind it, in microseconds.

    Args:
      device: the GPU.
      code: the kernel's instructions; None for a copy, or a library's.
      threads: how many execute them.
      size: the bytes that it reads and writes.
    """
    found = {"memory": size / device.bandwidth * 1e6}
    if code is not None:
        warps = threads / _WARP / (_QUARTERS * device.cores)
        cycles = code.cycles()
        found |= {pipe: it * warps / device.clock / 1e3 for pipe, it in cycles.items()}
    return found


def target_config(device: Device) -> str:
    """The device in the text format that XLA compiles for."""
    major, minor = device.capability
    extension = "ACCELERATED_FEATURES" if device.target.endswith("a") else "NONE"
    return f"""
gpu_device_info {{
  name: "{device.name}"
  device_vendor: "NVIDIA Corporation"
  cuda_compute_capability {{
    major: {major} minor: {minor} feature_extension: {extension}
  }}
  core_count: {device.cores}
  fpus_per_core: {device.lanes}
  clock_rate_ghz: {device.top_clock}
  memory_bandwidth: {device.bandwidth:.0f}
  device_memory_size: {device.memory}
  l2_cache_size: {device.cache}
  shared_memory_per_core: {device.shared}
  shared_memory_per_block: 49152
  shared_memory_per_block_optin: {device.shared_block}
  threads_per_warp: {_WARP}
  threads_per_block_limit: 1024
  threads_per_core_limit: 2048
  thread_dim_limit_x: 1024 thread_dim_limit_y: 1024 thread_dim_limit_z: 64
  block_dim_limit_x: 2147483647 block_dim_limit_y: 65535 block_dim_limit_z: 65535
  registers_per_core_limit: 65536
  registers_per_block_limit: 65536
  device_address_bits: 64
  pcie_bandwidth: 34359738368
  driver_version: "13.0.0"
  runtime_version: "13.0.0"
  compile_time_toolkit_version: "13.0.0"
  dnn_version: "9.10.0"
  {_rates(device)}
}}
platform_name: "CUDA"
dnn_version_info {{ major: 9 minor: 10 }}
device_description_str: "{device.name}"
"""


def _rates(device: Device) -> str:
    """Units of a multiprocessor, and what each does in a clock, by XLA's types."""
    s32, u32, f16, f32, f64, bf16 = 4, 8, 10, 11, 12, 16
    rates = dict.fromkeys((s32, u32, f64), (64, 1))
    rates |= {f32: (device.lanes, 1), f16: (device.lanes, 2), bf16: (device.lanes, 2)}
    lines = (
        f"rate_infos {{ key: {kind} value {{ clock_rate_ghz: {device.top_clock} "
        f"units_per_core: {units} ops_per_clock: {per_clock} }} }}"
        for kind, (units, per_clock) in sorted(rates.items())
    )
    return f"scalar_unit_description {{ {' '.join(lines)} }}"
