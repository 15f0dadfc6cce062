"""What the table of methods in tests/methods says of a method, as sentences.

Each sentence follows from the fields by which tests/test_laws.py chooses its cases.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from tests.methods import METHODS, Method

KINDS = {
    np.inexact: "floating-point and complex numbers",
    np.floating: "floating-point numbers",
    np.integer: "integers",
    np.number: "integers, floating-point and complex numbers",
    np.generic: "booleans, integers, floating-point and complex numbers",
}


def rows_of(things: list[Any]) -> list[Method]:
    """The rows of the table for some public functions and layers."""
    return [row for row in METHODS if any(it in things for it in row.public)]


def laws(row: Method) -> Iterator[tuple[str, str]]:
    """The name of each law that concerns a row, and how the row keeps it."""
    yield "Off is free", _off(row)
    yield "Dtypes", f"{KINDS[row.kind]}, in and out"
    if row.mask and row.smooth and not row.product:
        yield "Dropped elements", _dropped(row)
    if row.mask:
        yield "Kept elements", _kept(row)
    yield "Rate", _rate(row)
    yield "One key, one draw", "eager, in `jit`, `vmap` over keys, `scan` and `remat`"
    if row.smooth and not row.product:
        yield "Backward pass", _saved(row)
    yield "Meshes", _meshes(row)
    if len(row.faces) > 1:
        yield "Layers", "Linen and NNX give what the function gives for the same key"
    if row.mask:
        yield "Mask values", _mask_values(row)
    yield "Stream", "[frozen](../streams.md) within a major version, on all platforms"


def shapes(row: Method) -> str:
    """The shape of the mask values for an example of x."""
    x = "weights" if row.weights else "x"
    if row.mask is None:
        return "There is no mask function."
    options = ", ".join(f"{name}={value!r}" for name, value in row.options.items())
    given = f" and `{options}`" if options else ""
    return f"For {x} of shape `{row.shape}`{given}, the mask has shape `{row.coins}`."


def _off(row: Method) -> str:
    x = np.ones(row.shape, np.float32)
    is_itself = row.whole(x) is x and not row.product
    whole = "`x` itself" if is_itself else "what is computed without dropping"
    if row.off is None:
        ways = "`deterministic=True`" + " or a rate of 0" * row.rated
        return f"with {ways} it returns {whole}, and needs no key"
    return f"`deterministic=True` returns {_mean(row, x) or whole}, and needs no key"


def _mean(row: Method, x: np.ndarray) -> str:
    low, high = row.off(x, 0.3), row.off(x, 0.6)
    if np.any(low != high):
        return "the mean over draws"
    return "" if low.shape == x.shape else "`x` with a first axis of size 1"


def _dropped(row: Method) -> str:
    if row.heals:
        return "selected: NaN and Inf vanish, in gradients too"
    return "selected; NaN may stay, because x decides what drops or replaces it"


def _kept(row: Method) -> str:
    said = "as defined"
    if row.scales and row.plain:
        said = "scaled in float32" + ", and rounded once" * row.once
    if row.ulps:
        said += f"; up to {row.ulps} units in the last place between two programs"
    return said


def _rate(row: Method) -> str:
    if not row.rated:
        return "learned: only here does the rate have a gradient"
    if row.static:
        return "a Python number, because it decides shapes"
    said = "may be traced, without recompilation; has no gradient"
    if row.mask and row.fair and row.plain and row.several:
        said += "; may be an array, with a rate for each mask value"
    return said


def _saved(row: Method) -> str:
    if row.saved >= np.prod(row.shape):
        return "keeps x, which the gradient needs, but no mask"
    if row.saved > 8:
        return "keeps fewer numbers than x has"
    drawn = "mask" if row.mask else "noise"
    return f"keeps the key and redraws the {drawn}: no array is stored"


def _meshes(row: Method) -> str:
    if row.product:
        return "the values of a single device"
    if not row.talks:
        return "the values of a single device, without communication"
    axes = " or ".join(map(str, row.talks))
    return (
        "the values of a single device, without communication, unless x is sharded "
        f"along axis {axes}, along which the definition needs all values"
    )


def _mask_values(row: Method) -> str:
    if row.fair:
        return "independent, and dropped with the probability `rate`"
    return "not independent, by the definition"
