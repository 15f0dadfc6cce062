"""Dropout, spatial dropout, and dropout several times over."""

import functools

import jax.numpy as jnp

import dropjax as dj
import dropjax.linen as djl
import dropjax.nnx as djn
from tests.methods._row import activation

dropout = functools.partial(
    activation,
    function=dj.dropout,
    mask=dj.dropout_mask,
    linen=djl.Dropout,
    nnx=djn.Dropout,
)


SLOW = {"slow": True}


def spatial(name, dimensions, shape, coins, claims=None, **options):
    return activation(
        name,
        dj.spatial_dropout,
        dj.spatial_dropout_mask,
        getattr(djl, f"SpatialDropout{dimensions}D"),
        getattr(djn, f"SpatialDropout{dimensions}D"),
        shape,
        coins,
        claims,
        **options,
    )


ROWS = [
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
        noise_shape=(None, 1, None),
        claims=SLOW,
    ),
    spatial("spatial-1d", 1, (30, 5, 50), (30, 1, 50)),
    spatial("spatial-2d", 2, (30, 3, 4, 50), (30, 1, 1, 50)),
    spatial("spatial-3d", 3, (30, 2, 3, 2, 50), (30, 1, 1, 1, 50), claims=SLOW),
    spatial(
        "spatial-2d-channels-first",
        2,
        (30, 50, 3, 4),
        (30, 50, 1, 1),
        channel_axis=1,
    ),
    spatial(
        "spatial-2d-unbatched",
        2,
        (3, 4, 900),
        (1, 1, 900),
        claims=SLOW,
        batch_axis=None,
    ),
    spatial(
        "spatial-1d-standard",
        1,
        (30, 5, 50),
        (30, 1, 50),
        claims=SLOW,
        scaling="standard",
    ),
    activation(
        "multi_sample_dropout",
        dj.multi_sample_dropout,
        dj.multi_sample_dropout_mask,
        djl.MultiSampleDropout,
        djn.MultiSampleDropout,
        (16, 24),
        (3, 16, 24),
        {
            "whole": lambda x: jnp.broadcast_to(x, (3, *x.shape)),
            "off": lambda x, rate: x[None],
            "output": (3, 16, 24),
        },
        samples=3,
    ),
]
