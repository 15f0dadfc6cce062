"""The output of a layer with dropped weights: masked, or with noise in their place."""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Inexact, Key

from dropjax._apply import apply_mask, nan_where, sharded_like, single_or_wider
from dropjax._checks import (
    check_bias_rate,
    check_key,
    check_noise,
    check_rate,
    check_rate_shape,
    check_real,
    check_scaling,
)
from dropjax._masks import is_drawn
from dropjax._random import leaf_keys
from dropjax._types import KeyLike, RateLike, Scaling
from dropjax.functional.activations._dropout import dropout
from dropjax.functional.weights._linear import Drops, Linear, Operands
from dropjax.functional.weights._moments import moments
from dropjax.functional.weights._packed_masks import (
    Known,
    groups_of,
    in_groups,
    known_of,
    mask_levels,
    masks_to_a_word,
    packed_kernel_masks,
    realized_rate,
    unpacked,
)
from dropjax.functional.weights._per_example import masked_products, masked_rows
from dropjax.functional.weights._samples import gaussian_sample


def dropped_product(
    key: KeyLike, linear: Linear, operands: Operands, drops: Drops
) -> Array:
    """The output of a layer whose kernel and bias are dropped."""
    check_noise(drops.noise, drops.mask_per)
    drawn = drops.are_drawn(operands.bias)
    if drops.noise == "gaussian" and drawn:
        return _noisy_product(key, linear, operands, drops)
    if drops.share is not None:
        drops = _realized(drops)
    if drops.share is None or not is_drawn(drops.rate, drops.deterministic):
        y = _masked_product(key, linear, operands, drops)
    elif drops.share == 1 and linear.takes_rows(operands):
        y = _streamed_rows(key, linear, operands, drops)
    else:
        y = _own_products(key, linear, operands, drops)
    return _add_bias(key, y, linear, operands, drops)


def _noisy_product(
    key: KeyLike, linear: Linear, operands: Operands, drops: Drops
) -> Array:
    """The output, with sums of dropped weights replaced by samples from Gaussians."""
    x, kernel, bias = operands
    check_real(x)

    def forward(key: Key[Array, ""], x: Array, kernel: Array) -> Array:
        return gaussian_sample(key, *moments(linear, Operands(x, kernel, bias), drops))

    return linear.remade(forward)(check_key(key), x, kernel)


def _masked_product(
    key: KeyLike, linear: Linear, operands: Operands, drops: Drops
) -> Array:
    """The product with one masked kernel, which the backward pass recomputes."""
    rate, options = drops.rate, _options(drops)

    def forward(key: KeyLike, x: Array, kernel: Array) -> Array:
        return linear(x, dropout(key, kernel, rate, **options))

    own = _leaf_key(key, "kernel", rate, drops.deterministic)
    # The barrier is needed: without it CSE stores the masked kernel after all.
    return linear.remade(forward)(own, operands.x, operands.kernel)


def _streamed_rows(
    key: KeyLike, linear: Linear, operands: Operands, drops: Drops
) -> Array:
    """The product of every row with its own masked kernel, which is never stored."""
    x, kernel, _ = operands
    batch = x.shape[: int(linear.is_batched(operands))]
    contracted = x.ndim - len(batch)
    features = kernel.shape[contracted:]
    matrix = math.prod(kernel.shape[:contracted]), math.prod(features)
    dtype = jnp.dtype(linear.preferred_element_type or x.dtype)
    wide = single_or_wider(dtype)

    def forward(
        key: Key[Array, ""], x: Array, kernel: Array, rate: RateLike = drops.rate
    ) -> Array:
        rows = x.reshape(*(batch or (1,)), matrix[0])
        weights = _scaled(kernel, rate, drops.scaling).reshape(matrix).astype(wide)
        levels = mask_levels(rate)
        if np.ndim(levels):
            levels = jnp.broadcast_to(levels, kernel.shape).reshape(matrix)
        groups = in_groups(rows.astype(wide), 1)[:, :, 0]
        y = lax.collapse(masked_rows(key, groups, weights, levels), 0, 2)
        return y.astype(dtype)[: rows.shape[0]].reshape(*batch, *features)

    own = leaf_keys(check_key(key), ["kernel"])[0]
    return sharded_like(x, forward, len(batch))(own, x, kernel, *_traced(drops.rate))


class _Form(NamedTuple):
    """What is known about products with masks per example before they are traced."""

    linear: Linear
    known: Known
    share: int
    scaling: Scaling
    batched: bool


