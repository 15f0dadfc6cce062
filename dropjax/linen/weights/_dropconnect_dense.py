"""DropConnect of a dense layer."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from flax.linen.dtypes import promote_dtype
from flax.linen.linear import default_kernel_init
from flax.typing import Dtype, Initializer, PrecisionLike
from jaxtyping import Array, Inexact

from dropjax._types import Inference, KeyLike, MaskPer, Noise, RateLike, Scaling
from dropjax.functional.weights._dense import Dense
from dropjax.functional.weights._inference import answer
from dropjax.functional.weights._linear import Drops
from dropjax.linen._base import Drop, parameters, replacement, resolve


class DropConnectDense(Drop):
    """`dropjax.dropconnect_dense` as a layer: `flax.linen.Dense`, its weights dropped.

    The parameters have the names, shapes and initial values of `flax.linen.Dense`, so
    that a checkpoint moves over unchanged, and every attribute of it is here. It is not
    a subclass of it, as `rate` would then have to come after all of those attributes:
    `isinstance(layer, nn.Dense)` is False.

    Attributes:
      features: the number of output features.
      rate: the probability of dropping a weight, in [0, 1].
      use_bias: whether to add a bias.
      dtype: the dtype of the computation; None takes it from inputs and parameters.
      param_dtype: the dtype of the parameters.
      precision: of the product, as in `jax.lax.dot_general`.
      kernel_init: the initializer of the weights.
      bias_init: the initializer of the bias.
      promote_dtype: brings (inputs, kernel, bias) to one dtype.
      dot_general: a replacement for `jax.lax.dot_general`.
      dot_general_cls: a class that makes such a replacement.
      bias_rate: the probability of dropping an element of the bias; None keeps it.
      mask_per: who shares a mask: "batch", "example", or a number of examples.
      noise: "bernoulli" for masks, or "gaussian", as in `dropconnect_dense`.
      inference: what the layer answers with `deterministic=True`: "mean", the layer
        with all its weights, or the mean of the activation over samples, which needs
        a key: "gaussian", the paper's, or "monte_carlo", with masks as in training.
      activation: applied to the output, in training too. None for none, which only
        `inference="mean"` allows.
      num_samples: of the inference by samples.
      scaling: "inverted" or "standard".
      deterministic: if True, nothing is dropped. Give it here or in the call.
      rng_collection: the collection of rngs that the key is taken from.

    Example:
      >>> import dropjax.linen as djl
      >>> import flax.linen as nn
      >>> layer, x = djl.DropConnectDense(3, rate=0.5), jnp.ones((2, 5))
      >>> variables = nn.Dense(3).init(key, x)
      >>> y = layer.apply(variables, x, deterministic=True)
      >>> assert jnp.array_equal(y, nn.Dense(3).apply(variables, x))
    """

    features: int
    rate: RateLike
    use_bias: bool = True
    dtype: Dtype | None = None
    param_dtype: Dtype = jnp.float32
    precision: PrecisionLike = None
    kernel_init: Initializer = default_kernel_init
    bias_init: Initializer = nn.initializers.zeros_init()
    promote_dtype: Callable[..., Any] = promote_dtype
    dot_general: Callable[..., Array] | None = None
    dot_general_cls: Any = None
    bias_rate: RateLike | None = None
    mask_per: MaskPer = "batch"
    noise: Noise = "bernoulli"
    inference: Inference = "mean"
    activation: Callable[[Array], Array] | None = None
    num_samples: int = 100
    scaling: Scaling = "inverted"
    deterministic: bool | None = None
    rng_collection: str = "dropout"

    @nn.compact
    def __call__(
        self,
        inputs: Inexact[Array, "*batch features_in"],
        deterministic: bool | None = None,
        rng: KeyLike = None,
        *,
        rate: RateLike | None = None,
    ) -> Inexact[Array, "*batch features"]:
        """Multiplies the inputs with the masked weights.

        Args:
          inputs: a floating-point or complex array.
          deterministic: if True, nothing is dropped.
          rng: a key to use instead of one from the collection.
          rate: overrides the attribute; it may be traced, as from a schedule.

        Returns:
          An array of shape (*batch, features).
        """
        shape = (jnp.shape(inputs)[-1], self.features)
        inputs, kernel, bias = parameters(self, inputs, shape, shape[1:])
        key, rate, deterministic = resolve(self, rng, rate, deterministic)
        linear = Dense(
            precision=self.precision,
            function=replacement(self.dot_general, self.dot_general_cls),
        )
        operands = linear.operands(inputs, kernel, bias)
        drops = Drops(rate, self.bias_rate, self.scaling, deterministic=deterministic)
        return answer(key, self, linear, operands, drops)
