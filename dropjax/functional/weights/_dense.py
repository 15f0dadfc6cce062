"""Products of dense layers over any axes, as in flax."""

import dataclasses
from typing import Any

from jax import lax
from jaxtyping import Array

from dropjax._checks import (
    check_contraction,
    check_dense_general_shapes,
    check_dense_shapes,
    check_own_masks,
)
from dropjax._types import Axes
from dropjax.functional.weights._linear import Linear, Operands


@dataclasses.dataclass(frozen=True, kw_only=True)
class DenseGeneral(Linear):
    """Any axes of x contracted with the kernel, optionally with batch axes.

    Attributes:
      axis: the axes of x that are contracted, as negative numbers.
      batch_dims: the number of leading axes of x and of the kernel that are batch axes
        of the product.
    """

    axis: tuple[int, ...]
    batch_dims: int

    @classmethod
    def over(
        cls, axis: Axes, batch_dims: Axes, ndim: int, **options: Any
    ) -> "DenseGeneral":
        """The map for an x with so many axes, contracted in their order, as in Flax."""
        axes, batch = check_contraction(axis, batch_dims, ndim)
        return cls(axis=tuple(sorted(axes)), batch_dims=batch, **options)

    def __call__(self, x: Array, kernel: Array) -> Array:
        batch = tuple(range(self.batch_dims))
        inner = tuple(range(len(batch), len(batch) + len(self.axis)))
        axis = tuple(x.ndim + axis for axis in self.axis)
        contract = ((axis, inner), (batch, batch))
        return (self.function or lax.dot_general)(x, kernel, contract, **self.options)

    def check(self, operands: Operands) -> None:
        check_dense_general_shapes(*operands, self.axis, self.batch_dims)

    def is_batched(self, operands: Operands) -> bool:
        x, kernel, _ = operands
        if x.ndim == len(self.axis):
            return False
        check_own_masks(self.batch_dims == 0 and -x.ndim not in self.axis, x, kernel)
        return True

    def takes_rows(self, operands: Operands) -> bool:
        whole = operands.x.ndim <= len(self.axis) + 1
        return whole and self.batch_dims == 0 and self.function is None

    def bias_axes(self, operands: Operands) -> tuple[int, ...]:
        inner = len(self.axis) + self.batch_dims
        features = operands.kernel.ndim - inner
        rank = operands.x.ndim - len(self.axis) + features
        return (*range(-rank, self.batch_dims - rank), *range(-features, 0))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Dense(DenseGeneral):
    """The last axis of x contracted with the first axis of the kernel."""

    axis: tuple[int, ...] = (-1,)
    batch_dims: int = 0

    def check(self, operands: Operands) -> None:
        check_dense_shapes(*operands)
