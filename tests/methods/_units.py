"""Paths, sequences, SELU's activations, noise, blocks and boxes."""

import functools

import jax.numpy as jnp
import numpy as np

import dropjax as dj
import dropjax.linen as djl
import dropjax.nnx as djn
from tests.methods._row import activation

SATURATED = -1.7580993408473766


def alpha(mask, x, rate):
    keep = (np.float64 if x.real.dtype == np.float64 else np.float32)(1 - rate)
    gain = (keep * (1 + (1 - keep) * SATURATED**2)) ** -0.5
    filled = jnp.where(mask, x, jnp.asarray(SATURATED, x.dtype))
    shift = jnp.asarray(-gain * (1 - keep) * SATURATED, x.dtype)
    if jnp.iscomplexobj(x):
        return filled * gain.astype(x.dtype) + shift
    return filled * jnp.asarray(gain, x.dtype) + shift


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
    activation(
        "variational_dropout",
        dj.variational_dropout,
        dj.variational_dropout_mask,
        djl.VariationalDropout,
        djn.VariationalDropout,
        (30, 4, 40),
        (30, 1, 40),
    ),
    activation(
        "embedding_dropout",
        dj.embedding_dropout,
        dj.embedding_dropout_mask,
        djl.EmbeddingDropout,
        djn.EmbeddingDropout,
        (1000, 3),
        (1000, 1),
    ),
    activation(
        "alpha_dropout",
        dj.alpha_dropout,
        dj.alpha_dropout_mask,
        djl.AlphaDropout,
        djn.AlphaDropout,
        (30, 40),
        (30, 40),
        {"explicit": alpha, "ulps": 4},
    ),
    activation(
        "feature_alpha_dropout",
        dj.feature_alpha_dropout,
        dj.feature_alpha_dropout_mask,
        djl.FeatureAlphaDropout,
        djn.FeatureAlphaDropout,
        (30, 2, 2, 40),
        (30, 1, 1, 40),
        {"explicit": alpha, "ulps": 4},
    ),
    # The definition of what has no mask is the function itself.
    activation(
        "gaussian_dropout",
        dj.gaussian_dropout,
        None,
        djl.GaussianDropout,
        djn.GaussianDropout,
        (30, 40),
        None,
        {"explicit": lambda mask, x, rate: x, "certain": False, "ulps": 4},
    ),
    activation(
        "gaussian_noise",
        dj.gaussian_noise,
        None,
        djl.GaussianNoise,
        djn.GaussianNoise,
        (30, 40),
        None,
        {
            "explicit": lambda mask, x, rate: x,
            "certain": False,
            "deviation": True,
            "ulps": 4,
        },
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
