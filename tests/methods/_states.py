"""Units of a net: attention weights, heads, channels, states, residual branches."""

import functools

import jax.numpy as jnp
import numpy as np

import dropjax as dj
import dropjax.linen as djl
import dropjax.nnx as djn
from tests.methods._row import activation, array


def _active(shape, dtype):
    """Channels that are active, so that all may be drawn."""
    x = array(shape, dtype)
    return jnp.where(x.real < 0, -x, x)


def twice(x):
    """A function that says of every element whether it was left out."""
    return x + x


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
    # Who is kept depends on x, so that there is no mask.
    activation(
        "weighted_channel_dropout",
        dj.weighted_channel_dropout,
        None,
        djl.WeightedChannelDropout,
        djn.WeightedChannelDropout,
        (12, 3, 10),
        None,
        {
            "inputs": _active,
            "talks": (1, 2),
            "saved": 2 * 12 * 10 + 8,
            "ulps": 4,
        },
    ),
    activation(
        "drop_activation",
        dj.drop_activation,
        dj.drop_activation_mask,
        djl.DropActivation,
        djn.DropActivation,
        (40, 30),
        (40, 30),
        {
            "whole": twice,
            "hole": lambda x: x,
            "scales": False,
            "heals": False,
            "off": lambda x, rate: x + x * np.float32(1 - rate),
        },
        activation=twice,
    ),
]
