"""DropConnect, on trees, in dense layers and in convolutions.

Methods that act on weights act on x as their weights: a product with the identity
shows what became of them.
"""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from flax import nnx

import dropjax as dj
import dropjax.linen as djl
import dropjax.nnx as djn
from tests.methods._row import Method, array


class _Weights(nnx.Module):
    """A module whose output is its weights."""

    def __init__(self, kernel):
        self.kernel = nnx.Param(kernel)

    def __call__(self):
        return self.kernel[...]


class _LinenWeights(nn.Module):
    kernel: Any

    @nn.compact
    def __call__(self):
        return self.param("kernel", lambda key: self.kernel)


def _tree(name, shape, *, coins=None, block=(), slow=False, **options):
    mask_options = {k: v for k, v in options.items() if k != "scaling"}

    def function(key, x, rate, deterministic=False):
        tree = {"kernel": x, "bias": jnp.ones(3)}
        masked = dj.dropconnect(key, tree, rate, deterministic=deterministic, **options)
        return masked["kernel"]

    def mask(key, shape, rate, deterministic=False):
        tree = {"kernel": jnp.zeros(shape)}
        masks = dj.dropconnect_mask(
            key, tree, rate, deterministic=deterministic, **mask_options
        )
        corners = tuple(slice(None, None, side) for side in block)
        return masks["kernel"][corners]

    def linen(key, x, rate, deterministic=False):
        layer = djl.DropConnect(_LinenWeights(x), rate, **options)
        variables = {"params": {"kernel": x}}
        return layer.apply(variables, deterministic=deterministic, rng=key)

    def call_nnx(key, x, rate, deterministic=False):
        layer = djn.DropConnect(_Weights(x), rate, **options)
        return layer(deterministic=deterministic, rngs=key)

    public = (dj.dropconnect, dj.dropconnect_mask, djl.DropConnect, djn.DropConnect)
    return Method(
        name,
        shape,
        coins or shape,
        function,
        mask,
        linen,
        call_nnx,
        public,
        options,
        block=block,
        off=_off(options),
        folds=True,
        weights=True,
        slow=slow,
    )


def _off(options):
    if options.get("scaling") == "standard":
        return lambda x, rate: x * np.float32(1 - rate)
    return None


def _identity(x):
    return jnp.eye(x.shape[-2], dtype=x.dtype)


def _leaf_mask(key, shape, rate, deterministic=False):
    tree = {"kernel": jnp.zeros(shape)}
    masks = dj.dropconnect_mask(key, tree, rate, deterministic=deterministic)
    return masks["kernel"]


def _realized(mask, x, rate):
    """Masks of examples' own meet a rate, and scale by it, to 16 bits."""
    dtype = np.float64 if x.real.dtype == np.float64 else np.float32
    keep = 1 - np.round(rate * 2**16) / 2**16
    return jnp.where(mask, x * np.asarray(dtype(1) / dtype(keep), x.dtype), 0)


def _definition(function, options, slow):
    """The mask and the definition: of masks of examples' own, seen in ones."""
    if "mask_per" not in options:
        return {"mask": _leaf_mask, "slow": slow}

    def mask(key, shape, rate, **flag):
        return function(key, jnp.ones(shape), rate, **flag) != 0

    return {"mask": mask, "explicit": _realized, "slow": slow}


def _dense(name, *, slow=False, **options):
    def function(key, x, rate, deterministic=False):
        options_now = {"deterministic": deterministic, **options}
        return dj.dropconnect_dense(key, _identity(x), x, rate, **options_now)

    def linen(key, x, rate, deterministic=False):
        layer = djl.DropConnectDense(x.shape[-1], rate, use_bias=False, **options)
        variables = {"params": {"kernel": x}}
        return layer.apply(variables, _identity(x), deterministic, key)

    def call_nnx(key, x, rate, deterministic=False):
        layer = djn.DropConnectLinear(
            *x.shape,
            rate,
            use_bias=False,
            param_dtype=x.dtype,
            rngs=nnx.Rngs(0),
            **options,
        )
        layer.kernel[...] = x
        return layer(_identity(x), deterministic=deterministic, rngs=key)

    public = (dj.dropconnect_dense, djl.DropConnectDense, djn.DropConnectLinear)
    shape = (24, 36)
    return Method(
        name,
        shape,
        shape,
        function,
        linen=linen,
        nnx=call_nnx,
        public=public,
        options=options,
        product=True,
        weights=True,
        folds=True,
        others=True,
        off=_off(options),
        **_definition(function, options, slow),
    )


def _contraction(name, function, linen, call_nnx, public, slow=False):
    """Two axes contracted, and two made: the identity shows every weight."""
    shape = (4, 6, 4, 9)

    def shown(face):
        def weights(key, x, rate, deterministic=False):
            size = x.shape[0] * x.shape[1]
            identity = jnp.eye(size, dtype=x.dtype).reshape(size, *x.shape[:2])
            return face(key, identity, x, rate, deterministic).reshape(x.shape)

        return weights

    return Method(
        name,
        shape,
        shape,
        shown(function),
        linen=shown(linen),
        nnx=shown(call_nnx),
        public=public,
        mask=_leaf_mask,
        product=True,
        weights=True,
        folds=True,
        others=True,
        slow=slow,
    )


