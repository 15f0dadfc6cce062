"""DropConnect for convolutions."""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import jax.numpy as jnp
from flax import nnx
from flax.nnx.nn.dtypes import promote_dtype
from flax.nnx.nn.linear import default_bias_init, default_kernel_init
from flax.typing import Dtype, Initializer, PrecisionLike, PromoteDtypeFn
from jax import lax
from jaxtyping import Array, Inexact

from dropjax._checks import check_count, check_features, check_sizes
from dropjax._types import Inference, KeyLike, MaskPer, Noise, RateLike, Scaling
from dropjax.functional.weights._conv import Conv, Padding, Window
from dropjax.functional.weights._inference import answer
from dropjax.nnx._base import Drop, Rngs, promoted, replacement, resharded


class DropConnectConv(Drop, nnx.Conv):
    """`flax.nnx.Conv` with dropped weights: `dropconnect_conv` as a layer.

    It is a subclass with the same parameters, so checkpoints load unchanged.

    Args:
      in_features: the number of input features.
      out_features: the number of output features.
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
      conv_general_dilated: a replacement for `jax.lax.conv_general_dilated`.
      promote_dtype: a function that promotes (inputs, kernel, bias) to one dtype.
      preferred_element_type: the accumulation and output dtype of the product, as in
        `jax.lax.conv_general_dilated`.
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
      deterministic: if True, nothing is dropped.
      rng_collection: the name of the rng stream that provides PRNG keys.
      kernel_metadata: metadata of the kernel's variable.
      bias_metadata: metadata of the bias's variable.
      rngs: the source of PRNG keys for the parameters and the masks.

    Example:
      >>> import dropjax.nnx as djn
      >>> from flax import nnx
      >>> layer = djn.DropConnectConv(3, 4, (3, 3), 0.5, rngs=nnx.Rngs(0))
      >>> x = jnp.ones((2, 8, 8, 3))
      >>> y = layer(x, deterministic=True)
      >>> assert jnp.array_equal(y, nnx.Conv(3, 4, (3, 3), rngs=nnx.Rngs(0))(x))
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        kernel_size: int | Sequence[int],
        rate: RateLike,
        *,
        strides: Window = 1,
        padding: Padding = "SAME",
        input_dilation: Window = 1,
        kernel_dilation: Window = 1,
        feature_group_count: int = 1,
        use_bias: bool = True,
        mask: Array | None = None,
        dtype: Dtype | None = None,
        param_dtype: Dtype = jnp.float32,
        precision: PrecisionLike = None,
        kernel_init: Initializer = default_kernel_init,
        bias_init: Initializer = default_bias_init,
        conv_general_dilated: Callable[..., Array] = lax.conv_general_dilated,
        promote_dtype: PromoteDtypeFn = promote_dtype,
        preferred_element_type: Dtype | None = None,
        bias_rate: RateLike | None = None,
        mask_per: MaskPer = "batch",
        noise: Noise = "bernoulli",
        inference: Inference = "mean",
        activation: Callable[[Array], Array] | None = None,
        num_samples: int = 100,
        scaling: Scaling = "inverted",
        deterministic: bool | None = False,
        rng_collection: str = "dropout",
        kernel_metadata: Mapping[str, Any] = MappingProxyType({}),
        bias_metadata: Mapping[str, Any] = MappingProxyType({}),
        rngs: nnx.Rngs,
    ) -> None:
        super().__init__(
            check_features(in_features, "in_features"),
            check_features(out_features, "out_features"),
            check_sizes(kernel_size, "kernel_size"),
            strides,
            padding=padding,
            input_dilation=input_dilation,
            kernel_dilation=kernel_dilation,
            feature_group_count=check_count(feature_group_count, "feature_group_count"),
            use_bias=use_bias,
            mask=mask,
            dtype=dtype,
            param_dtype=param_dtype,
            precision=precision,
            kernel_init=kernel_init,
            bias_init=bias_init,
            conv_general_dilated=conv_general_dilated,
            promote_dtype=promote_dtype,
            preferred_element_type=preferred_element_type,
            kernel_metadata=kernel_metadata,
            bias_metadata=bias_metadata,
            rngs=rngs,
        )
        self.bias_rate = bias_rate
        self.mask_per = mask_per
        self.noise = noise
        self.inference = inference
        self.activation = activation
        self.num_samples = num_samples
        self.scaling = scaling
        self._set_drop(rate, deterministic, rng_collection, rngs)

    def __call__(
        self,
        inputs: Inexact[Array, "*batch_spatial features_in"],
        out_sharding: Any = None,
        *,
        deterministic: bool | None = None,
        rngs: Rngs | KeyLike = None,
        rate: RateLike | None = None,
    ) -> Inexact[Array, "*batch_spatial features_out"]:
        """Convolves the inputs with the masked weights.

        Args:
          inputs: a floating-point or complex array, (*batch, *spatial, in_features).
          out_sharding: the sharding of the product, as in
            `jax.lax.conv_general_dilated`.
          deterministic: overrides the attribute.
          rngs: overrides the layer's rngs; may also be a PRNG key.
          rate: overrides the attribute; may be a traced value, such as a schedule's.

        Returns:
          An array of shape (*batch, *spatial, out_features).
        """
        key, rate, deterministic = self._resolve(deterministic, rngs, rate)
        inputs, kernel, bias = promoted(self, inputs, self.mask)
        linear = Conv(
            strides=self.strides,
            padding=self.padding,
            dilation=self.kernel_dilation,
            input_dilation=self.input_dilation,
            feature_group_count=self.feature_group_count,
            precision=self.precision,
            preferred_element_type=self.preferred_element_type,
            function=replacement(
                self.conv_general_dilated, lax.conv_general_dilated, out_sharding
            ),
        )
        arrays = (inputs, kernel, bias)
        y = answer(key, self, linear, arrays, rate, deterministic)
        return resharded(y, out_sharding)
