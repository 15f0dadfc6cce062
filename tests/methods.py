"""The table: every method in every form, with the coins that it claims to toss.

`function(key, x, rate, deterministic=...)` drops on x, `mask(key, shape, rate, ...)`
is its mask, and `linen` and `nnx` are the same through the layers, called with a key.
Methods that act on weights act on x as their weights: a product with the identity
shows what became of them.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from flax import nnx

import dropjax as dj
import dropjax.linen as djl
import dropjax.nnx as djn


@dataclass(frozen=True)
class Method:
    name: str
    shape: tuple[int, ...]
    coins: tuple[int, ...]
    function: Callable[..., Any]
    mask: Callable[..., Any]
    linen: Callable[..., Any]
    nnx: Callable[..., Any]
    public: tuple[Any, ...] = ()
    options: dict[str, Any] = field(default_factory=dict)
    product: bool = False

    @property
    def scaled(self) -> bool:
        return self.options.get("scaling", "inverted") == "inverted"


def _activation(name, function, mask, linen, nnx_layer, shape, coins, **options):
    mask_options = {k: v for k, v in options.items() if k != "scaling"}

    def call_linen(key, x, rate, deterministic=False):
        layer = linen(rate, **options)
        return layer.apply({}, x, deterministic=deterministic, rng=key)

    def call_nnx(key, x, rate, deterministic=False):
        return nnx_layer(rate, **options)(x, deterministic=deterministic, rngs=key)

    return Method(
        name,
        shape,
        coins,
        functools.partial(function, **options),
        lambda key, shape, rate, **flag: mask(key, shape, rate, **mask_options, **flag),
        call_linen,
        call_nnx,
        (function, mask, linen, nnx_layer),
        options,
    )


dropout = functools.partial(
    _activation,
    function=dj.dropout,
    mask=dj.dropout_mask,
    linen=djl.Dropout,
    nnx_layer=djn.Dropout,
)


def spatial(name, dimensions, shape, coins, **options):
    return _activation(
        name,
        dj.spatial_dropout,
        dj.spatial_dropout_mask,
        getattr(djl, f"SpatialDropout{dimensions}D"),
        getattr(djn, f"SpatialDropout{dimensions}D"),
        shape,
        coins,
        **options,
    )


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


def _tree(name, shape, **options):
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
        return masks["kernel"]

    def linen(key, x, rate, deterministic=False):
        layer = djl.DropConnect(_LinenWeights(x), rate, **options)
        variables = {"params": {"kernel": x}}
        return layer.apply(variables, deterministic=deterministic, rng=key)

    def call_nnx(key, x, rate, deterministic=False):
        layer = djn.DropConnect(_Weights(x), rate, **options)
        return layer(deterministic=deterministic, rngs=key)

    public = (dj.dropconnect, dj.dropconnect_mask, djl.DropConnect, djn.DropConnect)
    return Method(name, shape, shape, function, mask, linen, call_nnx, public, options)


def _identity(x):
    return jnp.eye(x.shape[-2], dtype=x.dtype)


def _leaf_mask(key, shape, rate, deterministic=False):
    tree = {"kernel": jnp.zeros(shape)}
    masks = dj.dropconnect_mask(key, tree, rate, deterministic=deterministic)
    return masks["kernel"]


def _dense(name, **options):
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
        _leaf_mask,
        linen,
        call_nnx,
        public,
        options,
        product=True,
    )


def _conv(name, window, **options):
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
        _leaf_mask,
        linen,
        call_nnx,
        public,
        options,
        product=True,
    )


METHODS = [
    dropout(name="dropout", shape=(6, 12, 32), coins=(6, 12, 32)),
    dropout(
        name="dropout-standard",
        shape=(60, 40),
        coins=(60, 40),
        scaling="standard",
    ),
    dropout(
        name="dropout-broadcast_dims",
        shape=(40, 7, 40),
        coins=(40, 1, 40),
        broadcast_dims=(-2,),
    ),
    dropout(
        name="dropout-noise_shape",
        shape=(40, 7, 40),
        coins=(40, 1, 40),
        noise_shape=(40, 1, None),
    ),
    spatial("spatial-1d", 1, (30, 5, 50), (30, 1, 50)),
    spatial("spatial-2d", 2, (30, 3, 4, 50), (30, 1, 1, 50)),
    spatial("spatial-3d", 3, (30, 2, 3, 2, 50), (30, 1, 1, 1, 50)),
    spatial(
        "spatial-2d-channels-first",
        2,
        (30, 50, 3, 4),
        (30, 50, 1, 1),
        channel_axis=1,
    ),
    spatial("spatial-2d-unbatched", 2, (3, 4, 900), (1, 1, 900), batch_axis=None),
    spatial("spatial-1d-standard", 1, (30, 5, 50), (30, 1, 50), scaling="standard"),
    _tree("dropconnect", (30, 40)),
    _tree("dropconnect-standard", (30, 40), scaling="standard"),
    _dense("dropconnect_dense"),
    _dense("dropconnect_dense-standard", scaling="standard"),
    _conv("dropconnect_conv-1d", (1,)),
    _conv("dropconnect_conv-2d", (1, 1)),
    _conv("dropconnect_conv-3d", (1, 1, 1)),
]


def array(shape: tuple[int, ...], dtype: Any = np.float32, seed: int = 0) -> Any:
    """Numbers that differ from 0, so that a zero in the output was dropped."""
    generator = np.random.default_rng(seed)
    values = generator.uniform(0.5, 2.0, shape) * generator.choice([-1, 1], shape)
    if np.issubdtype(np.dtype(dtype), np.complexfloating):
        values = values + 1j * generator.uniform(0.5, 2.0, shape)
    return jnp.asarray(values).astype(dtype)
