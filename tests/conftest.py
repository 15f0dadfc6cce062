"""Strict promotion and eight virtual devices, for every test."""

import itertools
import os

import jax

# LLVM takes longer to optimize most programs here than they run. What XLA itself does,
# from which comes what a program needs of memory, is the same without.
if "JAX_DISABLE_MOST_OPTIMIZATIONS" not in os.environ:
    jax.config.update("jax_disable_most_optimizations", True)
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_num_cpu_devices", 8)


def pytest_make_parametrize_id(val):
    """Names that do not change from one process to the next, as a gzip header does."""
    return f"{len(val)} bytes" if isinstance(val, bytes) else None


_ENDED = itertools.count(1)


def pytest_runtest_logfinish(nodeid, location):
    """Thousands of compiled programs would take gigabytes."""
    if next(_ENDED) % 150 == 0:
        jax.clear_caches()
