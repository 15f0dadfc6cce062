"""DropConnect for dense layers over any axes."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from flax.linen.dtypes import promote_dtype
from flax.linen.linear import default_kernel_init
from flax.typing import Dtype, Initializer, PrecisionLike
from jaxtyping import Array, Inexact

from dropjax._checks import OF_GENERAL, check_all_features
from dropjax._types import Axes, Inference, KeyLike, MaskPer, Noise, RateLike, Scaling
from dropjax.functional.weights._dense import DenseGeneral
from dropjax.functional.weights._inference import answer
from dropjax.linen._base import Drop, replacement, resolve


class DropConnectDenseGeneral(Drop):
    """`flax.linen.DenseGeneral` with dropped weights: `dropconnect_dense_general`.

    The parameters have the names, shapes and initial values of those of
    `flax.linen.DenseGeneral`, so its checkpoints load unchanged, and all of its
    attributes are supported.

    Attributes:
      features: the number of output features, or one number for each of their axes.
      rate: the probability of dropping a weight, in [0, 1].
      axis: the axis or axes of the inputs to contract, in increasing order.
      batch_dims: leading axes of the inputs, such as (0,), along which each entry has
        its own weights.
      use_bias: whether to add a bias.
      dtype: the dtype of the computation; None infers it from inputs and parameters.
      param_dtype: the dtype of the parameters.
      kernel_init: the initializer of the weights.
      bias_init: the initializer of the bias.
      precision: the precision of the product, as in `jax.lax.dot_general`.
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
      >>> x, layer = jnp.ones((2, 7, 6)), djl.DropConnectDenseGeneral((4, 5), rate=0.5)
      >>> variables = nn.DenseGeneral((4, 5)).init(key, x)
      >>> y = layer.apply(variables, x, deterministic=True)
      >>> assert jnp.array_equal(y, nn.DenseGeneral((4, 5)).apply(variables, x))
    """

    features: int | Sequence[int]
    rate: RateLike
    axis: Axes = -1
    batch_dims: Axes = ()
    use_bias: bool = True
    dtype: Dtype | None = None
    param_dtype: Dtype = jnp.float32
    kernel_init: Initializer = default_kernel_init
    bias_init: Initializer = nn.initializers.zeros_init()
    precision: PrecisionLike = None
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

    checks = OF_GENERAL

    @nn.compact
    def __call__(
        self,
        inputs: Inexact[Array, "*inputs"],
        deterministic: bool | None = None,
        rng: KeyLike = None,
        *,
        rate: RateLike | None = None,
    ) -> Inexact[Array, "*outputs"]:
        """Multiplies the inputs by the masked weights.

        Args:
          inputs: a floating-point or complex array.
          deterministic: if True, nothing is dropped.
          rng: a PRNG key to use instead of one from the collection.
          rate: overrides the attribute; may be a traced value, such as a schedule's.

        Returns:
          An array with the inputs' uncontracted axes, followed by the features.
        """
        shape, features = jnp.shape(inputs), check_all_features(self.features)
        linear = DenseGeneral.over(
            self.axis,
            self.batch_dims,
            len(shape),
            precision=self.precision,
            function=replacement(self.dot_general, self.dot_general_cls),
        )
        batch = shape[: linear.batch_dims]
        kernel_shape = (*batch, *(shape[axis] for axis in linear.axis), *features)
        kernel_init = _flat(self.kernel_init, math.prod(features))
        kernel = self.param("kernel", kernel_init, kernel_shape, self.param_dtype)
        bias = None
        if self.use_bias:
            bias_init, bias_shape = _flat(self.bias_init), (*batch, *features)
            bias = self.param("bias", bias_init, bias_shape, self.param_dtype)
        inputs, kernel, bias = self.promote_dtype(
            inputs, kernel, bias, dtype=self.dtype
        )
        key, rate, deterministic = resolve(self, rng, rate, deterministic)
        arrays = (inputs, kernel, bias)
        return answer(key, self, linear, arrays, rate, deterministic)


def _flat(initializer: Initializer, columns: int | None = None) -> Initializer:
    """Initializes a matrix with that many columns, or a vector, and reshapes it."""

    def initialized(key: Any, shape: Sequence[int], dtype: Any) -> Any:
        size = math.prod(shape)
        flat = (size,) if columns is None else (size // max(columns, 1), columns)
        values = initializer(key, flat, dtype)
        if isinstance(values, nn.meta.AxisMetadata):
            return values.replace_boxed(values.unbox().reshape(shape))
        return values.reshape(shape)

    return initialized
