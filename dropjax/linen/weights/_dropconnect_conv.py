"""DropConnect for convolutions."""

from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from flax.linen.dtypes import promote_dtype
from flax.linen.linear import default_kernel_init
from flax.typing import Dtype, Initializer, PrecisionLike
from jaxtyping import Array, Inexact

from dropjax._checks import check_count, check_sizes
from dropjax._types import Inference, KeyLike, MaskPer, Noise, RateLike, Scaling
from dropjax.functional.weights._conv import Conv, Padding, Window
from dropjax.functional.weights._inference import answer
from dropjax.linen._base import Drop, parameters, replacement, resolve


class DropConnectConv(Drop):
    """`flax.linen.Conv` with dropped weights: `dropconnect_conv` as a layer.

    The parameters have the names, shapes and initial values of those of
    `flax.linen.Conv`, so its checkpoints load unchanged, and all of its attributes are
    supported. It is not a subclass, since `rate` would then have to follow all of these
    attributes: `isinstance(layer, nn.Conv)` is False.

    Attributes:
      features: the number of output features.
      kernel_size: the size of the window, a number for one spatial axis, else one per
        axis.
      rate: the probability of dropping a weight, in [0, 1].
      strides: the strides of the window, one number or one per spatial axis.
      padding: "SAME", "VALID", "CIRCULAR", "REFLECT", "CAUSAL", a number, or one
        number or (low, high) pair per spatial axis; only numbers with an
        input_dilation.
      input_dilation: the dilation of the inputs, one number or one per spatial axis.
      kernel_dilation: the dilation of the kernel, one number or one per spatial axis.
      feature_group_count: the number of feature groups.
      use_bias: whether to add a bias.
      mask: a fixed mask that the weights are multiplied by.
      dtype: the dtype of the computation; None infers it from inputs and parameters.
      param_dtype: the dtype of the parameters.
      precision: the precision of the product, as in `jax.lax.conv_general_dilated`.
      kernel_init: the initializer of the weights.
      bias_init: the initializer of the bias.
      promote_dtype: a function that promotes (inputs, kernel, bias) to one dtype.
      conv_general_dilated: a replacement for `jax.lax.conv_general_dilated`.
      conv_general_dilated_cls: a class that constructs such a replacement.
      bias_rate: the probability of dropping an element of the bias, or None to keep all
        of it.
      mask_per: which examples share a mask: "batch" (all of them), "example" (none), or
        n for n consecutive examples.
      noise: "bernoulli" for masks, or "gaussian" for noise in their place, as in
        `dropconnect_conv`.
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
          rng: a PRNG key to use instead of one from the collection.
          rate: overrides the attribute; may be a traced value, such as a schedule's.

        Returns:
          An array of shape (*batch, *spatial, features).
        """
        groups = check_count(self.feature_group_count, "feature_group_count")
        window = check_sizes(self.kernel_size, "kernel_size")
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
        arrays = (inputs, kernel, bias)
        return answer(key, self, linear, arrays, rate, deterministic)
