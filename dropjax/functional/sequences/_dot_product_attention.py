"""Attention with dropped weights, in one piece or by blocks."""

import functools
import math
from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import DTypeLike
from jaxtyping import Array, ArrayLike, Float, Int

from dropjax._apply import sharded_like, working_dtype
from dropjax._checks import (
    check_array,
    check_attention,
    check_attention_bias,
    check_attention_mask,
    check_block_size,
    check_blocks,
    check_flag,
    check_implementation,
    check_key,
    check_lengths,
    check_local_window,
    check_own_einsum,
    check_scale,
    check_shards,
    check_sower,
    is_symbolic,
)
from dropjax._fast_prng import has_windows
from dropjax._masks import Draw, is_drawn, prepare
from dropjax._random import tell_reuse_checker
from dropjax._types import KeyLike, RateLike
from dropjax.functional.sequences._attention_blocks import (
    Sizes,
    attend_by_blocks,
)
from dropjax.functional.sequences._attention_dropout import (
    attention_dropout,
    attention_mask_shape,
)
from dropjax.functional.sequences._attention_fused import attend_in_cudnn
from dropjax.functional.sequences._attention_logits import (
    Arrays,
    Form,
    group_heads,
    group_shape,
    join_heads,
    logits_of,
    may_be_blind,
    over_logits,
    scaled_products,
    seen_keys,
)
from dropjax.functional.sequences._attention_ring import attend_in_ring

# On CPUs, a block has as many attention weights as stay in the cache, of 64 queries at
# least and 1,024 at most. To be a small part of the memory, it also has at most this
# share of the queries, or this many. Long rows are faster, but if keys are hidden by
# their position, more of narrow blocks can be skipped.
_CACHED = 2**21
_FEWEST, _MOST = 64, 1024
_LONG = {"keys": 1024, "share": 16, "queries": 128}
_NARROW = {"keys": 256, "share": 8, "queries": 256}
# Elsewhere a block is a few launches, whose number should not grow with the batch.
_LAUNCHED = 512, 512
# The most keys of a block that has all queries, because their axis is sharded.
_WHOLE = 256
# Up to this many queries and keys, one piece is faster.
_SHORT = 256


