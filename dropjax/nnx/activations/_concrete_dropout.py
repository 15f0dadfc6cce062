"""Concrete dropout."""

import math
from typing import Any

import jax.numpy as jnp
from flax import nnx
from flax.typing import Dtype
from jaxtyping import Array, Float, Inexact

from dropjax._checks import (
    check_flag_given,
    check_function,
    check_inner_rate,
    check_wrapped_kernel,
)
from dropjax._types import Axes, KeyLike
from dropjax.functional.activations import (
    concrete_dropout,
    concrete_dropout_regularizer,
)
from dropjax.nnx._base import Rngs, Wrapper


class ConcreteDropout(Wrapper, nnx.Module):
    """`dropjax.concrete_dropout` in front of a layer, with a learned rate.

    The wrapped layer keeps its parameters; `logit` is an additional one. A call returns
    the layer's outputs and a regularizer to add to the loss:

        layer = djn.ConcreteDropout(nnx.Linear(5, 64, rngs=rngs), 60000, rngs=rngs)
        x, cost = layer(x)

    The learned rate is `jax.nn.sigmoid(layer.logit)`. Give the logit its own learning
    rate and exclude it from weight decay.

    Args:
      module: the layer to wrap, which must have a parameter named `kernel`. The
        regularizer takes the number of dropped features from the inputs' last axis.
      examples: the number of examples in the training set.
      init_rate: the initial rate, between 0 and 1.
      temperature: the temperature of the relaxed mask.
      broadcast_dims: the axes along which elements share one mask value.
      length_scale: the length scale of the prior over functions.
      param_dtype: the dtype of the logit.
      deterministic: if True, nothing is dropped.
      rng_collection: the name of the rng stream that provides PRNG keys.
      rngs: the source of PRNG keys; None if every call passes its own.

    Example:
      >>> import dropjax.nnx as djn
      >>> from flax import nnx
      >>> rngs, x = nnx.Rngs(0), jnp.ones((2, 5))
      >>> linear = nnx.Linear(5, 3, rngs=rngs)
      >>> y, cost = djn.ConcreteDropout(linear, 100)(x, deterministic=True)
      >>> assert jnp.array_equal(y, linear(x))
      >>> assert cost.shape == ()
    """

    def __init__(
        self,
        module: nnx.Module,
        examples: int,
        *,
        init_rate: float = 0.1,
        temperature: float = 0.1,
        broadcast_dims: Axes = (),
        length_scale: float = 1e-2,
        param_dtype: Dtype = jnp.float32,
        deterministic: bool | None = False,
        rng_collection: str = "dropout",
        rngs: Rngs = None,
    ) -> None:
        rate = check_inner_rate(init_rate, "init_rate")
        self.module = check_function(module, "module")
        self.examples = examples
        self.logit = nnx.Param(jnp.asarray(math.log(rate / (1 - rate)), param_dtype))
        self.temperature = temperature
        self.broadcast_dims = broadcast_dims
        self.length_scale = length_scale
        self._set_noise(deterministic, rng_collection, rngs)

    def __call__(
        self,
        inputs: Inexact[Array, "*shape"],
        *args: Any,
        deterministic: bool | None = None,
        rngs: Rngs | KeyLike = None,
        **kwargs: Any,
    ) -> tuple[Any, Float[Array, ""]]:
        """Calls the wrapped layer on inputs with some elements dropped.

        Args:
          inputs: a floating-point or complex array.
          *args: passed on to the wrapped layer.
          deterministic: overrides the attribute.
          rngs: overrides the layer's rngs; may also be a PRNG key.
          **kwargs: passed on to the wrapped layer.

        Returns:
          The wrapped layer's outputs and the regularizer, a scalar.
        """
        deterministic = check_flag_given(self, deterministic, self.deterministic)
        dropped = concrete_dropout(
            None if deterministic else self._key(rngs),
            inputs,
            self.logit[...],
            temperature=self.temperature,
            broadcast_dims=self.broadcast_dims,
            deterministic=deterministic,
        )
        outputs = self.module(dropped, *args, **kwargs)
        kernel = getattr(self.module, "kernel", None)
        cost = concrete_dropout_regularizer(
            self.logit[...],
            check_wrapped_kernel(self.module, kernel)[...],
            self.examples,
            length_scale=self.length_scale,
            features=inputs.shape[-1],
        )
        return outputs, cost
