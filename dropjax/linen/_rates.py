"""Other rates for the layers of a whole model."""

import contextlib
import dataclasses
import functools
import inspect
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any, NamedTuple, TypeAlias, TypeVar, cast
from uuid import UUID, uuid4
from weakref import WeakSet

import flax.linen as nn
import jax
from flax.core import Scope

from dropjax._checks import check_layers, check_module
from dropjax._types import PyTree, RateLike

NewRate: TypeAlias = RateLike | PyTree | Callable[[str, Any], Any]
WhereLayer: TypeAlias = Callable[[str, Any], bool]
Method: TypeAlias = str | Callable[..., Any] | None
Model = TypeVar("Model", bound=nn.Module)


def set_rates(
    module: Model, rate: NewRate, *, where: WhereLayer | None = None
) -> Model:
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
    flax's.

    Bodies under `nn.jit` are compiled for the rates that they are run with: outside of
    a jitted function once for every number, and for every `set_rates` with an array, a
    function or a `where`. Modules that are alike are one body to it, whose layers a
    function cannot tell apart by their paths.

    Args:
      module: any Linen module.
      rate: the new rate; or a function of a layer's path, as "encoder/Dropout_0", and
        the layer that returns it, such as `lambda path, layer: 0.5 * layer.rate`.
      where: a function of a layer's path and the layer that is True for the layers to
        change; None changes all.

    Returns:
      A module to be used in place of the old one. It has the methods and properties of
      the old one, and type checkers take it for one, but it is no instance of its
      class. Where rates are set twice, the later, outer setting holds for the layers
      that it selects.

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
    changes = [_setting(type(module).__name__, rate, where)]
    inner: nn.Module = module
    if isinstance(module, Rated):
        changes, inner = [*changes, *module.changes], module.rated_module
    rated = _rated(type(inner))(inner, tuple(changes))  # type: ignore[arg-type]
    return cast(Model, rated)


def rate_of(layer: nn.Module) -> Any:
    """The rate that a layer was made with, or the one set in its place."""
    rate, found = layer.rate, False
    for change in _CHANGES.get():
        path = "/".join(layer.path[len(change.root.path) :])
        if change.selects(path, layer) and not found:
            new = change.setting.rate
            rate, found = new(path, layer) if callable(new) else new, True
    return rate


class _Setting(NamedTuple):
    """A new rate, for which layers, and what stands for both in the cache of `nn.jit`.

    That would keep a traced rate alive.
    """

    rate: NewRate
    where: WhereLayer | None
    key: UUID


def _setting(kind: str, rate: NewRate, where: WhereLayer | None) -> _Setting:
    """The one made before for the same number: what `nn.jit` compiled for it serves."""
    if where is None and isinstance(rate, int | float):
        return _of_number(kind, rate)
    return _Setting(rate, where, uuid4())


@functools.lru_cache(maxsize=None, typed=True)
def _of_number(kind: str, rate: float) -> _Setting:
    return _Setting(rate, None, uuid4())


class _Change(NamedTuple):
    root: Scope
    setting: _Setting
    selected: list[str]

    def selects(self, path: str, layer: Any) -> bool:
        """Whether the layer is one to change, which is remembered."""
        where = self.setting.where
        if where is not None and not where(path, layer):
            return False
        self.selected.append(path)
        if layer.scope.root is not self.root.root:
            _LIFTED.add(self.setting.key)
        return True


# Outermost first: the first one that selects a layer decides.
_CHANGES: ContextVar[tuple[_Change, ...]] = ContextVar("_CHANGES", default=())

# Those with layers in lifted bodies: once compiled, a body runs none of its layers.
_LIFTED: WeakSet[UUID] = WeakSet()


@contextlib.contextmanager
def _changing(module: nn.Module, changes: list[_Change]) -> Iterator[None]:
    token = _CHANGES.set((*_CHANGES.get(), *changes))
    _mark(module)
    try:
        yield
    finally:
        _CHANGES.reset(token)
        _mark(module)


def _mark(root: nn.Module) -> None:
    """Writes down in a module and those in it which rates are in force.

    Its scope's flags are what `nn.jit` compares, before it takes a body that it has
    compiled. Modules to come have those of the module that they are made in.
    """
    keys = tuple(change.setting.key for change in _CHANGES.get())
    for module in modules_in(root):
        if module.scope is not None:
            module.scope.flags = module.scope.flags.copy({"dropjax_rates": keys})


def modules_in(module: nn.Module) -> list[nn.Module]:
    """A module and those that it has been given or has made so far."""
    found = [module]
    for one in found:
        own = [value for name, value in vars(one).items() if name != "parent"]
        modules = [it for it in jax.tree.leaves(own) if isinstance(it, nn.Module)]
        known = {id(it) for it in found}
        found += [it for it in modules if id(it) not in known]
    return found


def share_scope(wrapper: nn.Module, module: nn.Module) -> None:
    """`nn.share_scope` for an attribute, whose children may have its name."""
    check_module(module, nn.Module)
    scope: Any = wrapper.scope
    inner: Any = module.scope
    if inner is scope:
        return
    if inner.parent is scope:
        scope.reservations.pop(inner.name, None)
    nn.share_scope(wrapper, module)


class Rated(nn.Module):
    rated_module: nn.Module
    changes: tuple[_Setting, ...]

    def setup(self) -> None:
        share_scope(self, self.rated_module)

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
        return [_Change(self.scope, setting, []) for setting in self.changes]

    def _read(self, name: str) -> Any:
        with _changing(self.rated_module, self._changes()):
            return getattr(self.rated_module, name)

    @nn.nowrap
    def __reduce__(self) -> tuple[Any, ...]:
        return _blank, (type(self.rated_module),), vars(self)


def _blank(wrapped: type[nn.Module]) -> Rated:
    """A wrapper to be filled in: its class is made, and no import finds it."""
    return object.__new__(_rated(wrapped))  # type: ignore[arg-type]


@functools.cache
def _rated(wrapped: type[nn.Module]) -> type[Rated]:
    """A wrapper that has the methods and the properties of the wrapped class."""
    known = {*dir(Rated), *(field.name for field in dataclasses.fields(Rated))}
    forwards: dict[str, Any] = {}
    for name, member in inspect.getmembers(wrapped):
        if name in known or (name.startswith("__") and name != "__call__"):
            continue
        if inspect.isfunction(member):
            forwards[name] = _forwarded(member, name)
        elif isinstance(member, property):
            forwards[name] = _read_through(name)
    return type(f"Rated{wrapped.__name__}", (Rated,), forwards)


def _forwarded(method: Callable[..., Any], name: str) -> Callable[..., Any]:
    # Of its attributes none is taken over: in them flax marks what it has wrapped.
    @functools.wraps(method, updated=())
    def forward(self: Rated, *args: Any, **kwargs: Any) -> Any:
        changes = self._changes()
        with _changing(self.rated_module, changes):
            output = getattr(self.rated_module, name)(*args, **kwargs)
        if name == "__call__":
            for _, setting, selected in changes:
                if setting.key not in _LIFTED:
                    check_layers(selected, setting.where)
        return output

    return forward


def _read_through(name: str) -> property:
    return property(lambda self: self._read(name))
