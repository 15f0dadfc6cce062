"""Compiles a training step for TPUs and reads the compiler's report."""

import os
import re
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any, TypeAlias

os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
os.environ.setdefault("ALLOW_MULTIPLE_LIBTPU_LOAD", "1")

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import topologies
from jax.sharding import Mesh, NamedSharding, PartitionSpec

import dropjax as dj
from onpaper.nets import DATA, MODEL, Net, Noise, specs, training_step

MIB = 2**20
GENERATORS = {"threefry": "threefry2x32", "fast": dj.fast_prng}

Report: TypeAlias = dict[str, Any]

_TALK = re.compile(
    r"= (?P<result>.*?) (?P<kind>all-reduce|all-gather|reduce-scatter|all-to-all|"
    r"collective-permute|collective-broadcast)(-start)?\("
)
_SHAPE = re.compile(r"([a-z]+\d*\w*)\[([\d,]*)\]")


def chips(topology: str, model: int = 1) -> Mesh:
    """A mesh of the chips of a pod, with a data axis and a model axis.

    Args:
      topology: such as "v5e:4x4".
      model: the number of chips that share the parameters.

    Returns:
      The mesh.
    """
    described = topologies.get_topology_desc(platform="tpu", topology_name=topology)
    devices = np.array(described.devices).reshape(-1, model)
    return Mesh(devices, (DATA, MODEL))


def compile_step(net: Net, noise: Noise, generator: str, mesh: Mesh) -> Report:
    """Compiles a training step for a mesh.

    Args:
      net: the network, with the batch of one chip.
      noise: the method.
      generator: of the key.
      mesh: the chips.

    Returns:
      The compiler's report; see `read`.
    """
    everywhere = NamedSharding(mesh, PartitionSpec())
    batch = NamedSharding(mesh, PartitionSpec(DATA))
    shares = {name: NamedSharding(mesh, spec) for name, spec in specs(net).items()}
    params = {
        name: _array((net.depth, *shape), jnp.float32, shares[name])
        for name, shape in net.shapes.items()
    }
    key = jax.eval_shape(lambda: jax.random.key(0, impl=GENERATORS[generator]))
    arguments = (
        params,
        _array(key.shape, key.dtype, everywhere),
        _array((net.x[0] * mesh.size, *net.x[1:]), jnp.float32, batch),
    )
    step = jax.jit(
        training_step(net, noise),
        out_shardings=(everywhere, shares),
        donate_argnums=0,
    )
    lowered = step.lower(*arguments)
    began = time.perf_counter()
    compiled = lowered.compile()
    return {**read(compiled), "seconds": round(time.perf_counter() - began, 1)}


def read(compiled: jax.stages.Compiled) -> Report:
    """Reads the compiler's report on a program.

    Returns:
      The bytes of one chip's arguments, scratch memory and program; the number of
      collectives of each kind; and the kind and shape of each of their results.
    """
    memory = compiled.memory_analysis()
    kinds: Counter[str] = Counter()
    talk: list[str] = []
    for match in _TALK.finditer(compiled.as_text()):
        kinds[match["kind"]] += 1
        talk += (f"{match['kind']} {shape}" for shape in _shapes(match["result"]))
    return {
        "arguments": memory.argument_size_in_bytes,
        "scratch": memory.temp_size_in_bytes,
        "program": memory.generated_code_size_in_bytes,
        "collectives": dict(sorted(kinds.items())),
        "talk": sorted(talk),
    }


def worse(report: Report, plain: Report) -> bool:
    """Whether a program has other collectives than another, or more scratch memory.

    The tolerance is 5% plus 1 MiB: the compiler rounds keys up to 4 KiB, and what it
    keeps in faster memory differs between programs.
    """
    granted = 1.05 * plain["scratch"] + MIB
    return bool(report["talk"] != plain["talk"] or report["scratch"] > granted)


def _shapes(result: str) -> Iterator[str]:
    for dtype, sizes in _SHAPE.findall(result):
        yield f"{dtype}[{','.join(size for size in sizes.split(',') if size != '1')}]"


def _array(
    shape: tuple[int, ...], dtype: Any, sharding: NamedSharding
) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, dtype, sharding=sharding)
