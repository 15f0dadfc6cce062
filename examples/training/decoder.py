"""A transformer in Flax Linen that predicts the next character of a long text."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

import dropjax as dj
from dropjax import linen as djl

METHODS = ("none", "dropout", "attention", "all")
HEADS = 2


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
    """Blocks of causal attention and two dense layers, each after a norm."""

    method: str
    rate: float
    hidden: tuple[int, ...]
    classes: int

    def rate_of(self, method: str) -> float:
        """Return the rate of a method: 0 for all but the selected ones."""
        return self.rate if self.method in (method, "all") else 0.0

    @nn.compact
    def __call__(self, x: jax.Array, deterministic: bool) -> jax.Array:
        """Return the logits of the next character at each position of a sequence."""
        x = nn.Embed(self.classes, self.hidden[0], name="embed")(x)
        for index, width in enumerate(self.hidden):
            attention = nn.MultiHeadDotProductAttention(
                HEADS,
                dropout_rate=self.rate_of("attention"),
                # Otherwise all heads and examples share one mask.
                broadcast_dropout=False,
                attention_fn=attend,
                name=f"attention_{index}",
            )
            y = nn.LayerNorm(name=f"attention_norm_{index}")(x)
            x = x + attention(y, deterministic=deterministic)
            y = nn.LayerNorm(name=f"dense_norm_{index}")(x)
            y = nn.gelu(nn.Dense(4 * width, name=f"wide_{index}")(y))
            y = djl.Dropout(self.rate_of("dropout"))(y, deterministic)
            x = x + nn.Dense(width, name=f"narrow_{index}")(y)
        return nn.Dense(self.classes, name="logits")(nn.LayerNorm(name="norm")(x))
