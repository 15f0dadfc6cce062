"""A transformer in Flax Linen that predicts the next character of a long text."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

import dropjax as dj
from dropjax import linen as djl
from dropjax.schedules import early_dropout, linear_over_depth
from training.feed_forward import feed_forward

_ALL = ("dropout", "attention", "drop_path")
METHODS = ("none", *_ALL, "all", "dropconnect", "early_dropout", "structured")


@functools.wraps(dj.dot_product_attention)
def attend(
    query: jax.Array, key: jax.Array, value: jax.Array, **options: Any
) -> jax.Array:
    """Return the causal attention of rotated queries and keys.

    Flax's layers pass the arguments that the signature names, which is that of
    `dj.dot_product_attention`.

    Args:
      query: the queries, ``(batch, length, heads, depth)``.
      key: the keys.
      value: the values.
      **options: the other arguments of `dj.dot_product_attention`.

    Returns:
      An array of the values' shape.
    """
    rotated = rotate(query), rotate(key)
    return dj.dot_product_attention(*rotated, value, is_causal=True, **options)


def rotate(x: jax.Array) -> jax.Array:
    """Rotate pairs of features by angles that grow with the position (Su et al., 2021).

    Args:
      x: queries or keys, ``(batch, length, heads, depth)``, with an even depth.

    Returns:
      An array of the same shape.
    """
    length, half = x.shape[1], x.shape[-1] // 2
    speeds = 10_000.0 ** -(jnp.arange(half) / half)
    angles = jnp.outer(jnp.arange(length), speeds)[:, None]
    cosine, sine = (
        each[None].astype(x.dtype) for each in (jnp.cos(angles), jnp.sin(angles))
    )
    first, second = jnp.split(x, 2, -1)
    turned = first * cosine - second * sine, first * sine + second * cosine
    return jnp.concatenate(turned, -1)


class Decoder(nn.Module):
    """Blocks of causal attention and two dense layers, each after a norm.

    Attributes:
      method: what is dropped. "dropout" drops the hidden units between the dense
        layers, and "early_dropout" does so in the first steps only; "attention" drops
        attention weights; "drop_path" drops branches, deeper ones more often; "all"
        does these three. "dropconnect" and "structured": see
        `training.feed_forward`.
      rate: the rate.
      early_steps: the steps of "early_dropout".
      hidden: the width of each block.
      heads: the number of attention heads.
      expansion: the number of hidden units, in widths.
      classes: the number of characters.
    """

    method: str
    rate: float
    early_steps: int
    hidden: tuple[int, ...]
    heads: int
    expansion: int
    classes: int

    def rate_of(self, method: str) -> float:
        """Return the rate of a method: 0 for all but the selected ones."""
        selected = _ALL if self.method == "all" else (self.method,)
        return self.rate if method in selected else 0.0

    def rates(self, step: jax.Array | None) -> dict[str, float | jax.Array]:
        """Return the rates between the dense layers at a step."""
        names = ("dropout", "dropconnect", "structured")
        rates: dict[str, float | jax.Array] = {it: self.rate_of(it) for it in names}
        if self.method == "early_dropout" and step is not None:
            rates["dropout"] = early_dropout(self.rate, self.early_steps)(step)
        return rates

    @nn.compact
    def __call__(
        self, x: jax.Array, deterministic: bool, step: jax.Array | None = None
    ) -> jax.Array:
        """Return the logits of the next character at each position of a sequence."""
        paths = linear_over_depth(self.rate_of("drop_path"), len(self.hidden)).tolist()
        x = nn.Embed(self.classes, self.hidden[0], name="embed")(x)
        for index, (width, path) in enumerate(zip(self.hidden, paths, strict=True)):
            drop_path = djl.DropPath(path)
            attention = nn.MultiHeadDotProductAttention(
                self.heads,
                dropout_rate=self.rate_of("attention"),
                # Otherwise all heads and examples share one mask.
                broadcast_dropout=False,
                attention_fn=attend,
                name=f"attention_{index}",
            )
            y = nn.LayerNorm(name=f"attention_norm_{index}")(x)
            y = attention(y, deterministic=deterministic)
            x = x + drop_path(y, deterministic)
            y = feed_forward(
                nn.LayerNorm(name=f"dense_norm_{index}")(x),
                self.expansion * width,
                width,
                rates=self.rates(step),
                names=(f"wide_{index}", f"narrow_{index}"),
                deterministic=deterministic,
            )
            x = x + drop_path(y, deterministic)
        return nn.Dense(self.classes, name="logits")(nn.LayerNorm(name="norm")(x))
