"""A residual network for images in Flax Linen, with a choice of five methods.

Drop path drops whole branches, deeper ones more often; subset does the same for a fixed
number of examples, and does not compute their branches; shake drop scales them by
random factors instead. Drop block and spatial dropout drop squares and whole feature
maps within a branch.
"""

import jax
from flax import linen as nn

from dropjax import linen as djl
from dropjax.schedules import linear_over_depth

METHODS = ("none", "spatial", "drop_block", "drop_path", "shake_drop", "subset")
_BLOCKS_PER_STAGE = 2
_SIDE = 5


class Branch(nn.Module):
    """Two convolutions, each after a norm and ReLU."""

    rates: dict[str, float]
    channels: int
    strides: tuple[int, int]

    @nn.compact
    def __call__(self, x: jax.Array, deterministic: bool) -> jax.Array:
        """Return what a block adds to its input."""
        maps, squares = self.rates["spatial"], self.rates["drop_block"]
        y = nn.Conv(self.channels, (3, 3), self.strides)(nn.relu(_norm()(x)))
        y = djl.SpatialDropout2D(maps)(y, deterministic)
        y = djl.DropBlock2D(squares, block_size=_SIDE)(y, deterministic)
        return nn.Conv(self.channels, (3, 3))(nn.relu(_norm()(y)))


class Block(nn.Module):
    """A residual block, with a convolution as its shortcut where the width changes."""

    rates: dict[str, float]
    path_rate: float
    shake_rate: float
    subset_rate: float
    channels: int
    stride: int

    @nn.compact
    def __call__(self, x: jax.Array, deterministic: bool) -> jax.Array:
        """Return the features of a batch of images."""
        strides = (self.stride, self.stride)
        # With batch normalization in the branch, its statistics would be those of the
        # subset.
        branch = djl.SubsetBranch(
            Branch(self.rates, self.channels, strides, parent=None),
            self.subset_rate,
            name="branch",
        )
        y = branch(x, deterministic=deterministic)
        if x.shape[-1] != self.channels:
            x = nn.Conv(self.channels, (1, 1), strides, name="shortcut")(x)
        y = djl.ShakeDrop(self.shake_rate)(y, deterministic)
        return x + djl.DropPath(self.path_rate)(y, deterministic)


class Residual(nn.Module):
    """Stages of blocks, each halving width and height."""

    method: str
    rate: float
    channels: tuple[int, ...]
    classes: int

    @nn.compact
    def __call__(self, x: jax.Array, deterministic: bool) -> jax.Array:
        """Return the logits of a batch of images."""
        rates = {name: self.rate if name == self.method else 0.0 for name in METHODS}
        depth = len(self.channels) * _BLOCKS_PER_STAGE
        growing = zip(
            *(
                linear_over_depth(rates[it], depth).tolist()
                for it in ("drop_path", "shake_drop", "subset")
            ),
            strict=True,
        )
        x = nn.Conv(self.channels[0], (3, 3), (2, 2))(x)
        for stage, width in enumerate(self.channels):
            for index in range(_BLOCKS_PER_STAGE):
                stride = 2 if stage and not index else 1
                name = f"stage_{stage}_block_{index}"
                block = Block(rates, *next(growing), width, stride, name=name)
                x = block(x, deterministic)
        x = nn.relu(_norm()(x)).mean((1, 2))
        return nn.Dense(self.classes, name="logits")(x)


def _norm() -> nn.GroupNorm:
    # No batch statistics: the model's only state is its parameters.
    return nn.GroupNorm(num_groups=1)
