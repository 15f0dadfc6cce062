"""PatchDropout: removes tokens from a sequence, which makes it shorter."""

import jax.numpy as jnp
from jaxtyping import Array, Int32, Num

from dropjax._checks import (
    check_deterministic,
    check_flag,
    check_host_rate,
    check_key,
    check_known,
    check_numbers,
    check_prefix_tokens,
)
from dropjax._types import KeyLike
from dropjax.functional.subsets._indices import kept_count, smallest


def patch_dropout(
    key: KeyLike,
    x: Num[Array, "*batch tokens features"],
    rate: float,
    *,
    prefix_tokens: int = 0,
    ordered: bool = True,
    deterministic: bool = False,
) -> tuple[
    Num[Array, "*batch kept features"],
    Int32[Array, "*batch kept"],
]:
    r"""Removes the same number of tokens, at random positions, from each sequence.

    $$y_{nj} = x_{n, i_{nj}}, \qquad
      \{i_{nj}\} \text{ uniform among the subsets of size } (1 - rate) \, T$$

    in example n and the j-th of the tokens kept, with T tokens before. The size is
    rounded to the nearest integer, and is at least one for a rate below 1. Nothing is
    scaled. Subsequent layers run on a shorter sequence and take less time; this is the
    point of the method, and the reason why the rate cannot be traced. The method is
    also called token dropping (`drop_token`).

    Add position embeddings before it. The indices tell where the tokens were, for
    example to insert the mask tokens of a decoder.

    Args:
      key: a typed or raw PRNG key. It may be None if nothing is drawn.
      x: an array of tokens with any numeric dtype: features, or integers such as the
        uint8 pixels of patches. Token ids need a features axis of size 1.
      rate: the share of the tokens to drop, a Python number in [0, 1].
      prefix_tokens: the number of leading tokens, such as a class token, that are
        always kept and not counted.
      ordered: whether the tokens keep their order; otherwise they are shuffled.
      deterministic: if True, nothing is dropped.

    Returns:
      The kept tokens, prefix first, and their indices in x, including those of the
      prefix. x itself and all indices if there is nothing to do.

    Raises:
      ValueError: the rate is outside [0, 1], there are fewer tokens than the prefix
        needs, or the key is missing.
      TypeError: x is not an array of numbers, or the rate is not a Python number.

    Example:
      >>> x = jnp.arange(40.0).reshape(2, 10, 2)
      >>> y, indices = patch_dropout(jax.random.key(0), x, 0.5, prefix_tokens=2)
      >>> assert y.shape == (2, 6, 2)
      >>> assert jnp.array_equal(y, jnp.take_along_axis(x, indices[..., None], 1))

    References:
      Liu, Matsoukas, Strand, Azizpour and Smith, 2023, "PatchDropout: economizing
      vision transformers using patch dropout", WACV.
    """
    indices = patch_indices(
        key,
        check_numbers(x).shape,
        rate,
        prefix_tokens=prefix_tokens,
        ordered=ordered,
        deterministic=deterministic,
    )
    if indices.shape[-1] == x.shape[-2]:
        return x, indices
    y = jnp.take_along_axis(x, indices[..., None], -2, mode="promise_in_bounds")
    return y, indices


def patch_indices(
    key: KeyLike,
    shape: tuple[int, ...],
    rate: float,
    *,
    prefix_tokens: int,
    ordered: bool = True,
    deterministic: bool,
) -> Int32[Array, "*batch kept"]:
    """The indices of the tokens that are kept in an array of this shape."""
    tokens = check_prefix_tokens(shape, prefix_tokens)
    rate = check_host_rate(rate, "how many tokens are left")
    ordered = check_flag(ordered, "ordered")
    whole = check_deterministic(deterministic) or rate == 0
    kept = tokens
    if not whole:
        kept = kept_count(check_known(tokens, "how many tokens are left"), rate)
    batch = shape[:-2]
    if kept == tokens:
        every = jnp.arange(prefix_tokens + tokens, dtype=jnp.int32)
        return jnp.broadcast_to(every, (*batch, every.size))
    if kept == 0:
        indices = jnp.zeros((*batch, 0), jnp.int32)
    else:
        indices = smallest(check_key(key), (*batch, tokens), kept, ordered=ordered)
    prefix = jnp.arange(prefix_tokens, dtype=jnp.int32)
    prefix = jnp.broadcast_to(prefix, (*batch, prefix_tokens))
    return jnp.concatenate([prefix, indices + jnp.int32(prefix_tokens)], -1)
