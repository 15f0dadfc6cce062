"""Feature maps and images."""

import functools

import jax.numpy as jnp
import numpy as np

import dropjax as dj
import dropjax.linen as djl
import dropjax.nnx as djn
from tests.methods._row import activation, array

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


def by_share(mask, x, rate, *, per):
    """What drop block's definition makes of x: scaled by the share kept."""
    axes = tuple(axis for axis in range(x.ndim) if axis not in per)
    share = np.asarray(mask).mean(axes, keepdims=True)
    gain = (1 / share.astype(x.real.dtype)).astype(x.dtype)
    return jnp.where(mask, x * gain, 0)


def block(name, dimensions, shape, coins, batch_axis=0, slow=False, **options):
    per = () if batch_axis is None else (batch_axis,)
    claims = {
        "explicit": functools.partial(by_share, per=per),
        "fair": False,
        "talks": tuple(axis for axis in range(len(shape)) if axis not in per),
        "counts": True,
        "slow": slow,
    }
    return activation(
        name,
        dj.drop_block,
        dj.drop_block_mask,
        getattr(djl, f"DropBlock{dimensions}D"),
        getattr(djn, f"DropBlock{dimensions}D"),
        shape,
        coins,
        claims,
        batch_axis=batch_axis,
        **options,
    )


# A rate of 1 erases a box of each example, not everything.
BOXED = {"kind": np.number, "scales": False, "fair": False, "certain": False}


def _active(shape, dtype):
    """Channels that are active, so that all may be drawn."""
    x = array(shape, dtype)
    return jnp.where(x.real < 0, -x, x)


ROWS = [
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
    block("drop_block-2d", 2, (12, 9, 8, 6), (12, 9, 8, 6), block_size=3),
    block(
        "drop_block-1d-shared",
        1,
        (12, 24, 6),
        (12, 24, 1),
        block_size=4,
        per_channel=False,
        slow=True,
    ),
    block(
        "drop_block-3d-unbatched",
        3,
        (6, 6, 5, 4),
        (6, 6, 5, 4),
        batch_axis=None,
        channel_axis=0,
        block_size=(2, 3, 9),
        slow=True,
    ),
    activation(
        "drop_block-unscaled",
        dj.drop_block,
        dj.drop_block_mask,
        djl.DropBlock2D,
        djn.DropBlock2D,
        (12, 9, 8, 6),
        (12, 9, 8, 6),
        {
            "kind": np.number,
            "scales": False,
            "fair": False,
            "talks": (1, 2),
            "counts": True,
        },
        block_size=3,
        scale_by_keep=False,
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
        "cutout",
        dj.cutout,
        dj.cutout_mask,
        djl.Cutout,
        djn.Cutout,
        (24, 8, 6, 2),
        (24, 8, 6, 1),
        BOXED,
        size=3,
    ),
    activation(
        "random_erasing",
        dj.random_erasing,
        dj.random_erasing_mask,
        djl.RandomErasing,
        djn.RandomErasing,
        (24, 2, 8, 6),
        (24, 1, 8, 6),
        BOXED,
        channel_axis=1,
    ),
]
