"""What becomes of a product when its weights are dropped: masked, or made noisy."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import DTypeLike
from jaxtyping import Array, Inexact, Key

from dropjax._apply import apply_mask, nan_where, sharded_like, single_or_wider
from dropjax._checks import (
    check_key,
    check_rate,
    check_rate_shape,
    check_real,
    check_scaling,
)
from dropjax._masks import is_drawn
from dropjax._random import leaf_keys
from dropjax._types import KeyLike, RateLike, Scaling
from dropjax.functional.activations._dropout import dropout
from dropjax.functional.weights._examples import (
    coins,
    groups_of,
    in_groups,
    mask_levels,
    masks_to_a_word,
    realized_rate,
    weight_words,
)
from dropjax.functional.weights._moments import layer_moments
from dropjax.functional.weights._rows import masked_products, masked_rows
from dropjax.functional.weights._samples import gaussian_sample


def gaussian_product(
    product: Callable[[Array, Array], Array],
    key: KeyLike,
    x: Array,
    kernel: Array,
    rate: RateLike,
    bias: Array | None,
    bias_rate: RateLike | None,
    redraw: bool,
    scaling: Scaling,
) -> Array:
    """The product, its sums of dropped weights replaced by Gaussians alike."""
    check_real(x)

    def forward(key: Key[Array, ""], x: Array, kernel: Array) -> Array:
        moments = layer_moments(product, x, kernel, rate, bias, bias_rate, scaling)
        return gaussian_sample(key, *moments)

    return (jax.checkpoint(forward) if redraw else forward)(check_key(key), x, kernel)


def masked_product(
    product: Callable[[Array, Array], Array],
    key: KeyLike,
    x: Array,
    kernel: Array,
    rate: RateLike,
    redraw: bool,
    scaling: Scaling,
    deterministic: bool,
) -> Array:
    """The product with the masked kernel, which `redraw` makes anew to go back."""

    def forward(key: KeyLike, x: Array, kernel: Array) -> Array:
        masked = dropout(
            key, kernel, rate, scaling=scaling, deterministic=deterministic
        )
        return product(x, masked)

    own = _own_key(key, "kernel", rate, deterministic)
    # The barrier is wanted here: without it CSE keeps the masked kernel after all.
    return (jax.checkpoint(forward) if redraw else forward)(own, x, kernel)


def streamed_rows(
    key: KeyLike,
    x: Array,
    kernel: Array,
    rate: RateLike,
    scaling: Scaling,
    preferred_element_type: DTypeLike | None,
) -> Array:
    """Every example's product with its own masked kernel, which is never stored."""
    dtype = jnp.dtype(preferred_element_type or x.dtype)
    wide = single_or_wider(dtype)

    def forward(
        key: Key[Array, ""], x: Array, kernel: Array, rate: RateLike = rate
    ) -> Array:
        rows = in_groups(jnp.atleast_2d(x).astype(wide), 1)[:, :, 0]
        weights = _scaled(kernel, rate, scaling).astype(wide)
        y = masked_rows(key, rows, weights, mask_levels(rate)).astype(dtype)
        y = lax.collapse(y, 0, 2)
        return y[: x.shape[0]] if x.ndim > 1 else y[0]

    own = leaf_keys(check_key(key), ["kernel"])[0]
    return sharded_like(x, forward, x.ndim - 1)(own, x, kernel, *_traced(rate))


def own_products(
    product: Callable[[Array, Array], Array],
    key: KeyLike,
    x: Array,
    kernel: Array,
    rate: RateLike,
    share: int,
    redraw: bool,
    scaling: Scaling,
    batched: bool,
) -> Array:
    """The products of so many examples each with their masked kernels.

    With `redraw` the product must be hashable, as `Fixed` ones are.
    """
    own = leaf_keys(check_key(key), ["kernel"])[0]
    form = _Form(product, None if _traced(rate) else rate, share, scaling, batched)
    multiply = _redrawn_products if redraw else _products
    return multiply(form, own, x, kernel, *_traced(rate))


