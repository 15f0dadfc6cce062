"""A small vision transformer in Flax NNX, with a choice of five methods."""

import jax
import jax.numpy as jnp
from flax import nnx

from dropjax import nnx as djn
from dropjax.schedules import linear_over_depth

_ALL = ("dropout", "attention", "patches", "drop_path")
METHODS = ("none", *_ALL, "all", "subset")
HEADS = 4
_PATCHES_PER_SIDE = 4


class Attention(nnx.Module):
    """A norm and self-attention with dropout of the weights after the softmax."""

    def __init__(self, width: int, rate: float, rngs: nnx.Rngs) -> None:
        """Create the layers."""
        shape = (HEADS, width // HEADS)
        self.norm = nnx.LayerNorm(width, rngs=rngs)
        self.inputs = nnx.LinearGeneral(width, (3, *shape), rngs=rngs)
        self.drop = djn.AttentionDropout(rate)
        self.outputs = nnx.LinearGeneral(shape, width, axis=(-2, -1), rngs=rngs)

    def __call__(
        self, x: jax.Array, *, deterministic: bool, streams: nnx.Rngs
    ) -> jax.Array:
        """Return the outputs for all tokens."""
        query, key, value = jnp.moveaxis(self.inputs(self.norm(x)), -3, 0)
        scale = query.shape[-1] ** -0.5
        scores = jnp.einsum("bqhd,bkhd->bhqk", query * scale, key)
        weights = jax.nn.softmax(scores)
        weights = self.drop(weights, deterministic=deterministic, rngs=streams)
        return self.outputs(jnp.einsum("bhqk,bkhd->bqhd", weights, value))


class MLP(nnx.Module):
    """A norm and two dense layers, with dropout between them."""

    def __init__(self, width: int, rate: float, rngs: nnx.Rngs) -> None:
        """Create the layers."""
        self.norm = nnx.LayerNorm(width, rngs=rngs)
        self.wide = nnx.Linear(width, 2 * width, rngs=rngs)
        self.narrow = nnx.Linear(2 * width, width, rngs=rngs)
        self.drop = djn.Dropout(rate)

    def __call__(
        self, x: jax.Array, *, deterministic: bool, streams: nnx.Rngs
    ) -> jax.Array:
        """Return the outputs for all tokens."""
        y = jax.nn.gelu(self.wide(self.norm(x)))
        return self.narrow(self.drop(y, deterministic=deterministic, rngs=streams))


class Block(nnx.Module):
    """Residual branches of attention and an MLP.

    Either may be computed for a subset of the examples, or dropped after it is computed
    for all of them.
    """

    def __init__(
        self,
        width: int,
        rates: dict[str, float],
        path_rate: float,
        subset_rate: float,
        rngs: nnx.Rngs,
    ) -> None:
        """Create the layers."""
        attention = Attention(width, rates["attention"], rngs)
        mlp = MLP(width, rates["dropout"], rngs)
        self.attention = djn.SubsetBranch(attention, subset_rate)
        self.mlp = djn.SubsetBranch(mlp, subset_rate)
        self.drop_path = djn.DropPath(path_rate)

    def __call__(
        self, x: jax.Array, *, deterministic: bool, rngs: nnx.Rngs
    ) -> jax.Array:
        """Return the updated tokens."""
        noise = {"deterministic": deterministic, "rngs": rngs}
        # `SubsetBranch` uses `rngs` itself: the branch gets them by another name.
        x = x + self.drop_path(self.attention(x, streams=rngs, **noise), **noise)
        return x + self.drop_path(self.mlp(x, streams=rngs, **noise), **noise)


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
        drops = _ALL if method == "all" else (method,)
        rates = {name: rate if name in drops else 0.0 for name in METHODS}
        self.side = shape[0] // _PATCHES_PER_SIDE
        self.embed = nnx.Linear(self.side**2 * shape[-1], width, rngs=rngs)
        start = nnx.initializers.normal(0.02)
        tokens = _PATCHES_PER_SIDE**2 + 1
        self.positions = nnx.Param(start(rngs.params(), (tokens, width)))
        self.first = nnx.Param(start(rngs.params(), (1, 1, width)))
        self.drop_patches = djn.PatchDropout(rates["patches"], prefix_tokens=1)
        paths, subsets = (
            linear_over_depth(rates[it], depth, convention="timm").tolist()
            for it in ("drop_path", "subset")
        )
        self.blocks = nnx.List(
            [
                Block(width, rates, path, subset, rngs)
                for path, subset in zip(paths, subsets, strict=True)
            ]
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
