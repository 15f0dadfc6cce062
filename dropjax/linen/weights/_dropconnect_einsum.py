"""DropConnect for einsums."""

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
from dropjax.linen._base import Drop, parameters, resolve


class DropConnectEinsum(Drop):
    """`flax.linen.Einsum` with dropped weights: `dropconnect_einsum` as a layer.

    The parameters have the names, shapes and initial values of those of
    `flax.linen.Einsum`, so its checkpoints load unchanged, and all of its attributes
    are supported.

    Attributes:
      shape: the shape of the kernel.
      rate: the probability of dropping a weight, in [0, 1].
      einsum_str: the equation of inputs and kernel, such as "bti,ihd->bthd". Set it
        here or pass it in the call.
      use_bias: whether to add a bias.
      dtype: the dtype of the computation; None infers it from inputs and parameters.
      param_dtype: the dtype of the parameters.
      precision: the precision of the product, as in `jax.numpy.einsum`.
      kernel_init: the initializer of the weights.
      bias_init: the initializer of the bias.
      promote_dtype: a function that promotes (inputs, kernel, bias) to one dtype.
      preferred_element_type: the accumulation and output dtype of the product, as in
        `jax.numpy.einsum`.
      bias_rate: the probability of dropping an element of the bias, or None to keep all
        of it.
      mask_per: which examples share a mask: "batch" (all of them), "example" (none), or
        n for n consecutive examples.
      noise: "bernoulli" for masks, or "gaussian" for noise in their place, as in
        `dropconnect_dense`.
      inference: the output with `deterministic=True`: "mean" uses all weights; the
        others average the activation over samples and need a PRNG key: "gaussian" as in
        the paper, "monte_carlo" with masks as in training.
      activation: applied to the output, in training too. None means no activation and
        requires `inference="mean"`.
      num_samples: the number of samples that inference averages over.
      scaling: "inverted" or "standard".
      deterministic: if True, nothing is dropped. Set it here or pass it in the call.
      rng_collection: the name of the rng collection that provides PRNG keys.

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
        """Multiplies the inputs by the masked weights.

        Args:
          inputs: a floating-point or complex array.
          deterministic: if True, nothing is dropped.
          rng: a PRNG key to use instead of one from the collection.
          rate: overrides the attribute; may be a traced value, such as a schedule's.
          einsum_str: the equation, if the layer was constructed without one.

        Returns:
          An array of the shape given by the equation.
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
        arrays = (inputs, kernel, bias)
        return answer(key, self, linear, arrays, rate, deterministic)