def dot_product_attention(
    query: Float[Array, "*batch queries heads depth"],
    key: Float[Array, "*batch keys kv_heads depth"],
    value: Float[Array, "*batch keys kv_heads width"],
    *,
    bias: Float[Array, "..."] | None = None,
    mask: ArrayLike | None = None,
    broadcast_dropout: bool = False,
    dropout_rng: KeyLike = None,
    dropout_rate: RateLike = 0.0,
    renormalize: bool = False,
    deterministic: bool = False,
    dtype: DTypeLike | None = None,
    precision: lax.PrecisionLike = None,
    module: Any = None,
    is_causal: bool = False,
    scale: float | None = None,
    query_seq_lengths: ArrayLike | None = None,
    key_value_seq_lengths: ArrayLike | None = None,
    local_window_size: int | tuple[int, int] | None = None,
    block_size: int | tuple[int, int] | None = None,
    implementation: Literal["xla", "cudnn"] | None = None,
    axis_name: str | None = None,
    qk_attn_weights_einsum: None = None,
    attn_weights_value_einsum: None = None,
) -> Float[Array, "*batch queries heads width"]:
    r"""Computes attention with dropped weights, in memory linear in its length.

    $$Y = D(\text{softmax}(Q K^\top / \sqrt{d} + B)) \, V$$

    with D for `attention_dropout`. Long sequences are processed in blocks of queries
    and keys, as in FlashAttention: neither the weights nor a mask is stored, and blocks
    that `is_causal` or `local_window_size` hide are skipped. The backward pass keeps
    the inputs, the output and two numbers for each query, and draws the mask again.
    Blocks do not change which weights are dropped. All derivatives are available,
    forward mode and second derivatives included.

    This is an `attention_fn` for flax's attention layers and therefore uses flax's
    argument names, such as `dropout_rng` and `dropout_rate`. Note that these layers
    pass `broadcast_dropout=True`, so that all heads and examples share one mask, unless
    they are created with `broadcast_dropout=False`. For the same arguments, the same
    weights are dropped as by flax's function.

    If there are fewer heads of keys and values than of queries, groups of query heads
    share them. Like `jax.nn.dot_product_attention`, the function computes the softmax
    in float32 or better, regardless of flax's `force_fp32_for_softmax`. A query that
    attends to no key gets the mean of all values, as there. Otherwise keys that are
    hidden from a query have no weight at all, even if all others have the least bias.

    Short sequences are processed in one piece, which stores the exponentials of the
    softmax for the backward pass. So are sequences of symbolic length, calls whose mask
    has a symbolic axis other than the first, calls that sow the weights, and keys of
    generators whose masks cannot be drawn in parts, such as "rbg".

    Args:
      query: the queries, a floating-point array.
      key: the keys, with the same dtype and depth as query; their number of heads
        divides that of query.
      value: the values, with the same dtype and shape as key except for the last axis.
      bias: an array that is added to the logits; it broadcasts to (*batch, heads,
        queries, keys).
      mask: True, or nonzero, where a query attends to a key; it broadcasts likewise.
      broadcast_dropout: whether all heads and examples share one mask.
      dropout_rng: a typed or raw PRNG key. It may be None if nothing is drawn.
      dropout_rate: the probability of dropping a weight, in [0, 1].
      renormalize: whether the kept weights are rescaled to a sum of 1.
      deterministic: if True, nothing is dropped.
      dtype: the dtype of the computation; None takes that of query.
      precision: the precision of the products, as in `jax.lax.dot_general`.
      module: a flax module (Linen or NNX) into which the weights before dropout are
        sown as "attention_weights", in the collection "intermediates". Flax's layers
        pass themselves if called with `sow_weights=True`. The weights are then stored.
      is_causal: whether a query attends only to keys at or before its position.
      scale: the factor of the products of queries and keys; None is $1 / \sqrt{d}$.
      query_seq_lengths: the number of queries of each example, of shape (*batch,). The
        outputs of the others are zeros.
      key_value_seq_lengths: likewise, how many keys of each example are attended to.
      local_window_size: how many keys before and after its own position a query attends
        to: one number, or (before, after). None is all.
      block_size: the number of queries and of keys of a block: one number, or (queries,
        keys). None chooses it. Sizes that cover all queries and keys process them in
        one piece. If the axis of the queries is sharded, (number of queries, 256) keeps
        every query where it is; on meshes with explicit axes None does so too.
      implementation: None or "xla" for the computation described above, or "cudnn" for
        `jax.nn.dot_product_attention(implementation="cudnn")` where nothing is dropped
        or sown: with `deterministic=True`, or a rate of 0 that is not an array. What
        cuDNN's own dropout drops would depend on a constant of the program, so training
        with dropout uses blocks. JAX's limits apply: a GPU from NVIDIA, bfloat16 or
        float16, values as wide as keys, only some depths and windows, arrays sharded by
        batch and heads at most, no forward mode. A bias or mask is stored for all
        queries and keys, in the dtype of query; what a query that attends to no key
        gets is up to cuDNN.
      axis_name: inside `jax.shard_map`, the mesh axis along which the sequence is
        sharded. Query, key and value are then this device's shards; bias and mask have
        its queries and all keys. Positions, lengths, `dropout_rng` and the mask drawn
        from it are those of the whole sequence. Keys and values pass from device to
        device, so that the memory of each is linear in its shard.
      qk_attn_weights_einsum: flax's replacement for the first product, for example for
        quantized training. Only None is accepted, since this function does its own
        products.
      attn_weights_value_einsum: likewise for the second product.

    Returns:
      An array of shape (*batch, queries, heads, width).

    Raises:
      ValueError: shapes do not match, an einsum is given, a size is out of range, or
        blocks are asked for that cannot be computed; otherwise as for
        `attention_dropout`.
      TypeError: query, key, value or bias is not a real array, the first three have
        different dtypes, or module has no `sow`; otherwise as for `attention_dropout`.

    Example:
      >>> x = jax.random.normal(jax.random.key(0), (2, 8, 4, 16))
      >>> y = dot_product_attention(x, x, x, dropout_rng=key, dropout_rate=0.1)
      >>> assert y.shape == x.shape
      >>> y = dot_product_attention(x, x, x)
      >>> assert jnp.allclose(y, jax.nn.dot_product_attention(x, x, x), atol=1e-5)

    References:
      Vaswani et al., 2017, "Attention is all you need", NeurIPS. Dao, Fu, Ermon, Rudra
      and Re, 2022, "FlashAttention: fast and memory-efficient exact attention with
      IO-awareness", NeurIPS.
    """
    check_sower(module)
    check_own_einsum(qk_attn_weights_einsum, "qk_attn_weights_einsum")
    check_own_einsum(attn_weights_value_einsum, "attn_weights_value_einsum")
    check_implementation(implementation, axis_name, precision)
    query, key, value = _operands(query, key, value, dtype)
    shape = (*query.shape[:-3], query.shape[-2], query.shape[-3], key.shape[-3])
    shards = check_shards(axis_name)
    whole = (*shape[:-2], shape[-2] * shards, shape[-1] * shards)
    mask_shape = attention_mask_shape(whole, broadcast_dropout)
    draw = _prepare(dropout_rng, dropout_rate, mask_shape, query, deterministic)
    form = Form(
        shape=group_shape(shape, key.shape[-2]),
        mask_shape=group_shape(mask_shape, key.shape[-2]),
        scale=check_scale(scale, query.shape[-1]),
        is_causal=check_flag(is_causal, "is_causal"),
        window=check_local_window(local_window_size),
        renormalize=check_flag(renormalize, "renormalize"),
        precision=precision,
    )
    arrays = {"query": query, "key": key, "value": value}
    arrays |= _beside_logits(form, (*shape[:-1], whole[-1]), bias, mask)
    arrays |= _beside_keys(key_value_seq_lengths, query)
    lengths = check_lengths(query_seq_lengths, query.shape[:-3], "query_seq_lengths")
    sharded = axis_name if shards > 1 else None
    sizes = _block_sizes(query, form, block_size, draw, module, sharded)
    if implementation == "cudnn" and draw.certain and module is None:
        y = attend_in_cudnn(arrays, form, lengths)
    elif sizes is not None:
        y = _attend_in_blocks(draw, arrays, form, sizes, sharded)
    else:
        drop = functools.partial(
            attention_dropout,
            draw.key,
            rate=dropout_rate,
            broadcast_dropout=broadcast_dropout,
            renormalize=renormalize,
            deterministic=deterministic,
        )
        y = _attend_in_one_piece(drop, arrays, form, module)
    return y if lengths is None else _up_to(lengths, y, sharded)


