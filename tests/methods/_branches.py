"""Residual branches and whole layers."""

import flax.linen as nn
import numpy as np
from flax import nnx

import dropjax as dj
import dropjax.linen as djl
import dropjax.nnx as djn
from tests.methods._row import Method, activation, ratios, twice


class _LinenTwice(nn.Module):
    def __call__(self, x):
        return twice(x)


class _Twice(nnx.Module):
    def __call__(self, x):
        return twice(x)


def _layer_drop():
    def function(key, x, rate, deterministic=False):
        return dj.layer_drop(key, x, twice, rate, deterministic=deterministic)

    def linen(key, x, rate, deterministic=False):
        layer = djl.LayerDrop(_LinenTwice(), rate)
        return layer.apply({}, x, deterministic=deterministic, rng=key)

    def call_nnx(key, x, rate, deterministic=False):
        layer = djn.LayerDrop(_Twice(), rate)
        return layer(x, deterministic=deterministic, rngs=key)

    def mask(key, shape, rate, **flag):
        return dj.keep_mask(key, (), rate, **flag)

    return Method(
        "layer_drop",
        (12, 16),
        (),
        function,
        mask,
        linen,
        call_nnx,
        (dj.layer_drop, djl.LayerDrop, djn.LayerDrop),
        whole=twice,
        hole=lambda x: x,
        scales=False,
        off=lambda x, rate: twice(x),
        several=False,
        heals=False,
    )


ROWS = [
    activation(
        "drop_path",
        dj.drop_path,
        dj.drop_path_mask,
        djl.DropPath,
        djn.DropPath,
        (900, 2, 3),
        (900, 1, 1),
    ),
    *(
        activation(
            f"drop_path-{scaling}",
            dj.drop_path,
            dj.drop_path_mask,
            djl.DropPath,
            djn.DropPath,
            (300, 2, 3),
            (300, 1, 1),
            scaling=scaling,
        )
        for scaling in ("standard", "none")
    ),
    _layer_drop(),
    activation(
        "shake_drop",
        dj.shake_drop,
        None,
        djl.ShakeDrop,
        djn.ShakeDrop,
        (24, 4, 5),
        None,
        {
            "off": lambda x, rate: x * np.float32(1 - rate),
            "certain": False,
            "tells": ratios(64),
        },
    ),
]