def _dense_general(name):
    def function(key, x, kernel, rate, off):
        options = {"axis": (-2, -1), "deterministic": off}
        return dj.dropconnect_dense_general(key, x, kernel, rate, **options)

    def linen(key, x, kernel, rate, off):
        layer = djl.DropConnectDenseGeneral((4, 9), rate, (-2, -1), use_bias=False)
        return layer.apply({"params": {"kernel": kernel}}, x, off, key)

    def call_nnx(key, x, kernel, rate, off):
        options = {"axis": (-2, -1), "use_bias": False, "param_dtype": x.dtype}
        layer = djn.DropConnectLinearGeneral(
            (4, 6), (4, 9), rate, **options, rngs=nnx.Rngs(0)
        )
        layer.kernel[...] = kernel
        return layer(x, deterministic=off, rngs=key)

    public = (dj.dropconnect_dense_general, djl.DropConnectDenseGeneral)
    public += (djn.DropConnectLinearGeneral,)
    return _contraction(name, function, linen, call_nnx, public)


def _einsum(name):
    equation = "...in,inhd->...hd"

    def function(key, x, kernel, rate, off):
        options = {"einsum_str": equation, "deterministic": off}
        return dj.dropconnect_einsum(key, x, kernel, rate, **options)

    def linen(key, x, kernel, rate, off):
        layer = djl.DropConnectEinsum(kernel.shape, rate, equation, use_bias=False)
        return layer.apply({"params": {"kernel": kernel}}, x, off, key)

    def call_nnx(key, x, kernel, rate, off):
        options = {"param_dtype": x.dtype, "rngs": nnx.Rngs(0)}
        layer = djn.DropConnectEinsum(equation, kernel.shape, rate, **options)
        layer.kernel[...] = kernel
        return layer(x, deterministic=off, rngs=key)

    public = (dj.dropconnect_einsum, djl.DropConnectEinsum, djn.DropConnectEinsum)
    return _contraction(name, function, linen, call_nnx, public, slow=True)


def _conv(name, window, *, slow=False, **options):
    """Windows of size 1 over the identity: position by position, the kernel."""
    places = (slice(None),) + (0,) * (len(window) - 1)

    def probe(x):
        return _identity(x).reshape((1, -1) + (1,) * (len(window) - 1) + x.shape[-2:-1])

    def shown(y, x):
        return y[0][places].reshape(x.shape)

    def function(key, x, rate, deterministic=False):
        options_now = {"deterministic": deterministic, **options}
        return shown(dj.dropconnect_conv(key, probe(x), x, rate, **options_now), x)

    def linen(key, x, rate, deterministic=False):
        layer = djl.DropConnectConv(
            x.shape[-1], window, rate, use_bias=False, **options
        )
        variables = {"params": {"kernel": x}}
        return shown(layer.apply(variables, probe(x), deterministic, key), x)

    def call_nnx(key, x, rate, deterministic=False):
        layer = djn.DropConnectConv(
            *x.shape[-2:],
            window,
            rate,
            use_bias=False,
            param_dtype=x.dtype,
            rngs=nnx.Rngs(0),
            **options,
        )
        layer.kernel[...] = x
        return shown(layer(probe(x), deterministic=deterministic, rngs=key), x)

    public = (dj.dropconnect_conv, djl.DropConnectConv, djn.DropConnectConv)
    shape = (*window, 24, 36)
    return Method(
        name,
        shape,
        shape,
        function,
        linen=linen,
        nnx=call_nnx,
        public=public,
        options=options,
        product=True,
        weights=True,
        folds=True,
        others=True,
        off=_off(options),
        **_definition(function, options, slow),
    )


def _tree_mask(key, shape, rate, **flag):
    return dj.dropconnect_mask(key, jnp.zeros(shape), rate, **flag)


def _pretrained(x):
    return array(np.shape(x), jnp.result_type(x), seed=1)


def _mixout(key, x, rate, **flag):
    return dj.mixout(key, x, _pretrained(x), rate, **flag)


def _mixed(mask, x, rate):
    old, keep = _pretrained(x), np.asarray(1 - rate, x.real.dtype)
    return jnp.where(mask, old + (1 / keep).astype(x.dtype) * (x - old), old)


def _targeted(mask, x, rate):
    """Of each unit's weights the smaller half is dropped, where the coins say so."""
    sizes, half = jnp.abs(x), x.shape[0] // 2
    smaller = sizes < jnp.sort(sizes, 0)[half : half + 1]
    return jnp.where(mask | ~smaller, x, 0)


ROWS = [
    _tree("dropconnect", (30, 40)),
    _tree("dropconnect-standard", (30, 40), scaling="standard", slow=True),
    # The last block of the second axis is cut off.
    _tree(
        "dropconnect-blocks", (96, 45), coins=(12, 23), block=(8, 2), block_size=(8, 2)
    ),
    _dense("dropconnect_dense"),
    _dense("dropconnect_dense-standard", scaling="standard", slow=True),
    _dense("dropconnect_dense-example", mask_per="example", slow=True),
    _dense_general("dropconnect_dense_general"),
    _einsum("dropconnect_einsum"),
    _conv("dropconnect_conv-1d", (1,), slow=True),
    _conv("dropconnect_conv-2d", (1, 1)),
    _conv("dropconnect_conv-3d", (1, 1, 1), slow=True),
    _conv("dropconnect_conv-example", (1, 1), mask_per="example", slow=True),
    Method(
        "mixout",
        (16, 24),
        (16, 24),
        _mixout,
        _tree_mask,
        public=(dj.mixout,),
        explicit=_mixed,
        hole=_pretrained,
        others=True,
        once=False,  # The pretrained weights are, before they meet x.
        weights=True,
        ulps=4,
    ),
    Method(
        "targeted_dropout",
        (16, 24),
        (16, 24),
        dj.targeted_dropout,
        _tree_mask,
        public=(dj.targeted_dropout,),
        explicit=_targeted,
        certain=False,
        heals=False,
        weights=True,
        talks=(0,),
        saved=16 * 24 + 8,
    ),
]
