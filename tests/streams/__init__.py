"""What each method draws, as digests in one file that must not change.

docs/streams.md states the contract. A stream is what a method draws for a key: which
elements are kept, the indices of a subset, or the keys of leaves. `STREAMS` lists those
of every row of the table of methods, and of every option that draws.
"""

import functools
import hashlib
import pathlib
import tomllib

import jax
import jax.numpy as jnp
import numpy as np

import dropjax as dj
from tests.methods import METHODS
from tests.streams._options import OPTIONS, for_many_keys
from tests.streams._stream import Stream

RATE = 0.3
GOLDEN = pathlib.Path(__file__).with_name("golden.toml")
KEYS = {
    "threefry": functools.partial(jax.random.key, 2013, impl="threefry2x32"),
    "fast": functools.partial(jax.random.key, 2013, impl=dj.fast_prng),
}


def of_row(method):
    """The stream of a row, seen in its function, its layers and its mask function."""
    x = method.array()

    def draw(key):
        seen = [
            method.drawn(x, getattr(method, face)(key, x, RATE), RATE)
            for face in method.faces
        ]
        masks = [method.mask(key, method.shape, RATE)] if method.mask else []
        return jnp.concatenate([jnp.ravel(own).astype(int) for own in seen + masks])

    several = method.coins == ()
    return Stream(
        method.name,
        method.shape,
        RATE,
        method.options,
        for_many_keys(draw) if several else draw,
    )


STREAMS = [*map(of_row, METHODS), *OPTIONS]


def digest(drawn):
    """The first 64 bits of SHA-256 of the shape and of the elements as int64."""
    drawn = np.asarray(drawn)
    assert drawn.dtype.kind in "bui", f"a stream of {drawn.dtype}"
    content = f"{drawn.shape}".encode() + drawn.astype("<i8").tobytes()
    return hashlib.sha256(content).hexdigest()[:16]


def golden():
    """The number of the contract, and the lines of the file by the streams' names."""
    content = tomllib.loads(GOLDEN.read_text())
    return content["contract"], content["streams"]


def line(stream, generators=tuple(KEYS)):
    """What the file says of a stream."""
    keys = {name: KEYS[name]() for name in generators}
    # One program for both generators is compiled faster than each operation alone.
    drawn = jax.jit(functools.partial(jax.tree.map, stream.draw))(keys)
    return {
        "shape": list(stream.shape),
        "rate": stream.rate,
        "options": stream.said,
        **{name: digest(drawn[name]) for name in generators},
    }
