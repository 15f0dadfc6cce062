"""Monte-Carlo dropout: many passes, masks of their own, and their statistics."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Inexact, Key, PyTree

from dropjax._checks import (
    check_classes,
    check_count,
    check_flag,
    check_function,
    check_key,
)
from dropjax._types import KeyLike
from dropjax.functional._samples import averaged_dtype


class Prediction(NamedTuple):
    """What many passes say together; every field has the structure of one pass.

    Attributes:
      mean: over the passes.
      variance: over the passes, the unbiased estimate; 0 for one pass.
      entropy: of the mean probabilities, in nats: all of the uncertainty. None unless
        asked for, without the axis of the classes.
      mutual_information: between the class and the masks, in nats: the entropy less
        the mean entropy of a pass. It is the part that the passes disagree about.
    """

    mean: PyTree
    variance: PyTree
    entropy: PyTree | None = None
    mutual_information: PyTree | None = None


class _Summary(NamedTuple):
    """Of some passes: their number, mean, squared deviations and mean entropy."""

    number: Float[Array, ""]
    mean: Inexact[Array, "*shape"]
    squares: Float[Array, "*shape"]
    entropy: Float[Array, "..."] | None


def monte_carlo(
    apply_fn: Callable[..., PyTree],
    num_samples: int,
    *,
    batch_size: int = 1,
    probabilities: bool = False,
) -> Callable[..., Prediction]:
    r"""Predicts with many passes of a stochastic function, each with a key of its own.

    $$\bar{y} = \frac{1}{S} \sum_{s=1}^{S} f(k_s, x), \qquad
      H = -\sum_c \bar{y}_c \ln \bar{y}_c, \qquad
      I = H + \frac{1}{S} \sum_{s, c} y_{sc} \ln y_{sc}$$

    Passes run in batches under `vmap`, and the batches one after the other, merged as
    they come: the memory is that of `batch_size` passes, whatever S is. Statistics are
    made in float32 or better. Jit what it returns.

    Args:
      apply_fn: f, called as `apply_fn(key, *args, **kwargs)`, with dropping on. It may
        return a tree of arrays.
      num_samples: S, 1 or more.
      batch_size: how many passes run at once. If it does not divide S, the passes left
        over are compiled once more.
      probabilities: whether outputs are class probabilities along their last axis, so
        that there are entropies.

    Returns:
      A function of (key, *args, **kwargs), which returns a `Prediction`.

    Raises:
      ValueError: `num_samples` or `batch_size` is not positive, there is no key, or
        `probabilities` are asked for where there are no classes.
      TypeError: `apply_fn` is no function, or `probabilities` no flag.

    Example:
      >>> def apply(key, x):
      ...     return jax.nn.softmax(dropjax.dropout(key, x, 0.5))
      >>> predict = jax.jit(monte_carlo(apply, 20, probabilities=True))
      >>> prediction = predict(key, jnp.ones((4, 3)))
      >>> assert prediction.mean.shape == (4, 3)
      >>> assert (prediction.mutual_information <= prediction.entropy).all()

    References:
      Gal and Ghahramani, 2016, "Dropout as a Bayesian approximation: representing model
      uncertainty in deep learning", ICML.
      Chan, Golub and LeVeque, 1983, "Algorithms for computing the sample variance",
      The American Statistician 37, for the merging.
    """
    check_function(apply_fn, "apply_fn", "a key and of what else it is called with")
    probabilities = check_flag(probabilities, "probabilities")
    num_samples = check_count(num_samples, "num_samples")
    size = min(check_count(batch_size, "batch_size"), num_samples)
    whole = num_samples // size * size

    def predict(key: KeyLike, *args: Any, **kwargs: Any) -> Prediction:
        keys = jax.random.split(check_key(key), num_samples)

        def passes(keys: Key[Array, " passes"]) -> PyTree:
            return jax.vmap(lambda key: apply_fn(key, *args, **kwargs))(keys)

        def summaries(keys: Key[Array, " passes"]) -> list[_Summary]:
            leaves = jax.tree.leaves(passes(keys))
            return [_summarized(leaf, probabilities) for leaf in leaves]

        def step(
            so_far: list[_Summary], keys: Key[Array, " passes"]
        ) -> tuple[list[_Summary], None]:
            return _merged(so_far, summaries(keys)), None

        batch = jax.ShapeDtypeStruct((size,), keys.dtype)
        none = jax.tree.map(jnp.zeros_like, jax.eval_shape(summaries, batch))
        found, _ = lax.scan(step, none, keys[:whole].reshape(-1, size))
        if whole < num_samples:
            found = _merged(found, summaries(keys[whole:]))
        structure = jax.tree.structure(jax.eval_shape(passes, batch))
        return _prediction(found, structure, probabilities)

    return predict


def _summarized(y: Array, probabilities: bool) -> _Summary:
    y = y.astype(averaged_dtype(y.dtype))
    # From the first pass on: where all agree the mean is what they say, be it -inf.
    mean = y[0] + _difference(y, y[:1]).mean(0)
    entropy = _entropy(check_classes(y)).mean(0) if probabilities else None
    squares = _squared(_difference(y, mean[None])).sum(0)
    return _Summary(jnp.asarray(y.shape[0], squares.dtype), mean, squares, entropy)


def _merged(first: list[_Summary], second: list[_Summary]) -> list[_Summary]:
    return [_merge(one, other) for one, other in zip(first, second, strict=True)]


def _merge(first: _Summary, second: _Summary) -> _Summary:
    """The summary of both: nothing is subtracted that is large beside the rest."""
    number = first.number + second.number
    share = second.number / number

    def mean(one: Array, other: Array) -> Array:
        part = share.astype(one.dtype)
        mixed = one * (1 - part) + other * part
        return jnp.where(one == other, other, mixed)

    difference = _difference(second.mean, first.mean)
    between = jnp.where(first.number == 0, 0, difference)
    apart = _squared(between) * (first.number * share)
    entropy = None
    if first.entropy is not None and second.entropy is not None:
        entropy = mean(first.entropy, second.entropy)
    squares = first.squares + second.squares + apart
    return _Summary(number, mean(first.mean, second.mean), squares, entropy)


def _prediction(
    found: list[_Summary], structure: Any, probabilities: bool
) -> Prediction:
    means = [one.mean for one in found]
    variances = [one.squares / jnp.maximum(one.number - 1, 1) for one in found]
    mean, variance = structure.unflatten(means), structure.unflatten(variances)
    if not probabilities:
        return Prediction(mean, variance)
    entropies = [_entropy(mean) for mean in means]
    within = [one.entropy for one in found]
    shared = [
        jnp.maximum(whole - own, 0)
        for whole, own in zip(entropies, within, strict=True)
        if own is not None
    ]
    return Prediction(
        mean, variance, structure.unflatten(entropies), structure.unflatten(shared)
    )


def _difference(y: Array, other: Array) -> Array:
    """Y less the other: nothing where they are equal, both of them infinite too."""
    return jnp.where(y == other, 0, y - other)


def _squared(y: Inexact[Array, "*shape"]) -> Float[Array, "*shape"]:
    return jnp.real(y * jnp.conj(y))


def _entropy(p: Float[Array, "*shape classes"]) -> Float[Array, "*shape"]:
    """In nats; what has no probability adds nothing, and has no gradient."""
    logs = jnp.log(jnp.where(p > 0, p, jnp.ones_like(p)))
    return -(p * logs).sum(-1)
