"""Word dropout: replaces tokens by the unknown token."""

from collections.abc import Sequence

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int, Key

from dropjax._apply import redrawn
from dropjax._checks import check_id, check_ids, check_tokens
from dropjax._masks import draw_mask, keep_mask, prepare
from dropjax._types import KeyLike, RateLike


def word_dropout(
    key: KeyLike,
    x: Int[Array, "*shape"],
    rate: RateLike,
    *,
    unknown_id: int,
    protected: Sequence[int] = (),
    deterministic: bool = False,
) -> Int[Array, "*shape"]:
    r"""Replaces random tokens by the unknown token.

    $$y_i = \text{where}(m_i \lor x_i \in protected, x_i, unknown)$$

    with $m_i \sim \text{Bernoulli}(1 - rate)$. Each position has its own mask value. To
    drop all occurrences of a word, use `embedding_dropout`; to drop whole vectors
    instead of ids, use `dropout` with `broadcast_dims=-1`.

    Args:
      key: a typed or raw PRNG key. It may be None if nothing is drawn.
      x: an array of integers, the token ids.
      rate: the probability of dropping, in [0, 1], a number or an array that broadcasts
        to x's shape.
      unknown_id: the id that replaces dropped tokens.
      protected: ids that are never dropped, such as those of padding and separators.
      deterministic: if True, nothing is dropped.

    Returns:
      An array of x's shape and dtype; x itself if there is nothing to do.

    Raises:
      ValueError: the rate is outside [0, 1], an id does not fit x's dtype, or the key
        is missing.
      TypeError: x is not an array of integers, or an argument has the wrong type.

    Example:
      >>> tokens = jnp.arange(1000) % 50
      >>> y = word_dropout(key, tokens, 0.3, unknown_id=1, protected=(0,))
      >>> assert jnp.array_equal(y == 0, tokens == 0)
      >>> assert 0.2 < (y != tokens).mean() < 0.4

    References:
      Iyyer, Manjunatha, Boyd-Graber and Daumé, 2015, "Deep unordered composition
      rivals syntactic methods for text classification", ACL. Bowman, Vilnis, Vinyals,
      Dai, Jozefowicz and Bengio, 2016, "Generating sentences from a continuous space",
      CoNLL.
    """
    x = check_tokens(x)
    unknown_id = check_id(unknown_id, x.dtype, "unknown_id")
    protected = check_ids(protected, x.dtype, "protected")
    key, keep, certain = prepare(key, rate, x.shape, deterministic=deterministic)
    ids = {"unknown_id": unknown_id, "protected": protected}
    return x if certain else _replace(key, x, keep, **ids)


def word_dropout_mask(
    key: KeyLike,
    shape: Sequence[int],
    rate: RateLike,
    *,
    deterministic: bool = False,
) -> Bool[Array, "*shape"]:
    """The mask that `word_dropout` draws for tokens of this shape.

    Args:
      key: a typed or raw PRNG key. It may be None if nothing is drawn.
      shape: the shape of the array of tokens.
      rate: the probability of dropping, in [0, 1], a number or an array.
      deterministic: if True, the mask is all True.

    Returns:
      A boolean array of the given shape, True where a token is kept. Protected tokens
      are kept regardless of the mask.

    Raises:
      ValueError: as for `word_dropout`.
      TypeError: as for `word_dropout`.

    Example:
      >>> tokens, mask = jnp.arange(2, 22), word_dropout_mask(key, (20,), 0.5)
      >>> y = word_dropout(key, tokens, 0.5, unknown_id=1)
      >>> assert jnp.array_equal(y, jnp.where(mask, tokens, 1))
    """
    return keep_mask(key, shape, rate, deterministic=deterministic)


@redrawn("unknown_id", "protected")
def _replace(
    key: Key[Array, ""] | None,
    x: Int[Array, "*shape"],
    keep: Float[Array, "..."],
    *,
    unknown_id: int,
    protected: tuple[int, ...],
) -> Int[Array, "*shape"]:
    mask = jnp.zeros(x.shape, bool) if key is None else draw_mask(key, keep, x.shape)
    for one in protected:
        mask = mask | (x == jnp.asarray(one, x.dtype))
    return lax.select(mask, x, jnp.full_like(x, unknown_id))
