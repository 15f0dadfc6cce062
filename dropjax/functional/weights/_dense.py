"""The product of a dense layer, as `flax.linen.Dense` does it."""

import dataclasses
from collections.abc import Callable
from typing import Any

from jax import lax
from jax.typing import DTypeLike
from jaxtyping import Array, Inexact


def dense(
    x: Inexact[Array, "*batch features_in"],
    kernel: Inexact[Array, "features_in features_out"],
    *,
    dot_general: Callable[..., Array] | None,
    **options: Any,
) -> Inexact[Array, "*batch features_out"]:
    """X's last axis contracted with the kernel's first."""
    contract = (((x.ndim - 1,), (0,)), ((), ()))
    return (dot_general or lax.dot_general)(x, kernel, contract, **options)


def given(
    precision: lax.PrecisionLike, preferred_element_type: DTypeLike | None
) -> dict[str, Any]:
    """The options of a product: some replacements do not know the second."""
    options: dict[str, Any] = {"precision": precision}
    if preferred_element_type is not None:
        options["preferred_element_type"] = preferred_element_type
    return options


@dataclasses.dataclass(frozen=True)
class Fixed:
    """A product with its options, equal to another of the same: jit knows it again."""

    function: Callable[..., Array]
    options: tuple[tuple[str, Any], ...]

    def __call__(self, x: Array, kernel: Array) -> Array:
        return self.function(x, kernel, **dict(self.options))


def fixed(function: Callable[..., Array], **options: Any) -> Fixed:
    return Fixed(function, tuple((k, _hashable(v)) for k, v in options.items()))


def _hashable(value: Any) -> Any:
    return tuple(map(_hashable, value)) if isinstance(value, list | tuple) else value
