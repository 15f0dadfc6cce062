"""Units of a net: attention weights, heads, channels, states, residual branches."""

import functools

import jax.numpy as jnp
import numpy as np

import dropjax as dj
import dropjax.linen as djl
import dropjax.nnx as djn
from tests.methods._row import Method, activation

OLD = 0.25


def _by_share(mask, x, rate):
    share = mask[:, :1, :, :1].mean(2, keepdims=True, dtype=x.real.dtype)
    share = jnp.broadcast_to(share, x.shape)
    gain = jnp.where(share == 0, 0, 1 / share).astype(x.dtype)
    return jnp.where(mask, x * gain, 0)


def _maximum(group):
    def explicit(mask, x, rate):
        highest = x.real.max(group, keepdims=True)
        return jnp.where(~mask & ((x.real == highest) | jnp.isnan(x.real)), 0, x)

    return explicit


def _zoneout():
    def old(x):
        return jnp.full_like(x, OLD)

    def function(key, x, rate, deterministic=False):
        return dj.zoneout(key, x, old(x), rate, deterministic=deterministic)

    return Method(
        "zoneout",
        (40, 30),
        (40, 30),
        function,
        dj.zoneout_mask,
        function,
        function,
        (dj.zoneout, dj.zoneout_mask),
        explicit=lambda mask, x, rate: jnp.where(mask, x, old(x)),
        off=lambda x, rate: x * np.float32(1 - rate) + old(x) * np.float32(rate),
        certain=False,
    )


attention = functools.partial(
    activation,
    function=dj.attention_dropout,
    mask=dj.attention_dropout_mask,
    linen=djl.AttentionDropout,
    nnx=djn.AttentionDropout,
)
maximum = functools.partial(
    activation,
    function=dj.max_dropout,
    mask=dj.max_dropout_mask,
    linen=djl.MaxDropout,
    nnx=djn.MaxDropout,
    shape=(30, 3, 4, 40),
)

ROWS = [
    attention(
        name="attention_dropout-broadcast_dropout",
        shape=(2, 3, 30, 40),
        coins=(1, 1, 30, 40),
        broadcast_dropout=True,
    ),
    activation(
        "drop_head",
        dj.drop_head,
        dj.drop_head_mask,
        djl.DropHead,
        djn.DropHead,
        (40, 2, 30, 3),
        (40, 1, 30, 1),
        {"explicit": _by_share, "talks": (2,)},
    ),
    maximum(
        name="max_dropout",
        coins=(30, 1, 1, 40),
        claims={
            "explicit": _maximum((1, 2)),
            "certain": False,
            "talks": (1, 2),
            "saved": 30 * 3 * 4 * 40 + 8,
        },
    ),
    activation(
        "shake_drop",
        dj.shake_drop,
        None,
        djl.ShakeDrop,
        djn.ShakeDrop,
        (24, 4, 5),
        None,
        {"off": lambda x, rate: x * np.float32(1 - rate), "certain": False},
    ),
    _zoneout(),
]
