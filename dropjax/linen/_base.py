"""What all layers do before they call their functions."""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import flax.linen as nn
import jax
from jaxtyping import Array

from dropjax._checks import (
    Check,
    cell_error,
    check_deterministic,
    check_fixed_mask,
    check_made,
    check_module,
)
from dropjax._types import KeyLike, PyTree, RateLike
from dropjax.functional.activations._gaussian_dropout import is_noisy
from dropjax.functional.weights._inference import is_drawn_by
from dropjax.linen._rates import rate_of


class Drop(nn.Module):
    """A layer that checks its options when it is constructed."""

    # Whether the rate must be static, so that it cannot be a variable.
    fixed_rate: ClassVar[bool] = False
    # Checks of options whose valid values differ from those in other layers.
    checks: ClassVar[Mapping[str, Check]] = {}

    def __post_init__(self) -> None:
        check_made(self, self.checks)
        super().__post_init__()


class Wrapper(Drop):
    """A layer around a module, whose variables stay at the module's own paths."""

    module: nn.Module

    checks: ClassVar[Mapping[str, Check]] = {
        "module": lambda module, _: check_module(module, nn.Module)
    }

    @property
    def num_feature_axes(self) -> int:
        """Raises an error: a wrapper cannot be the cell of an `nn.RNN`."""
        raise cell_error(self)

    @nn.nowrap
    def share_scope(self) -> None:
        """Shares this wrapper's scope with its module, and that of each wrapper inside.

        All are shared at once, before a lifted transform, which does not move children.
        """
        _share_scope(self, self.module)
        for module in _modules_in(self.module):
            if isinstance(module, Wrapper):
                _share_scope(module, module.module)


def _modules_in(module: nn.Module) -> list[nn.Module]:
    """A module and the submodules that it was given or has created so far."""
    found = [module]
    for one in found:
        own = [value for name, value in vars(one).items() if name != "parent"]
        modules = [it for it in jax.tree.leaves(own) if isinstance(it, nn.Module)]
        known = {id(it) for it in found}
        found += [it for it in modules if id(it) not in known]
    return found


def _share_scope(wrapper: nn.Module, module: nn.Module) -> None:
    """`nn.share_scope` for an attribute, where a child may have the same name."""
    check_module(module, nn.Module)
    scope: Any = wrapper.scope
    inner: Any = module.scope
    if inner is scope:
        return
    if inner.parent is scope:
        scope.reservations.pop(inner.name, None)
    nn.share_scope(wrapper, module)


def resolve(
    layer: nn.Module,
    rng: KeyLike,
    rate: RateLike | PyTree | None,
    deterministic: bool | None,
) -> tuple[KeyLike, RateLike | PyTree, bool]:
    """Prefers call arguments to attributes, and takes a key only if needed."""
    deterministic = flag(layer, deterministic)
    rate = rate_of(layer) if rate is None else rate
    if is_drawn_by(layer, rate, deterministic) and rng is None:
        rng = layer.make_rng(layer.rng_collection)
    return rng, rate, deterministic


def resolve_noise(
    layer: nn.Module, rng: KeyLike, size: RateLike, deterministic: bool | None
) -> tuple[KeyLike, bool]:
    """The same for a layer that has the size of some noise instead of a rate."""
    deterministic = flag(layer, deterministic)
    if rng is None and is_noisy(size, deterministic):
        rng = layer.make_rng(layer.rng_collection)
    return rng, deterministic


def flag(layer: nn.Module, deterministic: bool | None = None) -> bool:
    """Whether a layer is deterministic, by its attribute or its call argument."""
    merged = nn.merge_param("deterministic", layer.deterministic, deterministic)
    return check_deterministic(merged)


def parameters(
    layer: Any,
    inputs: Array,
    shape: tuple[int, ...],
    bias_shape: tuple[int, ...],
    mask: Array | None = None,
) -> tuple[Array, Array, Array | None]:
    """The inputs and the parameters of Flax's layer, promoted to one dtype."""
    kernel = layer.param("kernel", layer.kernel_init, shape, layer.param_dtype)
    if mask is not None:
        kernel = kernel * check_fixed_mask(mask, shape)
    bias = None
    if layer.use_bias:
        bias = layer.param("bias", layer.bias_init, bias_shape, layer.param_dtype)
    return layer.promote_dtype(inputs, kernel, bias, dtype=layer.dtype)


def replacement(
    function: Callable[..., Array] | None, maker: Callable[[], Any] | None
) -> Callable[..., Array] | None:
    return function if maker is None else maker()
