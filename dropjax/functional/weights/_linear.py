"""The two values behind every DropConnect layer: a linear map, and what is dropped."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import DTypeLike
from jaxtyping import Array

from dropjax._checks import check_array, check_bias_rate
from dropjax._masks import is_drawn
from dropjax._types import MaskPer, Noise, RateLike, Scaling


class Operands(NamedTuple):
    """The inputs of a layer and its parameters."""

    x: Array
    kernel: Array
    bias: Array | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Linear:
    """A map that is linear in x and in a kernel, with its options.

    A subclass is a new kind of layer: it says what the product is, which shapes fit,
    and, if these are not the usual ones, which axis of x is that of the examples and
    along which axes of the output a bias lies. Maps with equal options are equal, so
    that jit compiles for them once.

    Attributes:
      precision: of the product.
      preferred_element_type: of the product.
      function: what multiplies instead of JAX's own function.
    """

    precision: lax.PrecisionLike = None
    preferred_element_type: DTypeLike | None = None
    function: Callable[..., Array] | None = None

    def __call__(self, x: Array, kernel: Array) -> Array:
        """The product."""
        raise NotImplementedError

    def check(self, operands: Operands) -> None:
        """Raises where the shapes do not fit."""
        raise NotImplementedError

    def operands(self, x: Array, kernel: Array, bias: Array | None) -> Operands:
        """The operands as arrays that fit each other."""
        kernel = check_array(kernel, "kernel")
        found = Operands(jnp.asarray(check_array(x)), jnp.asarray(kernel), bias)
        self.check(found)
        return found

    def is_batched(self, operands: Operands) -> bool:
        """Whether x and the output have a first axis of examples."""
        return operands.x.ndim > 1

    def takes_rows(self, operands: Operands) -> bool:
        """Whether the product is x @ kernel, with an example in each row of x."""
        return False

    def per_example(self) -> "Linear":
        """The same map, in a form that is fast for kernels of few examples."""
        return self

    def bias_axes(self, operands: Operands) -> tuple[int, ...]:
        """The axes of the output along which the bias lies, counted from the last."""
        return (-1,)

    def placed(self, bias: Array, operands: Operands, y: Array) -> Array:
        """The bias, or one for each example, as it is added to the output y."""
        own = self.bias_axes(operands)
        if bias.ndim > len(own):
            own = (-y.ndim, *own)
        others = [axis for axis in range(-y.ndim, 0) if axis not in own]
        return jnp.expand_dims(bias.astype(y.dtype), others)

    @property
    def options(self) -> dict[str, Any]:
        """The options of the product; some replacements do not know the second."""
        options: dict[str, Any] = {"precision": self.precision}
        if self.preferred_element_type is not None:
            options["preferred_element_type"] = self.preferred_element_type
        return options

    def remade(self, function: Callable[..., Array]) -> Callable[..., Array]:
        """Lets the backward pass call a function again, to keep less.

        Not where a user's function multiplies: its backward pass is its own.
        """
        return jax.checkpoint(function) if self.function is None else function


@dataclasses.dataclass(frozen=True)
class Drops:
    """What is dropped of a layer, and what becomes of the rest.

    Attributes:
      rate: of the kernel.
      bias_rate: of the bias, None if it is kept.
      scaling: "inverted" or "standard".
      mask_per: who shares a mask.
      noise: whether masks are drawn, or Gaussian noise in their place.
      deterministic: whether nothing is dropped.
    """

    rate: RateLike
    bias_rate: RateLike | None = None
    scaling: Scaling = "inverted"
    mask_per: MaskPer = "batch"
    noise: Noise = "bernoulli"
    deterministic: bool = False

    def are_drawn(self, bias: Array | None) -> bool:
        """Whether weights or a bias vary, so that a key is needed."""
        bias_rate = check_bias_rate(self.bias_rate)
        if is_drawn(self.rate, self.deterministic):
            return True
        if bias is None or bias_rate is None:
            return False
        return is_drawn(bias_rate, self.deterministic)