def _operands(
    query: Any, key: Any, value: Any, dtype: DTypeLike | None
) -> tuple[Array, Array, Array]:
    """The queries, keys and values in the dtype of the computation."""
    if dtype is not None:
        given = {"query": query, "key": key, "value": value}
        query, key, value = (
            check_array(x, name).astype(dtype) for name, x in given.items()
        )
    check_attention(query, key, value)
    return jnp.asarray(query), jnp.asarray(key), jnp.asarray(value)


def _prepare(
    dropout_rng: KeyLike,
    dropout_rate: RateLike,
    mask_shape: tuple[int, ...],
    query: Array,
    deterministic: bool,
) -> Draw:
    """As `prepare`, whose messages then have the names of these arguments."""
    if is_drawn(dropout_rate, deterministic, name="dropout_rate"):
        dropout_rng = check_key(dropout_rng, "dropout_rng")
    return prepare(
        dropout_rng,
        dropout_rate,
        mask_shape,
        working_dtype(query),
        deterministic=deterministic,
        name="dropout_rate",
    )


def _beside_logits(
    form: Form, shape: tuple[int, ...], bias: Any, mask: Any
) -> dict[str, Array]:
    """The bias and the mask, if there are any, with grouped heads."""
    given = {
        "bias": check_attention_bias(bias, shape),
        "mask": check_attention_mask(mask, shape),
    }
    return {name: over_logits(x, form) for name, x in given.items() if x is not None}


def _beside_keys(lengths: Any, query: Array) -> dict[str, Array]:
    """The numbers of keys, if they are given, like logits with grouped heads."""
    lengths = check_lengths(lengths, query.shape[:-3], "key_value_seq_lengths")
    return {} if lengths is None else {"lengths": lengths[..., None, None, None, None]}


def _up_to(
    lengths: Int[Array, "*batch"],
    y: Float[Array, "*batch queries heads width"],
    axis_name: str | None,
) -> Float[Array, "*batch queries heads width"]:
    """Zeros in place of the outputs of queries past the length of their example."""

    def select(lengths: Array, y: Array) -> Array:
        position = lax.broadcasted_iota(jnp.int32, y.shape, y.ndim - 3)
        if axis_name is not None:
            position = position + lax.axis_index(axis_name) * y.shape[-3]
        real = position < jnp.broadcast_to(lengths[..., None, None, None], y.shape)
        return jnp.where(real, y, jnp.zeros_like(y))

    return sharded_like(y, select)(lengths, y)


def _block_sizes(
    query: Array,
    form: Form,
    block_size: Any,
    draw: Draw,
    module: Any,
    axis_name: str | None,
) -> tuple[Sizes, Sizes] | None:
    """The sizes of blocks on CPUs and elsewhere; None for one piece."""
    lengths = queries, keys = form.shape[-2:]
    needed = lengths if draw.key is None else (*lengths, *form.mask_shape[1:])
    known = not any(map(is_symbolic, needed))
    # A key whose masks cannot be drawn in parts.
    whole = None if draw.key is None or has_windows(draw.key) else draw.key
    asked = check_block_size(block_size)
    if known and 0 in lengths:
        return None
    if axis_name is not None:
        check_blocks("axis_name", axis_name, module, known, whole)
    elif asked is None:
        short = known and (queries * keys <= _SHORT**2 or min(lengths) < _FEWEST)
        if short or not known or whole is not None or module is not None:
            return None
    elif known and asked[0] >= queries and asked[1] >= keys:
        return None
    else:
        check_blocks("block_size", block_size, module, known, whole)
    if asked is not None:
        sizes = min(asked[0], queries), min(asked[1], keys)
        return sizes, sizes
    if _are_queries_sharded(query):
        sizes = _even(lengths, (queries, _WHOLE))
        return sizes, sizes
    return _even(lengths, _in_the_cache(form)), _even(lengths, _LAUNCHED)


