"""The product of an einsum layer."""

import dataclasses
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array

from dropjax._checks import check_equation, check_own_masks, check_parameters
from dropjax.functional.weights._linear import Linear, Operands


@dataclasses.dataclass(frozen=True, kw_only=True)
class Einsum(Linear):
    """`jnp.einsum(equation, x, kernel)`.

    Attributes:
      equation: the equation of x and the kernel, such as "bti,ihd->bthd".
    """

    equation: str

    def __call__(self, x: Array, kernel: Array) -> Array:
        einsum: Any = self.function or jnp.einsum
        return einsum(self.equation, x, kernel, **self.options)

    def check(self, operands: Operands) -> None:
        x, kernel, bias = operands
        check_parameters(x, kernel, bias, self.bias_shape(x.shape, kernel.shape))

    def is_batched(self, operands: Operands) -> bool:
        x, kernel, _ = operands
        inputs, weights, outputs = check_equation(self.equation, x.shape, kernel.shape)
        first = inputs[:1]
        own = first not in weights and outputs.startswith(first)
        check_own_masks(own and first != "", x, kernel)
        return True

    def bias_axes(self, operands: Operands) -> tuple[int, ...]:
        x, kernel, _ = operands
        _, weights, outputs = check_equation(self.equation, x.shape, kernel.shape)
        rank = len(outputs)
        return tuple(i - rank for i, axis in enumerate(outputs) if axis in weights)

    def bias_shape(
        self, inputs: tuple[int, ...], kernel: tuple[int, ...]
    ) -> tuple[int, ...]:
        """The shape of the bias: the axes of the output that are axes of the kernel."""
        _, weights, outputs = check_equation(self.equation, inputs, kernel)
        sizes = dict(zip(weights, kernel, strict=True))
        return tuple(sizes[axis] for axis in outputs if axis in sizes)
