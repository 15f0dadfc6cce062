"""A residual network for images in Flax Linen, with a choice of three methods.

Drop path drops whole branches, deeper ones more often; drop block and spatial dropout
drop squares and whole feature maps within a branch.
"""

import jax
from flax import linen as nn

from dropjax import linen as djl
from dropjax.schedules import linear_over_depth

METHODS = ("none", "spatial", "drop_block", "drop_path")
_BLOCKS_PER_STAGE = 2
_SIDE = 5


class Block(nn.Module):
    """A residual block of two convolutions, each after a norm and ReLU."""

    method: str
    rate: float
    path_rate: float
    channels: int
    stride: int

    @nn.compact
    def __call__(self, x: jax.Array, deterministic: bool) -> jax.Array:
        """Return the features of a batch of images."""
        strides = (self.stride, self.stride)
        y = nn.relu(_norm()(x))
        if x.shape[-1] != self.channels:
            x = nn.Conv(self.channels, (1, 1), strides, name="shortcut")(y)
        y = nn.Conv(self.channels, (3, 3), strides)(y)
        maps = self.rate if self.method == "spatial" else 0.0
        blocks = self.rate if self.method == "drop_block" else 0.0
        y = djl.SpatialDropout2D(maps)(y, deterministic)
        y = djl.DropBlock2D(blocks, block_size=_SIDE)(y, deterministic)
        y = nn.Conv(self.channels, (3, 3))(nn.relu(_norm()(y)))
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
        rate = self.rate if self.method == "drop_path" else 0.0
        depth = len(self.channels) * _BLOCKS_PER_STAGE
        rates = iter(linear_over_depth(rate, depth).tolist())
        x = nn.Conv(self.channels[0], (3, 3), (2, 2))(x)
        for stage, width in enumerate(self.channels):
            for index in range(_BLOCKS_PER_STAGE):
                stride = 2 if stage and not index else 1
                name = f"stage_{stage}_block_{index}"
                noise = (self.method, self.rate, next(rates))
                x = Block(*noise, width, stride, name=name)(x, deterministic)
        x = nn.relu(_norm()(x)).mean((1, 2))
        return nn.Dense(self.classes, name="logits")(x)


def _norm() -> nn.GroupNorm:
    # No batch statistics: the model's only state is its parameters.
    return nn.GroupNorm(num_groups=1)
