"""A small vision transformer, in Flax NNX, with noise of four kinds by config."""

import jax
import jax.numpy as jnp
from flax import nnx

from dropjax import nnx as djn
from dropjax.schedules import linear_over_depth

METHODS = ("none", "dropout", "attention", "patches", "drop_path", "all")
HEADS = 4
_PATCHES_PER_SIDE = 4


class Attention(nnx.Module):
    """Attention of tokens among themselves, its weights dropped after the softmax."""

    def __init__(self, width: int, rate: float, rngs: nnx.Rngs) -> None:
        """Make the layers."""
        shape = (HEADS, width // HEADS)
        self.inputs = nnx.LinearGeneral(width, (3, *shape), rngs=rngs)
        self.drop = djn.AttentionDropout(rate)
        self.outputs = nnx.LinearGeneral(shape, width, axis=(-2, -1), rngs=rngs)

    def __call__(
        self, x: jax.Array, *, deterministic: bool, rngs: nnx.Rngs
    ) -> jax.Array:
        """Return what the tokens take from each other."""
        query, key, value = jnp.moveaxis(self.inputs(x), -3, 0)
        scale = query.shape[-1] ** -0.5
        scores = jnp.einsum("bqhd,bkhd->bhqk", query * scale, key)
        weights = jax.nn.softmax(scores)
        weights = self.drop(weights, deterministic=deterministic, rngs=rngs)
        return self.outputs(jnp.einsum("bhqk,bkhd->bqhd", weights, value))


class Block(nnx.Module):
    """Attention and two dense layers, each after a norm and beside the identity."""

    def __init__(
        self, width: int, rates: dict[str, float], path_rate: float, rngs: nnx.Rngs
    ) -> None:
        """Make the layers."""
        self.norms = nnx.List([nnx.LayerNorm(width, rngs=rngs) for _ in range(2)])
        self.attention = Attention(width, rates["attention"], rngs)
        self.wide = nnx.Linear(width, 2 * width, rngs=rngs)
        self.narrow = nnx.Linear(2 * width, width, rngs=rngs)
        self.drop = djn.Dropout(rates["dropout"])
        self.drop_path = djn.DropPath(path_rate)

    def __call__(
        self, x: jax.Array, *, deterministic: bool, rngs: nnx.Rngs
    ) -> jax.Array:
        """Return the tokens, changed."""
        noise = {"deterministic": deterministic, "rngs": rngs}
        y = self.attention(self.norms[0](x), **noise)
        x = x + self.drop_path(y, **noise)
        y = self.drop(jax.nn.gelu(self.wide(self.norms[1](x))), **noise)
        return x + self.drop_path(self.narrow(y), **noise)


class Transformer(nnx.Module):
    """Patches as tokens, a class token before them, blocks, and logits from it."""

    def __init__(
        self,
        method: str,
        rate: float,
        hidden: tuple[int, ...],
        shape: tuple[int, ...],
        classes: int,
        rngs: nnx.Rngs,
    ) -> None:
        """Make the layers, for images of this shape; ``hidden`` has a width a block."""
        width, depth = hidden[0], len(hidden)
        rates = {name: rate if method in (name, "all") else 0.0 for name in METHODS}
        self.side = shape[0] // _PATCHES_PER_SIDE
        self.embed = nnx.Linear(self.side**2 * shape[-1], width, rngs=rngs)
        start = nnx.initializers.normal(0.02)
        tokens = _PATCHES_PER_SIDE**2 + 1
        self.positions = nnx.Param(start(rngs.params(), (tokens, width)))
        self.first = nnx.Param(start(rngs.params(), (1, 1, width)))
        self.drop_patches = djn.PatchDropout(rates["patches"], prefix_tokens=1)
        paths = linear_over_depth(rates["drop_path"], depth, convention="timm")
        self.blocks = nnx.List(
            [Block(width, rates, path, rngs) for path in paths.tolist()]
        )
        self.norm = nnx.LayerNorm(width, rngs=rngs)
        self.logits = nnx.Linear(width, classes, rngs=rngs)

    def __call__(
        self, x: jax.Array, *, deterministic: bool, rngs: nnx.Rngs
    ) -> jax.Array:
        """Return the logits of a batch of images."""
        noise = {"deterministic": deterministic, "rngs": rngs}
        tokens = self.embed(_patches(x, self.side))
        first = jnp.broadcast_to(self.first[...], (len(x), 1, tokens.shape[-1]))
        tokens = jnp.concatenate([first, tokens], 1) + self.positions[...][None]
        tokens, _ = self.drop_patches(tokens, **noise)
        for block in self.blocks:
            tokens = block(tokens, **noise)
        return self.logits(self.norm(tokens[:, 0]))


def _patches(x: jax.Array, side: int) -> jax.Array:
    """Cut images into squares: (batch, squares, numbers of a square)."""
    end = _PATCHES_PER_SIDE * side
    parts = (_PATCHES_PER_SIDE, side)
    squares = x[:, :end, :end].reshape(len(x), *parts, *parts, x.shape[-1])
    return squares.swapaxes(2, 3).reshape(len(x), _PATCHES_PER_SIDE**2, -1)
