"""Random masking of tokens, as masked autoencoders have it."""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int32, Num

from dropjax._checks import check_shape
from dropjax._types import KeyLike
from dropjax.functional.sequences._patch_dropout import patch_dropout, patch_indices


class MaskedTokens(NamedTuple):
    """What is left of sequences of tokens, and where it was.

    Attributes:
      tokens: the kept tokens, those of the prefix first.
      mask: True where a token is kept, one value per token of the whole sequence.
      indices: the places of the kept tokens in the whole sequence.
      restore: for each place of the whole sequence, the place of its token in the kept
        tokens followed by the dropped ones.
    """

    tokens: Num[Array, "*batch kept features"]
    mask: Bool[Array, "*batch tokens"]
    indices: Int32[Array, "*batch kept"]
    restore: Int32[Array, "*batch tokens"]


def random_masking(
    key: KeyLike,
    x: Num[Array, "*batch tokens features"],
    rate: float,
    *,
    prefix_tokens: int = 0,
    ordered: bool = True,
    deterministic: bool = False,
) -> MaskedTokens:
    r"""Removes random tokens, and tells how to put others in their places.

    $$y_{nj} = x_{n, i_{nj}}, \qquad m_{nt} = [t \in \{i_{nj}\}], \qquad
      x_{nt} = (y_n, z_n)_{restore_{nt}}$$

    in example n, with i drawn as in `patch_dropout`, which removes the same tokens for
    the same key, and z the tokens that are removed. A masked autoencoder encodes y,
    puts a learned mask token in the places of z, and is trained to reconstruct what was
    there:

        y, mask, _, restore = random_masking(key, x, 0.75)
        latent = encoder(y)
        hidden = jnp.broadcast_to(mask_token, (batch, tokens - kept, width))
        latent = jnp.concatenate([latent, hidden], 1)
        z = decoder(jnp.take_along_axis(latent, restore[..., None], 1))
        loss = jnp.mean((z - x) ** 2, where=~mask[..., None])

    Add position embeddings before it, and again before the decoder. Nothing is scaled.

    Args:
      key: a typed or raw PRNG key. It may be None if nothing is drawn.
      x: an array of tokens with any numeric dtype.
      rate: the share of the tokens to drop, a Python number in [0, 1]; 0.75 in the
        paper. The number of tokens kept is rounded to the nearest integer.
      prefix_tokens: the number of leading tokens, such as a class token, that are
        always kept and not counted.
      ordered: whether the kept tokens keep their order; otherwise they are shuffled.
      deterministic: if True, nothing is dropped.

    Returns:
      A named tuple: `tokens`, which is x itself if there is nothing to do; `mask`, True
      where a token is kept, where the paper has 0; `indices` of the kept tokens, and
      `restore`, the indices that restore the order of the kept tokens followed by any
      others. The dropped tokens follow in their order.

    Raises:
      ValueError: the rate is outside [0, 1], there are fewer tokens than the prefix
        needs, or the key is missing.
      TypeError: x is not an array of numbers, or the rate is not a Python number.

    Example:
      >>> x = jnp.arange(48.0).reshape(2, 12, 2)
      >>> y, mask, indices, restore = random_masking(key, x, 0.75)
      >>> assert y.shape == (2, 3, 2) and mask.sum() == 6
      >>> latent = jnp.concatenate([y, jnp.zeros((2, 9, 2))], 1)
      >>> z = jnp.take_along_axis(latent, restore[..., None], 1)
      >>> assert jnp.array_equal(z, jnp.where(mask[..., None], x, 0))

    References:
      He, Chen, Xie, Li, Dollár and Girshick, 2022, "Masked autoencoders are scalable
      vision learners", CVPR.
    """
    tokens, indices = patch_dropout(
        key,
        x,
        rate,
        prefix_tokens=prefix_tokens,
        ordered=ordered,
        deterministic=deterministic,
    )
    mask = _is_kept(indices, tokens=x.shape[-2])
    return MaskedTokens(tokens, mask, indices, _restored(indices, mask))


def random_masking_mask(
    key: KeyLike,
    shape: Sequence[int],
    rate: float,
    *,
    prefix_tokens: int = 0,
    deterministic: bool = False,
) -> Bool[Array, "*batch tokens 1"]:
    """The mask that `random_masking` and `patch_dropout` draw for this shape.

    Args:
      key: a typed or raw PRNG key. It may be None if nothing is drawn.
      shape: the shape of the array of tokens, (*batch, tokens, features).
      rate: the share of the tokens to drop, a Python number in [0, 1].
      prefix_tokens: the number of leading tokens that are always kept and not counted.
      deterministic: if True, the mask is all True.

    Returns:
      A boolean array, True where a token is kept, of size 1 along the last axis. The
      number of True values of a sequence is the same for every key, so they are not
      independent.

    Raises:
      ValueError: as for `random_masking`.
      TypeError: as for `random_masking`.

    Example:
      >>> mask = random_masking_mask(key, (2, 12, 4), 0.75)
      >>> assert mask.shape == (2, 12, 1) and mask.sum() == 6
    """
    shape = check_shape(shape)
    indices = patch_indices(
        key, shape, rate, prefix_tokens=prefix_tokens, deterministic=deterministic
    )
    return _is_kept(indices, tokens=shape[-2])[..., None]


@functools.partial(jax.jit, static_argnames="tokens", inline=True)
def _is_kept(
    indices: Int32[Array, "*batch kept"], *, tokens: int
) -> Bool[Array, "*batch tokens"]:
    if indices.shape[-1] == tokens:
        return jnp.ones(indices.shape, bool)
    dropped = jnp.zeros((*indices.shape[:-1], tokens), bool)
    return _put(dropped, indices, jnp.ones(indices.shape, bool))


@functools.partial(jax.jit, inline=True)
def _restored(
    indices: Int32[Array, "*batch kept"], mask: Bool[Array, "*batch tokens"]
) -> Int32[Array, "*batch tokens"]:
    """Counts the dropped tokens after the kept ones, which have places of their own."""
    kept = indices.shape[-1]
    if kept == mask.shape[-1]:
        return indices
    after = jnp.cumsum(~mask, -1, dtype=jnp.int32) + jnp.int32(kept - 1)
    places = jnp.arange(kept, dtype=jnp.int32)
    return _put(after, indices, jnp.broadcast_to(places, indices.shape))


def _put(x: Array, indices: Int32[Array, "*batch kept"], values: Array) -> Array:
    """Sets elements along the last axis, without communication along the others."""

    def put(x: Array, indices: Array, values: Array) -> Array:
        known: Any = {"unique_indices": True, "mode": "promise_in_bounds"}
        return x.at[indices].set(values, **known)

    for _ in range(x.ndim - 1):
        put = jax.vmap(put)
    return put(x, indices, values)
