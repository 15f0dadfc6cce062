"""A generator's name, by which JAX finds it as it finds its own.

JAX has no public function that registers a generator's name; this module writes to its
private registries. Each is optional. Where a version of JAX lacks one, keys work as
before, and JAX refuses what needs the name: `jax.random.key(0, impl="dropjax_fast")`,
and restoring a checkpoint that recorded the name. `impl=fast_prng` and
`jax.random.key_data` then take their place.
"""

import contextlib
from typing import Any

import jax

_EXPORTED_AS = -68
"""A key's type in exported programs, one signed byte: JAX's own count up from 0."""

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
    """Admits the name to `jax_default_prng_impl`, and leaves its value alone."""
    *_, options = jax.config.meta["jax_default_prng_impl"]
    names = options["enum_values"]
    if impl.name not in names:
        names.append(impl.name)


def _in_exports(impl: Any) -> None:
    from jax._src.export import serialization
    from jax._src.random import prng

    serialization.register_dtype_kind(prng.KeyTy(impl), _EXPORTED_AS)
