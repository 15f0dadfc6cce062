"""Structured dropout."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from flax.nnx.nn.dtypes import promote_dtype
from flax.nnx.nn.linear import default_bias_init, default_kernel_init
from flax.typing import Dtype, Initializer, PrecisionLike, PromoteDtypeFn
from jaxtyping import Array, Inexact

from dropjax._checks import OF_STRUCTURED_MLP, check_features, check_unit_rate
from dropjax._types import KeyLike, MaskPer
from dropjax.functional.subsets import structured_dropout_mlp
from dropjax.nnx._base import Drop, Rngs


class StructuredDropoutMLP(Drop, nnx.Module):
    """`dropjax.structured_dropout_mlp` as a layer, with its parameters.

    The parameters are those of the `flax.nnx.Linear` layers `linear_in`, `linear_out`
    and, if `gated`, `linear_gate`. To use the layers of an existing MLP, assign them:
    `layer.linear_in = mlp.linear1`.

    Args:
      in_features: the number of input features.
      hidden_features: the number of hidden units.
      out_features: the number of output features.
      rate: the share of the hidden units to drop, a Python number in [0, 1].
      activation: an elementwise function, of the gate if there is one.
      gated: whether the activation of a gate multiplies the hidden units, as in SwiGLU.
      use_bias: whether to add biases.
      dtype: the dtype of the computation; None infers it from inputs and parameters.
      param_dtype: the dtype of the parameters.
      precision: the precision of the products, as in `jax.lax.dot_general`.
      kernel_init: the initializer of the kernels.
      out_kernel_init: the initializer of the kernel of the outputs; None means
        `kernel_init`.
      bias_init: the initializer of the biases.
      out_bias_init: the initializer of the bias of the outputs; None means `bias_init`.
      promote_dtype: a function that promotes (inputs, *parameters) to one dtype.
      block_size: how many consecutive units are dropped together, a divisor of
        `hidden_features`.
      groups: into how many equal parts the hidden axis is split, in each of which as
        many blocks are kept.
      mask_per: which examples share a subset: "batch" (all of them), "example" (none),
        or n for n consecutive examples.
      deterministic: if True, nothing is dropped.
      rng_collection: the name of the rng stream that provides PRNG keys.
      kernel_metadata: metadata of the variables of the other kernels.
      out_kernel_metadata: metadata of the variable of the outputs' kernel.
      bias_metadata: metadata of the variables of the other biases.
      out_bias_metadata: metadata of the variable of the outputs' bias.
      rngs: the source of PRNG keys for the parameters and the subsets.

    Example:
      >>> import dropjax.nnx as djn
      >>> from flax import nnx
      >>> layer = djn.StructuredDropoutMLP(8, 32, 8, 0.5, rngs=nnx.Rngs(0))
      >>> x = jnp.ones((2, 8))
      >>> y = layer(x, deterministic=True)
      >>> assert jnp.array_equal(y, layer.linear_out(nnx.gelu(layer.linear_in(x))))
    """

    checks = OF_STRUCTURED_MLP

    def __init__(
        self,
        in_features: int,
        hidden_features: int,
        out_features: int,
        rate: float,
        *,
        activation: Callable[[Array], Array] = jax.nn.gelu,
        gated: bool = False,
        use_bias: bool = True,
        dtype: Dtype | None = None,
        param_dtype: Dtype = jnp.float32,
        precision: PrecisionLike = None,
        kernel_init: Initializer = default_kernel_init,
        out_kernel_init: Initializer | None = None,
        bias_init: Initializer = default_bias_init,
        out_bias_init: Initializer | None = None,
        promote_dtype: PromoteDtypeFn = promote_dtype,
        block_size: int = 1,
        groups: int = 1,
        mask_per: MaskPer = "batch",
        deterministic: bool | None = False,
        rng_collection: str = "dropout",
        kernel_metadata: Mapping[str, Any] = MappingProxyType({}),
        out_kernel_metadata: Mapping[str, Any] = MappingProxyType({}),
        bias_metadata: Mapping[str, Any] = MappingProxyType({}),
        out_bias_metadata: Mapping[str, Any] = MappingProxyType({}),
        rngs: nnx.Rngs,
    ) -> None:
        self.in_features = check_features(in_features, "in_features")
        self.hidden_features = check_features(hidden_features, "hidden_features")
        self.out_features = check_features(out_features, "out_features")
        self.activation = activation
        self.gated = gated
        self.dtype = dtype
        self.precision = precision
        self.promote_dtype = promote_dtype
        self.block_size = block_size
        self.groups = groups
        self.mask_per = mask_per
        shared: dict[str, Any] = {
            "use_bias": use_bias,
            "param_dtype": param_dtype,
            "rngs": rngs,
        }
        options: dict[str, Any] = {
            "kernel_init": kernel_init,
            "bias_init": bias_init,
            "kernel_metadata": kernel_metadata,
            "bias_metadata": bias_metadata,
        }
        of_outputs: dict[str, Any] = {
            "kernel_init": out_kernel_init or kernel_init,
            "bias_init": out_bias_init or bias_init,
            "kernel_metadata": out_kernel_metadata,
            "bias_metadata": out_bias_metadata,
        }
        self.linear_in = nnx.Linear(in_features, hidden_features, **shared, **options)
        if gated:
            self.linear_gate = nnx.Linear(
                in_features, hidden_features, **shared, **options
            )
        self.linear_out = nnx.Linear(
            hidden_features, out_features, **shared, **of_outputs
        )
        self._set_drop(rate, deterministic, rng_collection, rngs)

    def __call__(
        self,
        inputs: Inexact[Array, "*batch features_in"],
        *,
        deterministic: bool | None = None,
        rngs: Rngs | KeyLike = None,
        rate: float | None = None,
    ) -> Inexact[Array, "*batch features_out"]:
        """Applies the MLP to the inputs.

        Args:
          inputs: a floating-point or complex array.
          deterministic: overrides the attribute.
          rngs: overrides the layer's rngs; may also be a PRNG key.
          rate: overrides the attribute; a Python number, too.

        Returns:
          An array of shape (*batch, out_features).
        """
        key, share, deterministic = self._resolve(deterministic, rngs, rate)
        gate = _parameters(self.linear_gate) if self.gated else (None, None)
        arrays = (
            inputs,
            *_parameters(self.linear_in),
            *gate,
            *_parameters(self.linear_out),
        )
        promoted = self.promote_dtype(arrays, dtype=self.dtype)
        x, kernel_in, bias_in, kernel_gate, bias_gate, kernel_out, bias_out = promoted
        return structured_dropout_mlp(
            key,
            x,
            kernel_in,
            kernel_out,
            check_unit_rate(share),
            kernel_gate=kernel_gate,
            bias_in=bias_in,
            bias_out=bias_out,
            bias_gate=bias_gate,
            activation=self.activation,
            block_size=self.block_size,
            groups=self.groups,
            mask_per=self.mask_per,
            precision=self.precision,
            deterministic=deterministic,
        )


def _parameters(linear: nnx.Linear) -> tuple[Array, Array | None]:
    return linear.kernel[...], None if linear.bias is None else linear.bias[...]
