"""The programs compiled for a GPU: from a row's name to a function and arguments."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp

import dropjax as dj
from onpaper import nets
from onpaper.bars import OWN
from onpaper.gpu import methods
from onpaper.gpu.compiler import Report, compile_for

GENERATORS = {"threefry": "threefry2x32", "fast": dj.fast_prng, "rbg": "rbg"}
FORWARD, BOTH = "forward", "forward+backward"
PLAIN, FLAX, OURS = "without", "flax", "dropjax"

METHODS = methods.methods()
NETS = {
    "MLP": nets.mlp(width=1024, batch=512, depth=8),
    "transformer": nets.transformer(width=512, heads=8, length=256, batch=8, depth=4),
}
NOISES = {
    PLAIN: nets.NOISES[nets.NONE],
    FLAX: nets.Noise(drop=methods.flax_dropout),
    OURS: nets.NOISES["dropout"],
}

Arguments: TypeAlias = tuple[Any, ...]


class Case(NamedTuple):
    """A row, in names.

    Attributes:
      device: such as "H100".
      what: a method, or a net.
      form: the dtype of a method's arrays; "scanned" or "unrolled" of a net.
      passes: forward, or forward and backward.
      who: flax's, ours, or the same work without.
      generator: of the key.
      face: function or layer, of a method of ours.
    """

    device: str
    what: str
    form: str
    passes: str
    who: str
    generator: str
    face: str = "function"

    @property
    def name(self) -> str:
        """What the row is called."""
        return " ".join(self)

    def plain(self) -> "Case":
        """The same work without dropping anything."""
        return self._replace(who=PLAIN, generator="threefry", face="function")


def cases() -> Iterator[Case]:
    """All rows; off the H100, only methods with a mask entry per element."""
    for passes in (FORWARD, BOTH):
        for method in METHODS.values():
            yield from _of_method("H100", method, passes)
    for net in NETS:
        for form in ("scanned", "unrolled"):
            yield from _of_noises(Case("H100", net, form, BOTH, PLAIN, "threefry"))
    for device in ("B200", "A100"):
        for method in METHODS.values():
            if method.kind == OWN:
                yield from _of_method(device, method, FORWARD)
    for method in METHODS.values():
        yield from _of_layers("H100", method)


def _of_method(device: str, method: methods.Method, passes: str) -> Iterator[Case]:
    if passes == FORWARD or method.smooth:
        for form in method.dtypes:
            plain = Case(device, method.name, form, passes, PLAIN, "threefry")
            yield plain
            for who in (FLAX, OURS) if method.flax else (OURS,):
                for generator in method.generators:
                    yield plain._replace(who=who, generator=generator)


def _of_layers(device: str, method: methods.Method) -> Iterator[Case]:
    case = Case(device, method.name, method.dtypes[0], FORWARD, OURS, "fast")
    for face in method.faces:
        if face != case.face:
            yield case._replace(face=face)


def _of_noises(plain: Case) -> Iterator[Case]:
    yield plain
    for who in (FLAX, OURS):
        for generator in ("threefry", "fast"):
            yield plain._replace(who=who, generator=generator)


def compiled(case: Case) -> Report:
    """Compiles a row.

    Returns:
      What `compile_for` finds, and how many elements the first array has.
    """
    key = jax.eval_shape(lambda: jax.random.key(0, impl=GENERATORS[case.generator]))
    program = _net if case.what in NETS else _method
    function, arrays, elements = program(case)
    return {**compile_for(case.device, function, key, *arrays), "elements": elements}


def _method(case: Case) -> tuple[Callable[..., Any], Arguments, int]:
    method = METHODS[case.what]
    arrays = [jax.ShapeDtypeStruct(it, jnp.dtype(case.form)) for it in method.shapes]
    drop = _drop(method, case)
    if case.passes == FORWARD:
        return drop, tuple(arrays), arrays[0].size

    def both(key: Any, cotangent: jax.Array, *arrays: jax.Array) -> Any:
        y, back = jax.vjp(lambda *arrays: drop(key, *arrays), *arrays)
        return y, back(cotangent)

    key = jax.eval_shape(jax.random.key, 0)
    cotangent = jax.eval_shape(drop, key, *arrays)
    return both, (cotangent, *arrays), arrays[0].size


def _drop(method: methods.Method, case: Case) -> Callable[..., Any]:
    if case.who == PLAIN:
        return lambda key, *arrays: method.plain(*arrays)
    if case.who == FLAX and method.flax is not None:
        return method.flax
    return method.faces[case.face]


def _net(case: Case) -> tuple[Callable[..., Any], Arguments, int]:
    net, scanned = NETS[case.what], case.form == "scanned"
    step = nets.training_step(net, NOISES[case.who], scanned)
    block = {
        name: jax.ShapeDtypeStruct(shape, jnp.float32)
        for name, shape in net.shapes.items()
    }
    params: Any = [block] * net.depth
    if scanned:
        params = {
            name: jax.ShapeDtypeStruct((net.depth, *it.shape), it.dtype)
            for name, it in block.items()
        }
    x = jax.ShapeDtypeStruct(net.x, jnp.float32)
    return lambda key, params, x: step(params, key, x), (params, x), x.size
