"""DropConnect for einsums."""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import jax.numpy as jnp
from flax import nnx
from flax.nnx.nn.dtypes import promote_dtype
from flax.nnx.nn.linear import default_bias_init, default_kernel_init
from flax.typing import Dtype, Initializer, PrecisionLike, PromoteDtypeFn
from jaxtyping import Array, Inexact

from dropjax._checks import check_einsum_str, check_shape
from dropjax._types import Inference, KeyLike, MaskPer, Noise, RateLike, Scaling
from dropjax.functional.weights._einsum import Einsum
from dropjax.functional.weights._inference import answer
from dropjax.nnx._base import Drop, Rngs, promoted, replacement, resharded


class DropConnectEinsum(Drop, nnx.Einsum):
    """`flax.nnx.Einsum` with dropped weights: `dropconnect_einsum` as a layer.

    It is a subclass with the same parameters, so checkpoints load unchanged.

    Args:
      einsum_str: the equation of inputs and kernel, such as "bti,ihd->bthd".
      kernel_shape: the shape of the kernel.
      rate: the probability of dropping a weight, in [0, 1].
      bias_shape: the shape of the bias; None for no bias.
      dtype: the dtype of the computation; None infers it from inputs and parameters.
      param_dtype: the dtype of the parameters.
      precision: the precision of the product, as in `jax.numpy.einsum`.
      kernel_init: the initializer of the weights.
      bias_init: the initializer of the bias.
      promote_dtype: a function that promotes (inputs, kernel, bias) to one dtype.
      einsum_op: a replacement for `jax.numpy.einsum`.
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
      deterministic: if True, nothing is dropped.
      rng_collection: the name of the rng stream that provides PRNG keys.
      kernel_metadata: metadata of the kernel's variable.
      bias_metadata: metadata of the bias's variable.
      rngs: the source of PRNG keys for the parameters and the masks.

    Example:
      >>> import dropjax.nnx as djn
      >>> from flax import nnx
      >>> x, equation, shape = jnp.ones((2, 7, 6)), "bti,ihd->bthd", (6, 4, 5)
      >>> layer = djn.DropConnectEinsum(equation, shape, 0.5, rngs=nnx.Rngs(0))
      >>> host = nnx.Einsum(equation, shape, rngs=nnx.Rngs(0))
      >>> assert jnp.array_equal(layer(x, deterministic=True), host(x))
    """

    def __init__(
        self,
        einsum_str: str,
        kernel_shape: Sequence[int],
        rate: RateLike,
        *,
        bias_shape: Sequence[int] | None = None,
        dtype: Dtype | None = None,
        param_dtype: Dtype = jnp.float32,
        precision: PrecisionLike = None,
        kernel_init: Initializer = default_kernel_init,
        bias_init: Initializer = default_bias_init,
        promote_dtype: PromoteDtypeFn = promote_dtype,
        einsum_op: Callable[..., Array] = jnp.einsum,
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
            check_einsum_str(einsum_str),
            check_shape(kernel_shape, "kernel_shape"),
            None if bias_shape is None else tuple(bias_shape),
            dtype=dtype,
            param_dtype=param_dtype,
            precision=precision,
            kernel_init=kernel_init,
            bias_init=bias_init,
            promote_dtype=promote_dtype,
            einsum_op=einsum_op,
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
        inputs: Inexact[Array, "*inputs"],
        einsum_str: str | None = None,
        out_sharding: Any = None,
        *,
        deterministic: bool | None = None,
        rngs: Rngs | KeyLike = None,
        rate: RateLike | None = None,
    ) -> Inexact[Array, "*outputs"]:
        """Multiplies the inputs by the masked weights.

        Args:
          inputs: a floating-point or complex array.
          einsum_str: overrides the attribute.
          out_sharding: the sharding of the product, as in `jax.numpy.einsum`.
          deterministic: overrides the attribute.
          rngs: overrides the layer's rngs; may also be a PRNG key.
          rate: overrides the attribute; may be a traced value, such as a schedule's.

        Returns:
          An array of the shape given by the equation.
        """
        key, rate, deterministic = self._resolve(deterministic, rngs, rate)
        inputs, kernel, bias = promoted(self, inputs)
        linear = Einsum(
            equation=self.einsum_str if einsum_str is None else einsum_str,
            precision=self.precision,
            preferred_element_type=self.preferred_element_type,
            function=replacement(self.einsum_op, jnp.einsum, out_sharding),
        )
        arrays = (inputs, kernel, bias)
        y = answer(key, self, linear, arrays, rate, deterministic)
        return resharded(y, out_sharding)
