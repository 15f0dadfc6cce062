"""Concrete dropout."""

import math
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from flax.core import meta
from flax.typing import Dtype
from jaxtyping import Array, Float, Inexact

from dropjax._checks import check_inner_rate, check_wrapped_kernel
from dropjax._types import Axes, KeyLike
from dropjax.functional.activations import (
    concrete_dropout,
    concrete_dropout_regularizer,
)
from dropjax.linen._base import Wrapper, flag


class ConcreteDropout(Wrapper):
    """`dropjax.concrete_dropout` in front of a layer, with a learned rate.

    The variables are those of the wrapped layer, at the same paths, plus a parameter
    `logit`. A call returns the layer's outputs and a regularizer to add to the loss:

        x, cost = djl.ConcreteDropout(nn.Dense(64), examples=len(train))(x)

    The learned rate is `jax.nn.sigmoid(params["logit"])`. Give the logit its own
    learning rate and exclude it from weight decay.

    Attributes:
      module: the layer to wrap, which must have a parameter named `kernel`. The
        regularizer takes the number of dropped features from the inputs' last axis.
      examples: the number of examples in the training set.
      init_rate: the initial rate, between 0 and 1.
      temperature: the temperature of the relaxed mask.
      broadcast_dims: the axes along which elements share one mask value.
      length_scale: the length scale of the prior over functions.
      param_dtype: the dtype of the logit.
      deterministic: if True, nothing is dropped. Set it here or pass it in the call.
      rng_collection: the name of the rng collection that provides PRNG keys.

    Example:
      >>> import dropjax.linen as djl
      >>> import flax.linen as nn
      >>> layer, x = djl.ConcreteDropout(nn.Dense(3), examples=100), jnp.ones((2, 5))
      >>> variables = layer.init(key, x, deterministic=True)
      >>> y, cost = layer.apply(variables, x, deterministic=True)
      >>> assert jnp.array_equal(y, nn.Dense(3).apply(variables, x))
      >>> assert cost.shape == ()
    """

    examples: int
    init_rate: float = 0.1
    temperature: float = 0.1
    broadcast_dims: Axes = ()
    length_scale: float = 1e-2
    param_dtype: Dtype = jnp.float32
    deterministic: bool | None = None
    rng_collection: str = "dropout"

    @nn.compact
    def __call__(
        self,
        inputs: Inexact[Array, "*shape"],
        *args: Any,
        deterministic: bool | None = None,
        rng: KeyLike = None,
        **kwargs: Any,
    ) -> tuple[Any, Float[Array, ""]]:
        """Calls the wrapped layer on inputs with some elements dropped.

        Args:
          inputs: a floating-point or complex array.
          *args: passed on to the wrapped layer.
          deterministic: if True, nothing is dropped.
          rng: a PRNG key to use instead of one from the collection.
          **kwargs: passed on to the wrapped layer.

        Returns:
          The wrapped layer's outputs and the regularizer, a scalar.
        """
        self.share_scope()
        rate = check_inner_rate(self.init_rate, "init_rate")
        start = nn.initializers.constant(math.log(rate / (1 - rate)))
        logit = self.param("logit", start, (), self.param_dtype)
        off = flag(self, deterministic)
        if rng is None and not off:
            rng = self.make_rng(self.rng_collection)
        dropped = concrete_dropout(
            rng,
            inputs,
            logit,
            temperature=self.temperature,
            broadcast_dims=self.broadcast_dims,
            deterministic=off,
        )
        outputs = self.module(dropped, *args, **kwargs)
        found: Any = meta.unbox(self.get_variable("params", "kernel"))
        cost = concrete_dropout_regularizer(
            logit,
            check_wrapped_kernel(self.module, found),
            self.examples,
            length_scale=self.length_scale,
            features=inputs.shape[-1],
        )
        return outputs, cost
