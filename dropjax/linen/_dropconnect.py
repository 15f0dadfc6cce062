"""DropConnect: a dense layer, a convolution, any module."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from flax.linen.dtypes import promote_dtype
from flax.linen.linear import default_kernel_init
from flax.typing import Dtype, Initializer, PrecisionLike
from jaxtyping import Array, Inexact, PyTree

from dropjax._checks import check_fixed_mask
from dropjax._types import KeyLike, MaskPer, RateLike, Scaling
from dropjax.functional import (
    dropconnect_conv,
    dropconnect_dense,
)
from dropjax.functional._conv import Padding, Window
from dropjax.linen._base import resolve
from dropjax.transforms import Where, dropconnect, takes_deterministic


class DropConnectDense(nn.Module):
    """`dropjax.dropconnect_dense` as a layer: `flax.linen.Dense`, its weights dropped.

    The parameters have the names, shapes and initial values of `flax.linen.Dense`, so
    that a checkpoint moves over unchanged, and every attribute of it is here.

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
        inputs, kernel, bias = _parameters(self, inputs, shape)
        key, rate, deterministic = resolve(self, rng, rate, deterministic)
        return dropconnect_dense(
            key,
            inputs,
            kernel,
            rate,
            bias=bias,
            bias_rate=self.bias_rate,
            mask_per=self.mask_per,
            scaling=self.scaling,
            precision=self.precision,
            dot_general=_replacement(self.dot_general, self.dot_general_cls),
            deterministic=deterministic,
        )


class DropConnectConv(nn.Module):
    """`dropjax.dropconnect_conv` as a layer: `flax.linen.Conv`, its weights dropped.

    The parameters have the names, shapes and initial values of `flax.linen.Conv`, so
    that a checkpoint moves over unchanged, and every attribute of it is here.

    Attributes:
      features: the number of output features.
      kernel_size: the window, a number for one spatial axis, else one per axis.
      rate: the probability of dropping a weight, in [0, 1].
      strides: the window's steps, one number or one per spatial axis.
      padding: "SAME", "VALID", "CIRCULAR", "REFLECT", "CAUSAL", a number, or one
        number or (low, high) pair per spatial axis.
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
        size = self.kernel_size
        window = (size,) if isinstance(size, int) else tuple(size)
        per_group = jnp.shape(inputs)[-1] // self.feature_group_count
        shape = (*window, per_group, self.features)
        inputs, kernel, bias = _parameters(self, inputs, shape, self.mask)
        key, rate, deterministic = resolve(self, rng, rate, deterministic)
        return dropconnect_conv(
            key,
            inputs,
            kernel,
            rate,
            bias=bias,
            bias_rate=self.bias_rate,
            mask_per=self.mask_per,
            strides=self.strides,
            padding=self.padding,
            dilation=self.kernel_dilation,
            input_dilation=self.input_dilation,
            feature_group_count=self.feature_group_count,
            scaling=self.scaling,
            precision=self.precision,
            conv_general_dilated=_replacement(
                self.conv_general_dilated, self.conv_general_dilated_cls
            ),
            deterministic=deterministic,
        )


class DropConnect(nn.Module):
    """`dropjax.dropconnect` around any module: it runs with its weights dropped.

    The variables are those of the wrapped module, at the same paths: nothing is nested
    and a checkpoint moves over unchanged. One mask is drawn per call; around an
    `nn.RNN`, that is one mask for the whole sequence.

    Attributes:
      module: the module to wrap.
      rate: the probability of dropping a weight, or a tree prefix of such rates.
      where: selects leaves by path and leaf, as in `dropjax.dropconnect`.
      scaling: "inverted" or "standard".
      deterministic: if True, nothing is dropped. Give it here or in the call.
      rng_collection: the collection of rngs that the key is taken from.

    Example:
      >>> import dropjax.linen as djl
      >>> import flax.linen as nn
      >>> rnn, x = nn.RNN(nn.LSTMCell(4)), jnp.ones((2, 7, 3))
      >>> layer, variables = djl.DropConnect(rnn, rate=0.5), rnn.init(key, x)
      >>> y = layer.apply(variables, x, deterministic=False, rngs={"dropout": key})
      >>> assert y.shape == (2, 7, 4)
    """

    module: nn.Module
    rate: RateLike | PyTree
    where: Where | None = None
    scaling: Scaling = "inverted"
    deterministic: bool | None = None
    rng_collection: str = "dropout"

    @nn.compact
    def __call__(
        self,
        *args: Any,
        deterministic: bool | None = None,
        rng: KeyLike = None,
        rate: RateLike | PyTree | None = None,
        **kwargs: Any,
    ) -> Any:
        """Calls the wrapped module.

        Args:
          *args: for the wrapped module.
          deterministic: if True, nothing is dropped. Given in the call, it is handed
            on to a wrapped module whose call takes a `deterministic` too.
          rng: a key to use instead of one from the collection.
          rate: overrides the attribute; it may be traced, as from a schedule.
          **kwargs: for the wrapped module.

        Returns:
          What the wrapped module returns.
        """
        nn.share_scope(self, self.module)
        if deterministic is not None and takes_deterministic(self.module):
            kwargs["deterministic"] = deterministic
        if self.is_initializing():
            return self.module(*args, **kwargs)
        key, rate, deterministic = resolve(self, rng, rate, deterministic)

        def mask(variables: Mapping[str, PyTree]) -> Mapping[str, PyTree]:
            masked = dropconnect(
                key,
                variables["params"],
                rate,
                where=self.where,
                scaling=self.scaling,
                deterministic=deterministic,
            )
            return {**variables, "params": masked}

        def call(module: nn.Module, *args: Any, **kwargs: Any) -> Any:
            return module(*args, **kwargs)

        masked_call = nn.map_variables(call, "params", trans_in_fn=mask)
        return masked_call(self.module, *args, **kwargs)


def _parameters(
    layer: DropConnectDense | DropConnectConv,
    inputs: Array,
    shape: tuple[int, ...],
    mask: Array | None = None,
) -> tuple[Array, Array, Array | None]:
    """The parameters of flax's layer, in its order, brought to one dtype."""
    kernel = layer.param("kernel", layer.kernel_init, shape, layer.param_dtype)
    if mask is not None:
        kernel = kernel * check_fixed_mask(mask, shape)
    bias = None
    if layer.use_bias:
        width = (layer.features,)
        bias = layer.param("bias", layer.bias_init, width, layer.param_dtype)
    return layer.promote_dtype(inputs, kernel, bias, dtype=layer.dtype)


def _replacement(
    function: Callable[..., Array] | None, maker: Callable[[], Any] | None
) -> Callable[..., Array] | None:
    return function if maker is None else maker()
