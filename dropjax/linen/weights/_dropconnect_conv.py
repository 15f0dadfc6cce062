"""DropConnect of a convolution."""

from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from flax.linen.dtypes import promote_dtype
from flax.linen.linear import default_kernel_init
from flax.typing import Dtype, Initializer, PrecisionLike
from jaxtyping import Array, Inexact

from dropjax._checks import check_count, check_kernel_size
from dropjax._types import Inference, KeyLike, MaskPer, Noise, RateLike, Scaling
from dropjax.functional.weights._conv import Conv, Padding, Window
from dropjax.functional.weights._inference import answer
from dropjax.functional.weights._linear import Drops
from dropjax.linen._base import Drop, parameters, replacement, resolve


class DropConnectConv(Drop):
    """`dropjax.dropconnect_conv` as a layer: `flax.linen.Conv`, its weights dropped.

    The parameters have the names, shapes and initial values of `flax.linen.Conv`, so
    that a checkpoint moves over unchanged, and every attribute of it is here. It is not
    a subclass of it, as `rate` would then have to come after all of those attributes:
    `isinstance(layer, nn.Conv)` is False.

    Attributes:
      features: the number of output features.
      kernel_size: the window, a number for one spatial axis, else one per axis.
      rate: the probability of dropping a weight, in [0, 1].
      strides: the window's steps, one number or one per spatial axis.
      padding: "SAME", "VALID", "CIRCULAR", "REFLECT", "CAUSAL", a number, or one
        number or (low, high) pair per spatial axis. With an input_dilation, numbers.
      input_dilation: the input's, one number or one per spatial axis.
      kernel_dilation: the kernel's, one number or one per spatial axis.
      feature_group_count: the number of groups of features.
      use_bias: whether to add a bias.
      mask: a fixed mask of the weights, multiplied with them.
      dtype: the dtype of the computation; None takes it from inputs and parameters.
      param_dtype: the dtype of the parameters.
      precision: as in `jax.lax.conv_general_dilated`.
      kernel_init: the initializer of the weights.
      bias_init: the initializer of the bias.
      promote_dtype: brings (inputs, kernel, bias) to one dtype.
      conv_general_dilated: a replacement for `jax.lax.conv_general_dilated`.
      conv_general_dilated_cls: a class that makes such a replacement.
      bias_rate: the probability of dropping an element of the bias; None keeps it.
      mask_per: who shares a mask: "batch", "example", or a number of examples.
      noise: "bernoulli" for masks, or "gaussian", as in `dropconnect_conv`.
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
      >>> layer, x = djl.DropConnectConv(4, (3, 3), rate=0.5), jnp.ones((2, 8, 8, 3))
      >>> variables = nn.Conv(4, (3, 3)).init(key, x)
      >>> y = layer.apply(variables, x, deterministic=True)
      >>> assert jnp.array_equal(y, nn.Conv(4, (3, 3)).apply(variables, x))
    """

    features: int
    kernel_size: int | Sequence[int]
    rate: RateLike
    strides: Window = 1
    padding: Padding = "SAME"
    input_dilation: Window = 1
    kernel_dilation: Window = 1
    feature_group_count: int = 1
    use_bias: bool = True
    mask: Array | None = None
    dtype: Dtype | None = None
    param_dtype: Dtype = jnp.float32
    precision: PrecisionLike = None
    kernel_init: Initializer = default_kernel_init
    bias_init: Initializer = nn.initializers.zeros_init()
    promote_dtype: Callable[..., Any] = promote_dtype
    conv_general_dilated: Callable[..., Array] | None = None
    conv_general_dilated_cls: Any = None
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
        inputs: Inexact[Array, "*batch_spatial features_in"],
        deterministic: bool | None = None,
        rng: KeyLike = None,
        *,
        rate: RateLike | None = None,
    ) -> Inexact[Array, "*batch_spatial features"]:
        """Convolves the inputs with the masked weights.

        Args:
          inputs: a floating-point or complex array, (*batch, *spatial, features_in).
          deterministic: if True, nothing is dropped.
          rng: a key to use instead of one from the collection.
          rate: overrides the attribute; it may be traced, as from a schedule.

        Returns:
          An array of shape (*batch, *spatial, features).
        """
        groups = check_count(self.feature_group_count, "feature_group_count")
        window = check_kernel_size(self.kernel_size)
        shape = (*window, jnp.shape(inputs)[-1] // groups, self.features)
        inputs, kernel, bias = parameters(self, inputs, shape, shape[-1:], self.mask)
        key, rate, deterministic = resolve(self, rng, rate, deterministic)
        linear = Conv(
            strides=self.strides,
            padding=self.padding,
            dilation=self.kernel_dilation,
            input_dilation=self.input_dilation,
            feature_group_count=self.feature_group_count,
            precision=self.precision,
            function=replacement(
                self.conv_general_dilated, self.conv_general_dilated_cls
            ),
        )
        operands = linear.operands(inputs, kernel, bias)
        drops = Drops(rate, self.bias_rate, self.scaling, deterministic=deterministic)
        return answer(key, self, linear, operands, drops)