class _Form(NamedTuple):
    """What is known of products with masks of their own before they are traced."""

    product: Callable[[Array, Array], Array]
    rate: RateLike | None
    share: int
    scaling: Scaling
    batched: bool


def _products(
    form: _Form,
    key: Key[Array, ""],
    x: Array,
    kernel: Array,
    *traced: RateLike,
    wrap: Callable[..., Any] = lambda function: function,
) -> Array:
    def forward(
        key: Key[Array, ""], x: Array, kernel: Array, *traced: RateLike
    ) -> Array:
        rate = traced[0] if form.rate is None else form.rate
        examples = in_groups(x if form.batched else x[None], form.share)
        weights = _scaled(kernel, rate, form.scaling)
        levels = mask_levels(rate)
        y = masked_products(form.product, key, examples, weights, levels)
        y = lax.collapse(y, 0, 3)
        return y[: x.shape[0]] if form.batched else y[0]

    return sharded_like(x, wrap(forward), int(form.batched))(key, x, kernel, *traced)


_redrawn_products = jax.jit(
    functools.partial(_products, wrap=jax.checkpoint), static_argnums=0
)


def _traced(rate: RateLike) -> tuple[RateLike, ...]:
    """A rate that is an array, to be handed over; a number is known."""
    return () if isinstance(rate, float) else (rate,)


def _scaled(weights: Array, rate: RateLike, scaling: Scaling) -> Array:
    """The weights as they are where they are kept."""
    check_rate_shape(rate, weights.shape)
    check_scaling(scaling)
    if scaling == "inverted":
        return apply_mask(weights, jnp.ones_like(weights, bool), keep=1 - rate)
    weights = jnp.asarray(weights)
    return weights if isinstance(rate, float) else nan_where(1 - rate, weights)


def settled(rate: RateLike, name: str, share: int | None) -> RateLike:
    """The rate that is met: for masks of their own, to 16 bits."""
    rate = check_rate(rate, name)
    return rate if share is None else realized_rate(rate)


def add_bias(
    y: Array,
    key: KeyLike,
    bias: Array | None,
    rate: RateLike | None,
    share: int | None,
    batched: bool,
    scaling: Scaling,
    deterministic: bool,
) -> Array:
    if bias is None:
        return y
    if rate is not None:
        rate = settled(rate, "bias_rate", share)
        check_rate_shape(rate, bias.shape, "bias_rate")
        own = _own_key(key, "bias", rate, deterministic)
        if share is not None and own is not None:
            examples = y.shape[0] if batched else 1
            biases = _own_biases(own, bias, rate, scaling, examples, share)
            between = (1,) * (y.ndim - (2 if batched else 1))
            biases = biases.reshape(*biases.shape[: int(batched)], *between, bias.size)
            return y + biases.astype(y.dtype)
        bias = dropout(own, bias, rate, scaling=scaling, deterministic=deterministic)
    return y + bias.astype(y.dtype).reshape((1,) * (y.ndim - 1) + (-1,))


def _own_biases(
    key: Key[Array, ""],
    bias: Array,
    rate: RateLike,
    scaling: Scaling,
    examples: int,
    share: int,
) -> Inexact[Array, "examples features_out"]:
    words = weight_words(key, mask_levels(rate), groups_of(examples, share), bias.shape)
    mask = lax.collapse(coins(words, masks_to_a_word(examples, share)), 0, 2)
    mask = jnp.repeat(mask, share, axis=0)[:examples]
    scaled = jnp.broadcast_to(_scaled(bias, rate, scaling), mask.shape)
    return apply_mask(scaled, mask)


def _own_key(
    key: KeyLike, name: str, rate: RateLike, deterministic: bool
) -> Key[Array, ""] | None:
    """The key with which `dropconnect` drops the leaf of that name, where one is."""
    drawn = is_drawn(rate, deterministic)
    return leaf_keys(check_key(key), [name])[0] if drawn else None
