"""A vision transformer in Flax NNX, with a choice of six methods."""

import jax
import jax.numpy as jnp
from flax import nnx
from ml_collections import ConfigDict

import dropjax as dj
from dropjax import nnx as djn
from dropjax.schedules import linear_over_depth

_ALL = ("dropout", "attention", "patches", "drop_path")
METHODS = ("none", *_ALL, "all", "subset", "structured")


class Attention(nnx.Module):
    """A norm and self-attention with dropout of the weights after the softmax."""

    def __init__(self, width: int, heads: int, rate: float, rngs: nnx.Rngs) -> None:
        """Create the layers."""
        shape = (heads, width // heads)
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
    """A norm and two dense layers, with dropout between them.

    Hidden units may also be left out, the same for all tokens, and not be computed.
    """

    def __init__(
        self,
        width: int,
        hidden: int,
        rate: float,
        structured_rate: float,
        rngs: nnx.Rngs,
    ) -> None:
        """Create the layers."""
        self.norm = nnx.LayerNorm(width, rngs=rngs)
        self.wide = nnx.Linear(width, hidden, rngs=rngs)
        self.narrow = nnx.Linear(hidden, width, rngs=rngs)
        self.drop = djn.Dropout(rate)
        self.structured_rate = structured_rate

    def __call__(
        self, x: jax.Array, *, deterministic: bool, streams: nnx.Rngs
    ) -> jax.Array:
        """Return the outputs for all tokens."""
        x = self.norm(x)
        if self.structured_rate and not deterministic:
            return dj.structured_dropout_mlp(
                streams.dropout(),
                x,
                self.wide.kernel[...],
                self.narrow.kernel[...],
                self.structured_rate,
                bias_in=self.wide.bias[...],
                bias_out=self.narrow.bias[...],
            )
        y = jax.nn.gelu(self.wide(x))
        return self.narrow(self.drop(y, deterministic=deterministic, rngs=streams))


class Block(nnx.Module):
    """Residual branches of attention and an MLP.

    Either may be computed for a subset of the examples, or dropped after it is computed
    for all of them.
    """

    def __init__(
        self,
        config: ConfigDict,
        rates: dict[str, float],
        path_rate: float,
        subset_rate: float,
        rngs: nnx.Rngs,
    ) -> None:
        """Create the layers."""
        width = config.hidden[0]
        attention = Attention(width, config.heads, rates["attention"], rngs)
        units = config.expansion * width
        mlp = MLP(width, units, rates["dropout"], rates["structured"], rngs)
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
        config: ConfigDict,
        shape: tuple[int, ...],
        classes: int,
        rngs: nnx.Rngs,
    ) -> None:
        """Create the layers for images of this shape and a block per hidden width."""
        width, depth = config.hidden[0], len(config.hidden)
        drops = _ALL if config.method == "all" else (config.method,)
        rates = {name: config.rate if name in drops else 0.0 for name in METHODS}
        self.patches = config.patches
        self.side = shape[0] // self.patches
        self.embed = nnx.Linear(self.side**2 * shape[-1], width, rngs=rngs)
        start = nnx.initializers.normal(0.02)
        tokens = self.patches**2 + 1
        self.positions = nnx.Param(start(rngs.params(), (tokens, width)))
        self.first = nnx.Param(start(rngs.params(), (1, 1, width)))
        self.drop_patches = djn.PatchDropout(rates["patches"], prefix_tokens=1)
        paths, subsets = (
            linear_over_depth(rates[it], depth, convention="timm").tolist()
            for it in ("drop_path", "subset")
        )
        self.blocks = nnx.List(
            [
                Block(config, rates, path, subset, rngs)
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
        tokens = self.embed(_patches(x, self.patches, self.side))
        first = jnp.broadcast_to(self.first[...], (len(x), 1, tokens.shape[-1]))
        tokens = jnp.concatenate([first, tokens], 1) + self.positions[...][None]
        tokens, _ = self.drop_patches(tokens, **noise)
        for block in self.blocks:
            tokens = block(tokens, **noise)
        return self.logits(self.norm(tokens[:, 0]))


def _patches(x: jax.Array, count: int, side: int) -> jax.Array:
    """Split images into squares: (batch, squares, values per square)."""
    end = count * side
    squares = x[:, :end, :end].reshape(len(x), count, side, count, side, x.shape[-1])
    return squares.swapaxes(2, 3).reshape(len(x), count**2, -1)