def _are_queries_sharded(query: Array) -> bool:
    """Whether they are, if that is known: if the mesh has explicit axes."""
    return any(axes is not None for axes in jax.typeof(query).sharding.spec[-3:-2])


def _in_the_cache(form: Form) -> Sizes:
    skips = form.is_causal or form.window is not None
    most = _NARROW if skips else _LONG
    heads = math.prod(n for n in form.shape[:-2] if not is_symbolic(n))
    keys = min(form.shape[-1], most["keys"])
    fit = _CACHED // max(1, heads * keys)
    spared = max(form.shape[-2] // most["share"], most["queries"])
    return min(max(fit, _FEWEST), spared, _MOST), keys


def _even(lengths: tuple[int, ...], most: Sizes) -> Sizes:
    """Sizes up to these for the same number of blocks, with the least padding."""
    queries, keys = (
        min(n, -(-n // (8 * -(-n // size))) * 8)
        for n, size in zip(lengths, most, strict=True)
    )
    return queries, keys


def _attend_in_blocks(
    draw: Draw,
    arrays: Arrays,
    form: Form,
    sizes: tuple[Sizes, Sizes],
    axis_name: str | None,
) -> Float[Array, "*batch queries heads width"]:
    query, value = arrays["query"], arrays["value"]
    if draw.certain is False:
        return jnp.zeros_like(value, shape=(*query.shape[:-1], value.shape[-1]))
    words = None
    if draw.key is not None:
        tell_reuse_checker(draw.key)
        words = jax.random.key_data(draw.key)
        arrays = {**arrays, "keep": over_logits(draw.keep, form)}
    attend = functools.partial(attend_by_blocks, form=form, sizes=sizes)
    if axis_name is not None:
        attend = functools.partial(
            attend_in_ring, form=form, sizes=sizes, axis_name=axis_name
        )
    first = sharded_like(query, lambda *args: attend(*args).output, query.ndim - 1)
    return first(words, arrays)


def _attend_in_one_piece(
    drop: Callable[[Array], Array], arrays: Arrays, form: Form, module: Any
) -> Float[Array, "*batch queries heads width"]:
    value, kv_heads = arrays["value"], form.shape[-4]
    query = jnp.swapaxes(arrays["query"], -2, -3)
    exponentiate = functools.partial(_exponentials, form)
    exponentials = sharded_like(query, exponentiate, query.ndim - 1)(query, arrays)
    if module is not None:
        weights = exponentials / exponentials.sum(-1, keepdims=True)
        module.sow("intermediates", "attention_weights", weights.astype(value.dtype))

    # The exponentials, which their own backward pass stores, are all that this one
    # needs.
    @functools.partial(jax.checkpoint, prevent_cse=False)
    def weigh(exponentials: Array, value: Array) -> Array:
        weights = exponentials / exponentials.sum(-1, keepdims=True)
        dropped = group_heads(drop(weights.astype(value.dtype)), kv_heads)
        y = jnp.einsum(
            "...kgqs,...skd->...kgqd", dropped, value, precision=form.precision
        )
        return join_heads(y)

    return weigh(exponentials, value)


def _exponentials(
    form: Form, query: Float[Array, "*batch heads queries depth"], arrays: Arrays
) -> Float[Array, "*batch heads queries keys"]:
    """The weights before they are normalized."""
    rows, columns = (jnp.arange(n, dtype=jnp.int32) for n in form.shape[-2:])
    seen, blind = seen_keys(form, rows, columns, arrays), None
    if seen is not None and may_be_blind(form, arrays):
        blind = ~seen.any(-1, keepdims=True)
    key = jnp.swapaxes(arrays["key"], -2, -3)
    logits = scaled_products(form, group_heads(query, form.shape[-4]), key)
    logits = logits_of(logits, arrays.get("bias"), seen, blind)
    logits = lax.collapse(logits, logits.ndim - 4, logits.ndim - 2)
    highest = lax.stop_gradient(logits.max(-1, keepdims=True, initial=-jnp.inf))
    return jnp.exp(logits - highest)
