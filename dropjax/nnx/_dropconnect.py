"""DropConnect: a linear layer, a convolution, any module."""

import functools
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from flax.nnx.nn.dtypes import promote_dtype
from flax.nnx.nn.linear import default_bias_init, default_kernel_init
from flax.typing import Dtype, Initializer, PrecisionLike, PromoteDtypeFn
from jax import lax
from jaxtyping import Array, Inexact, PyTree

from dropjax._checks import (
    check_fixed_mask,
)
from dropjax._types import KeyLike, MaskPer, RateLike, Scaling
from dropjax.functional import (
    dropconnect_conv,
    dropconnect_dense,
)
from dropjax.functional._conv import Padding, Window
from dropjax.nnx._base import Drop, Rngs
from dropjax.transforms import Where, dropconnect, takes_deterministic


class DropConnectLinear(Drop, nnx.Linear):
    """`dropjax.dropconnect_dense` as a layer: `nnx.Linear`, its weights dropped.

    It is an `nnx.Linear`, with the same parameters, so that a checkpoint moves over
    unchanged.

    Args:
      in_features: the number of input features.
      out_features: the number of output features.
      rate: the probability of dropping a weight, in [0, 1].
      use_bias: whether to add a bias.
      dtype: the dtype of the computation; None takes it from inputs and parameters.
      param_dtype: the dtype of the parameters.
      precision: of the product, as in `jax.lax.dot_general`.
      kernel_init: the initializer of the weights.
      bias_init: the initializer of the bias.
      dot_general: a replacement for `jax.lax.dot_general`.
      promote_dtype: brings (inputs, kernel, bias) to one dtype.
      preferred_element_type: of the product, as in `jax.lax.dot_general`.
      bias_rate: the probability of dropping an element of the bias; None keeps it.
      mask_per: who shares a mask: "batch", "example", or a number of examples.
      scaling: "inverted" or "standard".
      deterministic: if True, nothing is dropped.
      rng_collection: the stream of rngs that the keys are taken from.
      kernel_metadata: of the kernel's variable.
      bias_metadata: of the bias's variable.
      rngs: the source of keys, for the parameters and for the masks.

    Example:
      >>> import dropjax.nnx as djn
      >>> from flax import nnx
      >>> layer = djn.DropConnectLinear(5, 3, 0.5, rngs=nnx.Rngs(0))
      >>> x = jnp.ones((2, 5))
      >>> y = layer(x, deterministic=True)
      >>> assert jnp.array_equal(y, nnx.Linear(5, 3, rngs=nnx.Rngs(0))(x))
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        rate: RateLike,
        *,
        use_bias: bool = True,
        dtype: Dtype | None = None,
        param_dtype: Dtype = jnp.float32,
        precision: PrecisionLike = None,
        kernel_init: Initializer = default_kernel_init,
        bias_init: Initializer = default_bias_init,
        dot_general: Callable[..., Array] = lax.dot_general,
        promote_dtype: PromoteDtypeFn = promote_dtype,
        preferred_element_type: Dtype | None = None,
        bias_rate: RateLike | None = None,
        mask_per: MaskPer = "batch",
        scaling: Scaling = "inverted",
        deterministic: bool | None = False,
        rng_collection: str = "dropout",
        kernel_metadata: Mapping[str, Any] = MappingProxyType({}),
        bias_metadata: Mapping[str, Any] = MappingProxyType({}),
        rngs: nnx.Rngs,
    ) -> None:
        super().__init__(
            in_features,
            out_features,
            use_bias=use_bias,
            dtype=dtype,
            param_dtype=param_dtype,
            precision=precision,
            kernel_init=kernel_init,
            bias_init=bias_init,
            dot_general=dot_general,
            promote_dtype=promote_dtype,
            preferred_element_type=preferred_element_type,
            kernel_metadata=kernel_metadata,
            bias_metadata=bias_metadata,
            rngs=rngs,
        )
        self._set_drop(rate, deterministic, rng_collection, rngs)
        self.bias_rate = bias_rate
        self.mask_per = mask_per
        self.scaling = scaling

    def __call__(
        self,
        inputs: Inexact[Array, "*batch features_in"],
        out_sharding: Any = None,
        *,
        deterministic: bool | None = None,
        rngs: Rngs | KeyLike = None,
        rate: RateLike | None = None,
    ) -> Inexact[Array, "*batch features_out"]:
        """Multiplies the inputs with the masked weights.

        Args:
          inputs: a floating-point or complex array.
          out_sharding: of the product, as in `jax.lax.dot_general`.
          deterministic: overrides the attribute.
          rngs: overrides the layer's; it may also be a key.
          rate: overrides the attribute; it may be traced, as from a schedule.

        Returns:
          An array of shape (*batch, out_features).
        """
        key, rate, deterministic = self._resolve(deterministic, rngs, rate)
        inputs, kernel, bias = _promoted(self, inputs)
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
            preferred_element_type=self.preferred_element_type,
            dot_general=_replacement(self.dot_general, lax.dot_general, out_sharding),
            deterministic=deterministic,
        )


class DropConnectConv(Drop, nnx.Conv):
    """`dropjax.dropconnect_conv` as a layer: `nnx.Conv`, its weights dropped.

    It is an `nnx.Conv`, with the same parameters, so that a checkpoint moves over
    unchanged.

    Args:
      in_features: the number of input features.
      out_features: the number of output features.
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
      conv_general_dilated: a replacement for `jax.lax.conv_general_dilated`.
      promote_dtype: brings (inputs, kernel, bias) to one dtype.
      preferred_element_type: as in `jax.lax.conv_general_dilated`.
      bias_rate: the probability of dropping an element of the bias; None keeps it.
      mask_per: who shares a mask: "batch", "example", or a number of examples.
      scaling: "inverted" or "standard".
      deterministic: if True, nothing is dropped.
      rng_collection: the stream of rngs that the keys are taken from.
      kernel_metadata: of the kernel's variable.
      bias_metadata: of the bias's variable.
      rngs: the source of keys, for the parameters and for the masks.

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
        scaling: Scaling = "inverted",
        deterministic: bool | None = False,
        rng_collection: str = "dropout",
        kernel_metadata: Mapping[str, Any] = MappingProxyType({}),
        bias_metadata: Mapping[str, Any] = MappingProxyType({}),
        rngs: nnx.Rngs,
    ) -> None:
        super().__init__(
            in_features,
            out_features,
            kernel_size,
            strides,
            padding=padding,
            input_dilation=input_dilation,
            kernel_dilation=kernel_dilation,
            feature_group_count=feature_group_count,
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
        self._set_drop(rate, deterministic, rng_collection, rngs)
        self.bias_rate = bias_rate
        self.mask_per = mask_per
        self.scaling = scaling

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
          out_sharding: as in `jax.lax.conv_general_dilated`.
          deterministic: overrides the attribute.
          rngs: overrides the layer's; it may also be a key.
          rate: overrides the attribute; it may be traced, as from a schedule.

        Returns:
          An array of shape (*batch, *spatial, out_features).
        """
        key, rate, deterministic = self._resolve(deterministic, rngs, rate)
        inputs, kernel, bias = _promoted(self, inputs, self.mask)
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
            preferred_element_type=self.preferred_element_type,
            conv_general_dilated=_replacement(
                self.conv_general_dilated, lax.conv_general_dilated, out_sharding
            ),
            deterministic=deterministic,
        )


class DropConnect(Drop, nnx.Module):
    """`dropjax.dropconnect` around any module: it runs with its weights dropped.

    One mask is drawn per call; around an `nnx.RNN`, that is one mask for the whole
    sequence. The wrapped module keeps its parameters; batch statistics and rngs are
    updated as always, but what it sows is lost.

    Args:
      module: the module to wrap.
      rate: the probability of dropping a weight, or a tree prefix, in nested dicts, of
        the wrapped module's parameters, of such rates.
      where: selects leaves by path and leaf, as in `dropjax.dropconnect`.
      scaling: "inverted" or "standard".
      deterministic: if True, nothing is dropped.
      rng_collection: the stream of rngs that the keys are taken from.
      rngs: the source of keys; None if every call brings its own.

    Example:
      >>> import dropjax.nnx as djn
      >>> from flax import nnx
      >>> rngs = nnx.Rngs(0)
      >>> cell = nnx.LSTMCell(3, 4, rngs=rngs)
      >>> layer = djn.DropConnect(nnx.RNN(cell), 0.5, rngs=rngs)
      >>> assert layer(jnp.ones((2, 7, 3))).shape == (2, 7, 4)
    """

    def __init__(
        self,
        module: nnx.Module,
        rate: RateLike | PyTree,
        *,
        where: Where | None = None,
        scaling: Scaling = "inverted",
        deterministic: bool | None = False,
        rng_collection: str = "dropout",
        rngs: Rngs = None,
    ) -> None:
        self._set_drop(rate, deterministic, rng_collection, rngs)
        self.module = module
        self.where = where
        self.scaling = scaling

    def __call__(
        self,
        *args: Any,
        deterministic: bool | None = None,
        rngs: Rngs | KeyLike = None,
        rate: RateLike | PyTree | None = None,
        **kwargs: Any,
    ) -> Any:
        """Calls the wrapped module.

        Args:
          *args: for the wrapped module.
          deterministic: overrides the attribute. Given in the call, it is handed on to
            a wrapped module whose call takes a `deterministic` too.
          rngs: overrides the layer's; it may also be a key.
          rate: overrides the attribute; it may be traced, as from a schedule.
          **kwargs: for the wrapped module.

        Returns:
          What the wrapped module returns.
        """
        if deterministic is not None and takes_deterministic(self.module):
            kwargs["deterministic"] = deterministic
        key, rate, deterministic = self._resolve(deterministic, rngs, rate)
        graph, params, rest = nnx.split(self.module, nnx.Param, ...)  # type: ignore[misc]
        masked = dropconnect(
            key,
            nnx.to_pure_dict(params),
            rate,
            where=self.where,
            scaling=self.scaling,
            deterministic=deterministic,
        )
        params = jax.tree.map(lambda leaf: leaf, params)
        nnx.replace_by_pure_dict(params, masked)
        return nnx.merge(graph, params, rest)(*args, **kwargs)


def _promoted(
    layer: nnx.Linear | nnx.Conv, inputs: Array, mask: Array | None = None
) -> tuple[Array, Array, Array | None]:
    """The layer's inputs and parameters, brought to one dtype."""
    kernel = layer.kernel[...]
    if mask is not None:
        kernel = kernel * check_fixed_mask(mask, kernel.shape)
    bias = None if layer.bias is None else layer.bias[...]
    return layer.promote_dtype((inputs, kernel, bias), dtype=layer.dtype)


def _replacement(
    function: Callable[..., Array], stock: Callable[..., Array], out_sharding: Any
) -> Callable[..., Array] | None:
    """The layer's own product; None for the stock one, which functions know."""
    if out_sharding is not None:
        return functools.partial(function, out_sharding=out_sharding)
    return None if function is stock else function