def _own_products(
    key: KeyLike, linear: Linear, operands: Operands, drops: Drops
) -> Array:
    """The products of examples with their masked kernels; a mask may be shared."""
    x, kernel, _ = operands
    jax.eval_shape(linear, x, kernel)  # Raises the same errors as the plain product.
    form = _Form(
        linear.per_example(),
        known_of(mask_levels(drops.rate)),
        drops.share or 1,
        drops.scaling,
        linear.is_batched(operands),
    )
    own = leaf_keys(check_key(key), ["kernel"])[0]
    multiply = _products if linear.function is not None else _remade_products
    return multiply(form, own, x, kernel, jnp.asarray(drops.rate, jnp.float32))


def _products(
    form: _Form,
    key: Key[Array, ""],
    x: Array,
    kernel: Array,
    rate: Array,
    wrap: Callable[..., Any] = lambda function: function,
) -> Array:
    def forward(key: Key[Array, ""], x: Array, kernel: Array, rate: Array) -> Array:
        examples = in_groups(x if form.batched else x[None], form.share)
        weights = _scaled(kernel, rate, form.scaling)
        levels = mask_levels(rate)
        y = masked_products(form.linear, key, examples, weights, form.known, levels)
        y = lax.collapse(y, 0, 3)
        return y[: x.shape[0]] if form.batched else y[0]

    return sharded_like(x, wrap(forward), int(form.batched))(key, x, kernel, rate)


_remade_products = jax.jit(
    functools.partial(_products, wrap=jax.checkpoint), static_argnums=0
)


def _add_bias(
    key: KeyLike, y: Array, linear: Linear, operands: Operands, drops: Drops
) -> Array:
    bias, rate = operands.bias, drops.bias_rate
    if bias is None:
        return y
    if rate is not None:
        check_rate_shape(rate, bias.shape, "bias_rate")
        own = _leaf_key(key, "bias", rate, drops.deterministic)
        if own is None or drops.share is None:
            bias = dropout(own, bias, rate, **_options(drops))
        elif linear.is_batched(operands):
            bias = _own_biases(own, bias, rate, drops, y.shape[0])
        else:
            bias = _own_biases(own, bias, rate, drops, 1)[0]
    return y + linear.placed(bias, operands, y)


def _own_biases(
    key: Key[Array, ""], bias: Array, rate: RateLike, drops: Drops, examples: int
) -> Inexact[Array, "examples ..."]:
    share = drops.share or 1
    levels, groups = mask_levels(rate), groups_of(examples, share)
    words = packed_kernel_masks(key, known_of(levels), levels, groups, bias.shape)
    mask = lax.collapse(unpacked(words, masks_to_a_word(examples, share)), 0, 2)
    mask = jnp.repeat(mask, share, axis=0)[:examples]
    scaled = jnp.broadcast_to(_scaled(bias, rate, drops.scaling), mask.shape)
    return apply_mask(scaled, mask)


def _realized(drops: Drops) -> Drops:
    """Replaces the rates by those that masks per example realize with 16 bits."""
    rate = realized_rate(check_rate(drops.rate))
    bias_rate = check_bias_rate(drops.bias_rate)
    if bias_rate is not None:
        bias_rate = realized_rate(bias_rate)
    return dataclasses.replace(drops, rate=rate, bias_rate=bias_rate)


def _options(drops: Drops) -> dict[str, Any]:
    return {"scaling": drops.scaling, "deterministic": drops.deterministic}


def _traced(rate: RateLike) -> tuple[RateLike, ...]:
    """The rate as a tuple of arguments to pass on, which is empty for a number."""
    return () if isinstance(rate, float) else (rate,)


def _scaled(weights: Array, rate: RateLike, scaling: Scaling) -> Array:
    """The weights as they are if they are kept."""
    check_rate_shape(rate, weights.shape)
    check_scaling(scaling)
    if scaling == "inverted":
        return apply_mask(weights, jnp.ones_like(weights, bool), keep=1 - rate)
    weights = jnp.asarray(weights)
    return weights if isinstance(rate, float) else nan_where(1 - rate, weights)


def _leaf_key(
    key: KeyLike, name: str, rate: RateLike, deterministic: bool
) -> Key[Array, ""] | None:
    """The key with which `dropconnect` drops the leaf of that name, or None."""
    drawn = is_drawn(rate, deterministic)
    return leaf_keys(check_key(key), [name])[0] if drawn else None
