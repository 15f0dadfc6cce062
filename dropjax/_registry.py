"""Registers a generator with JAX by name.

JAX has no public function for this, so this module writes to private registries. Each
of them is optional. If a version of JAX lacks one, keys work as before, and JAX rejects
only what needs the name: `jax.random.key(0, impl="dropjax_fast_v1")`, and restoring a
checkpoint that recorded the name. Use `impl=fast_prng` and `jax.random.key_data` in
these cases.
"""

import contextlib
from typing import Any

import jax

_EXPORTED_AS = -68
"""The type code of keys in exported programs, a signed byte; JAX's count up from 0."""

_ABSENT = (ImportError, AttributeError, KeyError, IndexError, TypeError)


def register(generator: Any) -> None:
    """Makes `generator` known to JAX by its name."""
    for place in (_by_name, _as_default, _in_exports):
        with contextlib.suppress(*_ABSENT):
            place(generator._impl)


def _by_name(impl: Any) -> None:
    from jax._src.random import prng

    prng.prngs[impl.name] = impl


def _as_default(impl: Any) -> None:
    """Makes the name a valid value of `jax_default_prng_impl`, without setting it."""
    *_, options = jax.config.meta["jax_default_prng_impl"]
    names = options["enum_values"]
    if impl.name not in names:
        names.append(impl.name)


def _in_exports(impl: Any) -> None:
    from jax._src.export import serialization
    from jax._src.random import prng

    serialization.register_dtype_kind(prng.KeyTy(impl), _EXPORTED_AS)
