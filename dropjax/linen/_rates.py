"""Other rates for the layers of a whole model."""

import contextlib
import dataclasses
import functools
import inspect
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any, NamedTuple, TypeAlias

import flax.linen as nn
from jaxtyping import PyTree

from dropjax._checks import check_layers
from dropjax._types import RateLike

NewRate: TypeAlias = RateLike | PyTree | Callable[[str, Any], Any]
WhereLayer: TypeAlias = Callable[[str, Any], bool]
Method: TypeAlias = str | Callable[..., Any] | None


def set_rates(
    module: nn.Module, rate: NewRate, *, where: WhereLayer | None = None
) -> nn.Module:
    """The same model with other rates: all of them, or those of selected layers.

        model = djl.set_rates(model, 0.3)

    Submodules of a compact module exist only while it is called, so the model is
    wrapped: the new one has the variables of the old one at the same paths, and the
    methods and properties of the old one. While one of them runs, the layers of dropjax
    in it take the new rate for the one that they were made with. A rate given in a
    layer's call still comes first. In `apply` and `init`, `method` may be a method's
    name, "encode", the old model's method, `Model.encode` or `model.encode`, or a
    function that calls methods of the module it is given.

    The rate may be traced, so that a schedule changes it without a new compilation:
    make the wrapped model inside the jitted function,

        logits = djl.set_rates(model, schedule(step)).apply(variables, x, ...)

    Other libraries' layers are left alone; `dropjax.linen.Dropout` is a drop-in for
    flax's. So are the bodies that `nn.jit` has compiled before, with the old rates.

    Args:
      module: any Linen module.
      rate: the new rate; or a function of a layer's path, as "encoder/Dropout_0", and
        the layer that returns it, such as `lambda path, layer: 0.5 * layer.rate`.
      where: a function of a layer's path and the layer that is True for the layers to
        change; None changes all.

    Returns:
      A module to be used in place of the old one. Where rates are set twice, the
      later, outer setting holds for the layers that it selects.

    Raises:
      ValueError: when it is called: the rate is outside [0, 1], or no layer is
        selected.
      TypeError: when it is called: the rate is of the wrong type.

    Example:
      >>> import dropjax.linen as djl
      >>> import flax.linen as nn
      >>> net = nn.Sequential([djl.Dropout(0.5, deterministic=False), nn.Dense(3)])
      >>> x = jnp.ones((2, 5))
      >>> variables = net.init(key, x)
      >>> y = djl.set_rates(net, 0.0).apply(variables, x)
      >>> dense = {"params": variables["params"]["layers_1"]}
      >>> assert jnp.array_equal(y, nn.Dense(3).apply(dense, x))
    """
    changes: tuple[tuple[NewRate, WhereLayer | None], ...] = ((rate, where),)
    if isinstance(module, _Rated):
        changes, module = changes + module.changes, module.rated_module
    return _rated(type(module))(module, changes)  # type: ignore[arg-type]


def rate_of(layer: nn.Module) -> Any:
    """The rate that a layer was made with, or the one set in its place."""
    rate, found = layer.rate, False
    for change in _CHANGES.get():
        path = "/".join(layer.path[len(change.root) :])
        if change.where is None or change.where(path, layer):
            change.selected.append(path)
            if not found:
                new = change.rate
                rate, found = new(path, layer) if callable(new) else new, True
    return rate


class _Change(NamedTuple):
    root: tuple[str, ...]
    rate: NewRate
    where: WhereLayer | None
    selected: list[str]


# Outermost first: the first one that selects a layer decides.
_CHANGES: ContextVar[tuple[_Change, ...]] = ContextVar("_CHANGES", default=())


@contextlib.contextmanager
def _changing(changes: list[_Change]) -> Iterator[None]:
    token = _CHANGES.set((*_CHANGES.get(), *changes))
    try:
        yield
    finally:
        _CHANGES.reset(token)


class _Rated(nn.Module):
    rated_module: nn.Module
    changes: tuple[tuple[NewRate, WhereLayer | None], ...]

    def setup(self) -> None:
        nn.share_scope(self, self.rated_module)

    @nn.nowrap
    def apply(self, *args: Any, method: Method = None, **kwargs: Any) -> Any:
        return super().apply(*args, method=self._by_name(method), **kwargs)

    @nn.nowrap
    def init_with_output(self, *args: Any, method: Method = None, **kwargs: Any) -> Any:
        return super().init_with_output(*args, method=self._by_name(method), **kwargs)

    @nn.nowrap
    def _by_name(self, method: Method) -> Method:
        """The name of the old model's own method: run on this one it sets no rates."""
        function = getattr(method, "__func__", method)
        name = getattr(function, "__name__", "")
        own = getattr(type(self.rated_module), name, self)
        return name if own is function else method

    @nn.nowrap
    def _changes(self) -> list[_Change]:
        """What to change while it runs; an unbound module runs no layer."""
        if self.scope is None:
            return []
        return [_Change(self.path, *change, []) for change in self.changes]

    def _read(self, name: str) -> Any:
        with _changing(self._changes()):
            return getattr(self.rated_module, name)

    @nn.nowrap
    def __reduce__(self) -> tuple[Any, ...]:
        return _blank, (type(self.rated_module),), vars(self)


def _blank(wrapped: type[nn.Module]) -> _Rated:
    """A wrapper to be filled in: its class is made, and no import finds it."""
    return object.__new__(_rated(wrapped))  # type: ignore[arg-type]


@functools.cache
def _rated(wrapped: type[nn.Module]) -> type[_Rated]:
    """A wrapper that has the methods and the properties of the wrapped class."""
    known = {*dir(_Rated), *(field.name for field in dataclasses.fields(_Rated))}
    forwards: dict[str, Any] = {"__call__": _forwarded("__call__")}
    for name, member in inspect.getmembers(wrapped):
        if name in known or name.startswith("__"):
            continue
        if inspect.isfunction(member):
            forwards[name] = _forwarded(name)
        elif isinstance(member, property):
            forwards[name] = _read_through(name)
    return type(f"Rated{wrapped.__name__}", (_Rated,), forwards)


def _forwarded(name: str) -> Callable[..., Any]:
    def forward(self: _Rated, *args: Any, **kwargs: Any) -> Any:
        changes = self._changes()
        with _changing(changes):
            output = getattr(self.rated_module, name)(*args, **kwargs)
        if name == "__call__":
            for change in changes:
                check_layers(change.selected, change.where)
        return output

    forward.__name__ = name
    return forward


def _read_through(name: str) -> property:
    return property(lambda self: self._read(name))
