"""MLPs whose dropped hidden units are not computed.

They act on x as their hidden units: products with the identity, without an activation,
show what became of them.
"""

import functools

import jax.numpy as jnp
import numpy as np
from flax import nnx

import dropjax as dj
import dropjax.linen as djl
import dropjax.nnx as djn
from tests.methods._row import Method


def _same(x):
    return x


def _eye(x):
    return jnp.eye(x.shape[-1], dtype=jnp.asarray(x).dtype)


def _structured_dropout_mlp(name, shape, *, coins=None, slow=False, **options):
    made = {**options, "activation": _same, "use_bias": False}

    def function(key, x, rate, deterministic=False):
        off = {"deterministic": deterministic, "activation": _same}
        return dj.structured_dropout_mlp(
            key, x, _eye(x), _eye(x), rate, **options, **off
        )

    def linen(key, x, rate, deterministic=False):
        layer = djl.StructuredDropoutMLP(x.shape[-1], x.shape[-1], rate, **made)
        kernel = {"kernel": _eye(x)}
        variables = {"params": {"linear_in": kernel, "linear_out": kernel}}
        return layer.apply(variables, x, deterministic=deterministic, rng=key)

    def call_nnx(key, x, rate, deterministic=False):
        sizes = (x.shape[-1],) * 3
        rngs = nnx.Rngs(0)
        layer = djn.StructuredDropoutMLP(*sizes, rate, **made, rngs=rngs)
        layer.linear_in.kernel = layer.linear_out.kernel = nnx.Param(_eye(x))
        return layer(x, deterministic=deterministic, rngs=key)

    def definition(mask, x, rate):
        dtype = np.float64 if x.real.dtype == np.float64 else np.float32
        share = mask[0].mean(dtype=dtype)
        return jnp.where(mask, x * np.asarray(1 / share, x.dtype), 0)

    return Method(
        name,
        shape,
        coins or (1, *shape[1:]),
        function,
        functools.partial(dj.structured_dropout_mlp_mask, **options),
        linen,
        call_nnx,
        (
            dj.structured_dropout_mlp,
            dj.structured_dropout_mlp_mask,
            djl.StructuredDropoutMLP,
            djn.StructuredDropoutMLP,
        ),
        options,
        explicit=definition,
        # The number kept is fixed, so that coins are not independent.
        fair=False,
        several=False,
        static=True,
        counts=True,
        talks=() if options.get("groups", 1) > 1 else (1,),
        product=True,
        # The number of groups must be known.
        weights="mask_per" in options,
        folds="mask_per" in options,
        slow=slow,
    )


ROWS = [
    _structured_dropout_mlp("structured_dropout_mlp", (40, 60)),
    _structured_dropout_mlp(
        "structured_dropout_mlp-groups", (10, 48), groups=2, slow=True
    ),
    _structured_dropout_mlp(
        "structured_dropout_mlp-examples", (12, 20), coins=(12, 20), mask_per=2
    ),
]
