"""DropConnect of an einsum."""

from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from flax.linen.dtypes import promote_dtype
from flax.linen.linear import default_kernel_init
from flax.typing import Dtype, Initializer, PrecisionLike
from jaxtyping import Array, Inexact

from dropjax._types import Inference, KeyLike, MaskPer, Noise, RateLike, Scaling
from dropjax.functional.weights._einsum import Einsum
from dropjax.functional.weights._inference import answer
from dropjax.functional.weights._linear import Drops
from dropjax.linen._base import Drop, parameters, resolve


class DropConnectEinsum(Drop):
    """`dropjax.dropconnect_einsum` as a layer: `nn.Einsum`, its weights dropped.

    The parameters have the names, shapes and initial values of `flax.linen.Einsum`, so
    that a checkpoint moves over unchanged.

    Attributes:
      shape: the shape of the kernel.
      rate: the probability of dropping a weight, in [0, 1].
      einsum_str: the equation of inputs and kernel, as "bti,ihd->bthd". Give it here or
        in the call.
      use_bias: whether to add a bias.
      dtype: the dtype of the computation; None takes it from inputs and parameters.
      param_dtype: the dtype of the parameters.
      precision: of the product, as in `jax.numpy.einsum`.
      kernel_init: the initializer of the weights.
      bias_init: the initializer of the bias.
      promote_dtype: brings (inputs, kernel, bias) to one dtype.
      preferred_element_type: of the product, as in `jax.numpy.einsum`.
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
      >>> x, equation = jnp.ones((2, 7, 6)), "bti,ihd->bthd"
      >>> layer = djl.DropConnectEinsum((6, 4, 5), 0.5, equation)
      >>> host = nn.Einsum((6, 4, 5), equation)
      >>> variables = host.init(key, x)
      >>> y = layer.apply(variables, x, deterministic=True)
      >>> assert jnp.array_equal(y, host.apply(variables, x))
    """

    shape: Sequence[int]
    rate: RateLike
    einsum_str: str | None = None
    use_bias: bool = True
    dtype: Dtype | None = None
    param_dtype: Dtype = jnp.float32
    precision: PrecisionLike = None
    kernel_init: Initializer = default_kernel_init
    bias_init: Initializer = nn.initializers.zeros_init()
    promote_dtype: Callable[..., Any] = promote_dtype
    preferred_element_type: Dtype | None = None
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
        inputs: Inexact[Array, "*inputs"],
        deterministic: bool | None = None,
        rng: KeyLike = None,
        *,
        rate: RateLike | None = None,
        einsum_str: str | None = None,
    ) -> Inexact[Array, "*outputs"]:
        """Multiplies the inputs with the masked weights.

        Args:
          inputs: a floating-point or complex array.
          deterministic: if True, nothing is dropped.
          rng: a key to use instead of one from the collection.
          rate: overrides the attribute; it may be traced, as from a schedule.
          einsum_str: the equation, where the layer was made without it.

        Returns:
          An array of the shape that the equation says.
        """
        linear = Einsum(
            equation=nn.merge_param("einsum_str", self.einsum_str, einsum_str),
            precision=self.precision,
            preferred_element_type=self.preferred_element_type,
        )
        shape = tuple(self.shape)
        bias_shape = linear.bias_shape(jnp.shape(inputs), shape)
        inputs, kernel, bias = parameters(self, inputs, shape, bias_shape)
        key, rate, deterministic = resolve(self, rng, rate, deterministic)
        operands = linear.operands(inputs, kernel, bias)
        drops = Drops(rate, self.bias_rate, self.scaling, deterministic=deterministic)
        return answer(key, self, linear, operands, drops)
