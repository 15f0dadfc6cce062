"""The two values behind every DropConnect layer: a linear map, and what is dropped."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import DTypeLike
from jaxtyping import Array

from dropjax._checks import check_array, check_bias_rate, check_mask_per
from dropjax._masks import is_drawn
from dropjax._types import MaskPer, Noise, RateLike, Scaling


class Operands(NamedTuple):
    """The inputs and the parameters of a layer."""

    x: Array
    kernel: Array
    bias: Array | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Linear:
    """A map that is linear in x and in a kernel, with its options.

    Each subclass is a kind of layer. It defines the product and which shapes match, and
    overrides, if necessary, which axis of x is the batch axis and which axes of the
    output the bias spans. Maps with equal options are equal, so that jit compiles once
    for all of them.

    Attributes:
      precision: the precision of the product.
      preferred_element_type: the accumulation and output dtype of the product.
      function: a replacement for JAX's own function, or None.
    """

    precision: lax.PrecisionLike = None
    preferred_element_type: DTypeLike | None = None
    function: Callable[..., Array] | None = None

    def __call__(self, x: Array, kernel: Array) -> Array:
        """Computes the product."""
        raise NotImplementedError

    def check(self, operands: Operands) -> None:
        """Raises an error if the shapes do not match."""
        raise NotImplementedError

    def operands(self, x: Array, kernel: Array, bias: Array | None) -> Operands:
        """The operands as arrays with matching shapes."""
        kernel = check_array(kernel, "kernel")
        found = Operands(jnp.asarray(check_array(x)), jnp.asarray(kernel), bias)
        self.check(found)
        return found

    def is_batched(self, operands: Operands) -> bool:
        """Whether the first axis of x and of the output is a batch axis."""
        return operands.x.ndim > 1

    def takes_rows(self, operands: Operands) -> bool:
        """Whether each example is contracted whole, as a row of x in `x @ kernel`."""
        return False

    def per_example(self) -> "Linear":
        """The same map, in a form that is fast for kernels that serve few examples."""
        return self

    def bias_axes(self, operands: Operands) -> tuple[int, ...]:
        """The axes of the output that the bias spans, as negative numbers."""
        return (-1,)

    def placed(self, bias: Array, operands: Operands, y: Array) -> Array:
        """The bias, or one bias per example, in a shape that can be added to y."""
        own = self.bias_axes(operands)
        if bias.ndim > len(own):
            own = (-y.ndim, *own)
        others = [axis for axis in range(-y.ndim, 0) if axis not in own]
        return jnp.expand_dims(bias.astype(y.dtype), others)

    @property
    def options(self) -> dict[str, Any]:
        """The options of the product; some replacements do not accept the second."""
        options: dict[str, Any] = {"precision": self.precision}
        if self.preferred_element_type is not None:
            options["preferred_element_type"] = self.preferred_element_type
        return options

    def remade(self, function: Callable[..., Array]) -> Callable[..., Array]:
        """Makes the backward pass recompute a function instead of storing residuals.

        Does nothing if a user's function computes the product, because it may define
        its own backward pass.
        """
        return jax.checkpoint(function) if self.function is None else function


@dataclasses.dataclass(frozen=True)
class Drops:
    """What is dropped in a layer, and how the rest is scaled.

    Attributes:
      rate: the rate of the kernel.
      bias_rate: the rate of the bias, or None to keep it.
      scaling: "inverted" or "standard".
      mask_per: which examples share a mask.
      noise: whether masks or Gaussian noise in their place is drawn.
      deterministic: if True, nothing is dropped.
    """

    rate: RateLike
    bias_rate: RateLike | None = None
    scaling: Scaling = "inverted"
    mask_per: MaskPer = "batch"
    noise: Noise = "bernoulli"
    deterministic: bool = False

    @property
    def share(self) -> int | None:
        """How many examples share a mask; None if all of them do."""
        return check_mask_per(self.mask_per)

    def are_drawn(self, bias: Array | None) -> bool:
        """Whether weights or biases are random, so that a key is needed."""
        bias_rate = check_bias_rate(self.bias_rate)
        if is_drawn(self.rate, self.deterministic):
            return True
        if bias is None or bias_rate is None:
            return False
        return is_drawn(bias_rate, self.deterministic)
