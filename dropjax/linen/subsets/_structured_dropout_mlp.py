"""Structured dropout."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen.dtypes import promote_dtype
from flax.linen.linear import default_kernel_init
from flax.typing import Dtype, Initializer, PrecisionLike
from jaxtyping import Array, Inexact

from dropjax._checks import OF_STRUCTURED_MLP, check_unit_rate
from dropjax._types import KeyLike, MaskPer
from dropjax.functional.subsets import structured_dropout_mlp
from dropjax.linen._base import Drop, resolve


class StructuredDropoutMLP(Drop):
    """`dropjax.structured_dropout_mlp` as a layer, with its parameters.

    The parameters are those of `flax.linen.Dense` layers with the names `linear_in`,
    `linear_out` and, if `gated`, `linear_gate`. To load the checkpoint of an MLP,
    rename its layers, as in
    `{"linear_in": params["Dense_0"], "linear_out": params["Dense_1"]}`.

    Attributes:
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
      deterministic: if True, nothing is dropped. Set it here or pass it in the call.
      rng_collection: the name of the rng collection that provides PRNG keys.

    Example:
      >>> import dropjax.linen as djl
      >>> import flax.linen as nn
      >>> layer, x = djl.StructuredDropoutMLP(32, 8, rate=0.5), jnp.ones((2, 8))
      >>> mlp = nn.Sequential([nn.Dense(32), nn.gelu, nn.Dense(8)])
      >>> params = mlp.init(key, x)["params"]
      >>> moved = {"linear_in": params["layers_0"], "linear_out": params["layers_2"]}
      >>> y = layer.apply({"params": moved}, x, deterministic=True)
      >>> assert jnp.array_equal(y, mlp.apply({"params": params}, x))
    """

    hidden_features: int
    out_features: int
    rate: float
    activation: Callable[[Array], Array] = jax.nn.gelu
    gated: bool = False
    use_bias: bool = True
    dtype: Dtype | None = None
    param_dtype: Dtype = jnp.float32
    precision: PrecisionLike = None
    kernel_init: Initializer = default_kernel_init
    out_kernel_init: Initializer | None = None
    bias_init: Initializer = nn.initializers.zeros_init()
    out_bias_init: Initializer | None = None
    promote_dtype: Callable[..., Any] = promote_dtype
    block_size: int = 1
    groups: int = 1
    mask_per: MaskPer = "batch"
    deterministic: bool | None = None
    rng_collection: str = "dropout"

    checks = OF_STRUCTURED_MLP
    fixed_rate = True

    @nn.compact
    def __call__(
        self,
        inputs: Inexact[Array, "*batch features_in"],
        deterministic: bool | None = None,
        rng: KeyLike = None,
        *,
        rate: float | None = None,
    ) -> Inexact[Array, "*batch features_out"]:
        """Applies the MLP to the inputs.

        Args:
          inputs: a floating-point or complex array.
          deterministic: if True, nothing is dropped.
          rng: a PRNG key to use instead of one from the collection.
          rate: overrides the attribute; a Python number, too.

        Returns:
          An array of shape (*batch, out_features).
        """
        key, share, deterministic = resolve(self, rng, rate, deterministic)
        shape = jnp.shape(inputs)[-1], self.hidden_features
        kernel_in, bias_in = self._parameters("linear_in", shape)
        gate = self._parameters("linear_gate", shape) if self.gated else (None, None)
        kernel_out, bias_out = self._parameters(
            "linear_out",
            (self.hidden_features, self.out_features),
            self.out_kernel_init,
            self.out_bias_init,
        )
        arrays = (inputs, kernel_in, bias_in, *gate, kernel_out, bias_out)
        promoted = self.promote_dtype(*arrays, dtype=self.dtype)
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

    def _parameters(
        self,
        name: str,
        shape: tuple[int, int],
        kernel_init: Initializer | None = None,
        bias_init: Initializer | None = None,
    ) -> tuple[Array, Array | None]:
        return _Dense(
            shape,
            self.use_bias,
            self.param_dtype,
            kernel_init or self.kernel_init,
            bias_init or self.bias_init,
            name=name,
        )()


class _Dense(nn.Module):
    """The parameters of `flax.linen.Dense`, without its product."""

    shape: tuple[int, int]
    use_bias: bool
    param_dtype: Dtype
    kernel_init: Initializer
    bias_init: Initializer

    @nn.compact
    def __call__(self) -> tuple[Array, Array | None]:
        kernel = self.param("kernel", self.kernel_init, self.shape, self.param_dtype)
        bias = None
        if self.use_bias:
            width = self.shape[1:]
            bias = self.param("bias", self.bias_init, width, self.param_dtype)
        return kernel, bias
