"""DropConnect for dense layers."""

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
from dropjax.linen._base import Drop, parameters, replacement, resolve


class DropConnectDense(Drop):
    """`flax.linen.Dense` with dropped weights: `dropconnect_dense` as a layer.

    The parameters have the names, shapes and initial values of those of
    `flax.linen.Dense`, so its checkpoints load unchanged, and all of its attributes are
    supported. It is not a subclass, since `rate` would then have to follow all of these
    attributes: `isinstance(layer, nn.Dense)` is False.

    Attributes:
      features: the number of output features.
      rate: the probability of dropping a weight, in [0, 1].
      use_bias: whether to add a bias.
      dtype: the dtype of the computation; None infers it from inputs and parameters.
      param_dtype: the dtype of the parameters.
      precision: the precision of the product, as in `jax.lax.dot_general`.
      kernel_init: the initializer of the weights.
      bias_init: the initializer of the bias.
      promote_dtype: a function that promotes (inputs, kernel, bias) to one dtype.
      dot_general: a replacement for `jax.lax.dot_general`.
      dot_general_cls: a class that constructs such a replacement.
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
        """Multiplies the inputs by the masked weights.

        Args:
          inputs: a floating-point or complex array.
          deterministic: if True, nothing is dropped.
          rng: a PRNG key to use instead of one from the collection.
          rate: overrides the attribute; may be a traced value, such as a schedule's.

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
        arrays = (inputs, kernel, bias)
        return answer(key, self, linear, arrays, rate, deterministic)
