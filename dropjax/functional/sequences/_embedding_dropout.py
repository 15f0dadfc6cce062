"""Embedding dropout: drops all occurrences of a word."""

from collections.abc import Sequence

from jaxtyping import Array, Bool, Inexact

from dropjax._types import KeyLike, RateLike, Scaling
from dropjax.functional.activations._dropout import dropout, dropout_mask


def embedding_dropout(
    key: KeyLike,
    x: Inexact[Array, "*words features"],
    rate: RateLike,
    *,
    scaling: Scaling = "inverted",
    deterministic: bool = False,
) -> Inexact[Array, "*words features"]:
    r"""Drops whole rows of an embedding table.

    $$y_{wc} = \frac{m_w}{1 - rate} x_{wc}, \qquad m_w \sim \text{Bernoulli}(1 - rate)$$

    for word w and feature c. A dropped word is dropped everywhere in the batch, unlike
    in `word_dropout`, where each position has its own mask value. If the table is large
    and the batch is small, mask the looked-up vectors with the mask values of their
    words instead, as in the second example.

    Args:
      key: a typed or raw PRNG key. It may be None if nothing is drawn.
      x: a table (words, features), floating-point or complex. The last axis shares one
        mask value.
      rate: the probability of dropping, in [0, 1], a number or an array that broadcasts
        to the shape of the mask.
      scaling: "inverted" or "standard", as in `dropout`.
      deterministic: if True, nothing is dropped.

    Returns:
      An array of x's shape and dtype; x itself if there is nothing to do.

    Raises:
      ValueError: as for `dropout`.
      TypeError: as for `dropout`.

    Example:
      >>> table = jnp.ones((1000, 16))
      >>> tokens = jnp.array([3, 1, 3, 7])
      >>> y = embedding_dropout(key, table, 0.5)[tokens]
      >>> assert jnp.array_equal(y[0], y[2])
      >>> mask = embedding_dropout_mask(key, table.shape, 0.5)[tokens]
      >>> assert jnp.array_equal(y, apply_mask(table[tokens], mask, keep=0.5))

    References:
      Gal and Ghahramani, 2016, "A theoretically grounded application of dropout in
      recurrent neural networks", NeurIPS. Merity, Keskar and Socher, 2018,
      "Regularizing and optimizing LSTM language models", ICLR.
    """
    return dropout(
        key, x, rate, broadcast_dims=-1, scaling=scaling, deterministic=deterministic
    )


def embedding_dropout_mask(
    key: KeyLike,
    shape: Sequence[int],
    rate: RateLike,
    *,
    deterministic: bool = False,
) -> Bool[Array, "*words 1"]:
    """The mask that `embedding_dropout` draws for a table of this shape.

    Args:
      key: a typed or raw PRNG key. It may be None if nothing is drawn.
      shape: the shape of the table.
      rate: the probability of dropping, in [0, 1], a number or an array.
      deterministic: if True, the mask is all True.

    Returns:
      A boolean array, True where a row is kept, of size 1 along the last axis.

    Raises:
      ValueError: as for `embedding_dropout`.
      TypeError: as for `embedding_dropout`.

    Example:
      >>> assert embedding_dropout_mask(key, (1000, 16), 0.5).shape == (1000, 1)
    """
    return dropout_mask(
        key, shape, rate, broadcast_dims=-1, deterministic=deterministic
    )
