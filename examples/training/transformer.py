"""A small vision transformer in Flax NNX, with a choice of four methods."""

import jax
import jax.numpy as jnp
from flax import nnx

from dropjax import nnx as djn
from dropjax.schedules import linear_over_depth

METHODS = ("none", "dropout", "attention", "patches", "drop_path", "all")
HEADS = 4
_PATCHES_PER_SIDE = 4


class Attention(nnx.Module):
    """Self-attention with dropout of the weights after the softmax."""

    def __init__(self, width: int, rate: float, rngs: nnx.Rngs) -> None:
        """Create the layers."""
        shape = (HEADS, width // HEADS)
        self.inputs = nnx.LinearGeneral(width, (3, *shape), rngs=rngs)
        self.drop = djn.AttentionDropout(rate)
        self.outputs = nnx.LinearGeneral(shape, width, axis=(-2, -1), rngs=rngs)

    def __call__(
        self, x: jax.Array, *, deterministic: bool, rngs: nnx.Rngs
    ) -> jax.Array:
        """Return the outputs for all tokens."""
        query, key, value = jnp.moveaxis(self.inputs(x), -3, 0)
        scale = query.shape[-1] ** -0.5
        scores = jnp.einsum("bqhd,bkhd->bhqk", query * scale, key)
        weights = jax.nn.softmax(scores)
        weights = self.drop(weights, deterministic=deterministic, rngs=rngs)
        return self.outputs(jnp.einsum("bhqk,bkhd->bqhd", weights, value))


class Block(nnx.Module):
    """Residual branches of attention and two dense layers, each after a norm."""

    def __init__(
        self, width: int, rates: dict[str, float], path_rate: float, rngs: nnx.Rngs
    ) -> None:
        """Create the layers."""
        self.norms = nnx.List([nnx.LayerNorm(width, rngs=rngs) for _ in range(2)])
        self.attention = Attention(width, rates["attention"], rngs)
        self.wide = nnx.Linear(width, 2 * width, rngs=rngs)
        self.narrow = nnx.Linear(2 * width, width, rngs=rngs)
        self.drop = djn.Dropout(rates["dropout"])
        self.drop_path = djn.DropPath(path_rate)

    def __call__(
        self, x: jax.Array, *, deterministic: bool, rngs: nnx.Rngs
    ) -> jax.Array:
        """Return the updated tokens."""
        noise = {"deterministic": deterministic, "rngs": rngs}
        y = self.attention(self.norms[0](x), **noise)
        x = x + self.drop_path(y, **noise)
        y = self.drop(jax.nn.gelu(self.wide(self.norms[1](x))), **noise)
        return x + self.drop_path(self.narrow(y), **noise)


class Transformer(nnx.Module):
    """A vision transformer that classifies by a class token before the patches."""

    def __init__(
        self,
        method: str,
        rate: float,
        hidden: tuple[int, ...],
        shape: tuple[int, ...],
        classes: int,
        rngs: nnx.Rngs,
    ) -> None:
        """Create the layers for images of this shape and a block per hidden width."""
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
    """Split images into squares: (batch, squares, values per square)."""
    end = _PATCHES_PER_SIDE * side
    parts = (_PATCHES_PER_SIDE, side)
    squares = x[:, :end, :end].reshape(len(x), *parts, *parts, x.shape[-1])
    return squares.swapaxes(2, 3).reshape(len(x), _PATCHES_PER_SIDE**2, -1)
