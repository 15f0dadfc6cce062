"""Monte Carlo dropout: many passes with independent masks, and their statistics."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, Generic, Literal, NamedTuple, overload

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Inexact, Key

from dropjax._checks import (
    check_choice,
    check_classes,
    check_count,
    check_flag,
    check_function,
    check_key,
    check_probabilities,
    warn_of_equal_passes,
)
from dropjax._loops import scan
from dropjax._types import KeyLike, Outputs, PyTree, Tree
from dropjax.functional.weights._samples import averaged_dtype, deviation


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Prediction(Generic[Tree]):
    """The statistics of many passes; every field has the structure of one pass.

    Attributes:
      mean: the mean over the passes.
      variance: the unbiased estimate of the variance over the passes; 0 for one pass.
      samples: the outputs of all passes, stacked along a new first axis, or None unless
        requested.
    """

    mean: Tree
    variance: Tree
    samples: Tree | None = None

    @property
    def stddev(self) -> Tree:
        """The standard deviation over the passes."""
        stddev: Tree = jax.tree.map(deviation, self.variance)
        return stddev


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class ClassPrediction(Prediction[Tree]):
    """A prediction of classes, with the mean and the variance of their probabilities.

    Attributes:
      entropy: the entropy of the mean probabilities, in nats: the total uncertainty.
        Entropies do not have the axis of the classes.
      expected_entropy: the mean entropy of a pass: the part that does not depend on the
        masks, for example where classes overlap.
    """

    entropy: Tree
    expected_entropy: Tree

    @property
    def mutual_information(self) -> Tree:
        """The mutual information of class and mask: how much the passes disagree."""
        shared: Tree = jax.tree.map(
            lambda whole, own: jnp.maximum(whole - own, 0),
            self.entropy,
            self.expected_entropy,
        )
        return shared


class _Summary(NamedTuple):
    """The number, mean, squared deviations and mean entropy of some passes."""

    number: Float[Array, ""]
    mean: Inexact[Array, "*shape"]
    squares: Float[Array, "*shape"]
    entropy: Float[Array, "..."] | None


@overload
def monte_carlo(
    apply_fn: Callable[..., Tree],
    num_samples: int,
    *,
    batch_size: int = 1,
    outputs: Literal["values"] = "values",
    keep_samples: bool = False,
) -> Callable[..., Prediction[Tree]]: ...


@overload
def monte_carlo(
    apply_fn: Callable[..., Tree],
    num_samples: int,
    *,
    batch_size: int = 1,
    outputs: Literal["probabilities", "logits"],
    keep_samples: bool = False,
) -> Callable[..., ClassPrediction[Tree]]: ...


def monte_carlo(
    apply_fn: Callable[..., Any],
    num_samples: int,
    *,
    batch_size: int = 1,
    outputs: Outputs = "values",
    keep_samples: bool = False,
) -> Callable[..., Any]:
    r"""Predicts with many passes of a stochastic function, each with its own key.

    $$\bar{y} = \frac{1}{S} \sum_{s=1}^{S} f(k_s, x), \qquad
      H = -\sum_c \bar{y}_c \ln \bar{y}_c, \qquad
      I = H + \frac{1}{S} \sum_{s, c} y_{sc} \ln y_{sc}$$

    Passes run in batches under `vmap`, and the batches run one after the other and are
    merged on the fly, so that the memory is that of `batch_size` passes for any S.
    Statistics are computed in float32 or better.

    Jit the returned function to get a single program. Without jit it runs the passes in
    a Python loop, which compiles nothing beyond what `apply_fn` compiles itself.

    Args:
      apply_fn: f, called as `apply_fn(key, *args, **kwargs)`, with dropping enabled. It
        may return a tree of arrays. A warning is issued if the outputs do not depend on
        the key.
      num_samples: S, a positive integer.
      batch_size: how many passes run at once. If it does not divide S, the remaining
        passes are compiled separately.
      outputs: what f returns: "values" of any kind; or class "probabilities" or
        "logits" along the last axis, for which entropies are computed as well. For
        logits, a softmax is applied first, and all statistics are those of the
        probabilities.
      keep_samples: whether to return the outputs of all passes too, as returned by f.
        This takes the memory of S outputs.

    Returns:
      A function of (key, *args, **kwargs) that returns a `Prediction`, or for classes a
      `ClassPrediction`. Under jit, the entropies of rows that are not probabilities are
      NaN.

    Raises:
      ValueError: `num_samples` or `batch_size` is not positive, the key is missing,
        `outputs` is unknown, there is no class axis, or "probabilities" do not sum to
        1.
      TypeError: `apply_fn` is not a function, or `keep_samples` is not a bool.

    Example:
      >>> def apply(key, x):
      ...     return dropjax.dropout(key, x, 0.5)
      >>> predict = jax.jit(monte_carlo(apply, 20, outputs="logits"))
      >>> prediction = predict(key, jnp.ones((4, 3)))
      >>> assert jnp.allclose(prediction.mean.sum(-1), 1)
      >>> assert (prediction.mutual_information <= prediction.entropy).all()

    References:
      Gal and Ghahramani, 2016, "Dropout as a Bayesian approximation: representing model
      uncertainty in deep learning", ICML.
      Depeweg, Hernandez-Lobato, Doshi-Velez and Udluft, 2018, "Decomposition of
      uncertainty in Bayesian deep learning", ICML, for the parts of the entropy.
      Chan, Golub and LeVeque, 1983, "Algorithms for computing the sample variance",
      The American Statistician 37, for the merging.
    """
    check_function(apply_fn, "apply_fn", "a key and of what else it is called with")
    check_choice(outputs, "outputs")
    keep_samples = check_flag(keep_samples, "keep_samples")
    num_samples = check_count(num_samples, "num_samples")
    size = min(check_count(batch_size, "batch_size"), num_samples)
    whole = num_samples // size * size

    def predict(key: KeyLike, *args: Any, **kwargs: Any) -> Prediction[Any]:
        keys = jax.random.split(check_key(key), num_samples)
        one = functools.partial(_called, apply_fn, args, kwargs)
        passes = jax.vmap(one)
        batch = jax.ShapeDtypeStruct((size,), keys.dtype)
        if num_samples > 1 and _are_equal(one, batch):
            warn_of_equal_passes(num_samples)

        def step(
            so_far: list[_Summary], keys: Key[Array, " passes"]
        ) -> tuple[list[_Summary], PyTree]:
            y = passes(keys)
            return _merged(so_far, _summaries(y, outputs)), y if keep_samples else None

        like = jax.eval_shape(passes, batch)
        none = jax.eval_shape(functools.partial(_summaries, outputs=outputs), like)
        start = jax.tree.map(jnp.zeros_like, none)
        found, samples = scan(step, start, keys[:whole].reshape(-1, size))
        samples = jax.tree.map(lambda y: y.reshape(-1, *y.shape[2:]), samples)
        if whole < num_samples:
            found, rest = step(found, keys[whole:])
            samples = jax.tree.map(lambda *y: jnp.concatenate(y), samples, rest)
        given = {"samples": samples} if keep_samples else {}
        return _prediction(found, jax.tree.structure(like), outputs, **given)

    return predict


def _called(
    apply_fn: Callable[..., PyTree],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    key: Key[Array, ""],
) -> PyTree:
    return apply_fn(key, *args, **kwargs)


def _are_equal(one: Callable[..., PyTree], keys: Any) -> bool:
    """Whether passes with different keys are equal, as `vmap` can tell."""
    try:
        jax.eval_shape(jax.vmap(one, out_axes=None), keys)
    except ValueError:
        return False
    return True


def _summaries(y: PyTree, outputs: Outputs) -> list[_Summary]:
    return [_summarized(leaf, outputs) for leaf in jax.tree.leaves(y)]


@functools.partial(jax.jit, static_argnames="outputs")
def _summarized(y: Array, outputs: Outputs) -> _Summary:
    if outputs != "values":
        check_classes(y, outputs)
    y = y.astype(averaged_dtype(y.dtype))
    if outputs == "logits":
        y = jax.nn.softmax(y)
    # Relative to the first pass, so that where all agree the mean is exact, even -inf.
    mean = y[0] + _difference(y, y[:1]).mean(0)
    entropy = None if outputs == "values" else _entropy(y).mean(0)
    squares = _squared(_difference(y, mean[None])).sum(0)
    return _Summary(jnp.asarray(y.shape[0], squares.dtype), mean, squares, entropy)


@jax.jit
def _merged(first: list[_Summary], second: list[_Summary]) -> list[_Summary]:
    return [_merge(one, other) for one, other in zip(first, second, strict=True)]


def _merge(first: _Summary, second: _Summary) -> _Summary:
    """Merges two summaries without subtracting large numbers from each other."""
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
    found: list[_Summary], structure: Any, outputs: Outputs, **samples: PyTree
) -> Prediction[Any]:
    means = [one.mean for one in found]
    variances = [one.squares / jnp.maximum(one.number - 1, 1) for one in found]
    trees = {
        "mean": structure.unflatten(means),
        "variance": structure.unflatten(variances),
        **samples,
    }
    if outputs == "values":
        return Prediction(**trees)
    entropies = [(_entropy(one.mean), one.entropy) for one in found]
    if outputs == "probabilities":
        seen = [check_probabilities(mean) for mean in means]
        entropies = [
            jax.tree.map(
                lambda part, right=right: jnp.where(right, part, jnp.nan), both
            )
            for right, both in zip(seen, entropies, strict=True)
        ]
    return ClassPrediction(
        entropy=structure.unflatten([whole for whole, _ in entropies]),
        expected_entropy=structure.unflatten([within for _, within in entropies]),
        **trees,
    )


def _difference(y: Array, other: Array) -> Array:
    """Y minus the other, and 0 where they are equal, even if both are infinite."""
    return jnp.where(y == other, 0, y - other)


def _squared(y: Inexact[Array, "*shape"]) -> Float[Array, "*shape"]:
    return jnp.real(y * jnp.conj(y))


def _entropy(p: Float[Array, "*shape classes"]) -> Float[Array, "*shape"]:
    """The entropy in nats; zero probabilities add nothing, and have no gradient."""
    logs = jnp.log(jnp.where(p == 0, jnp.ones_like(p), p))
    return -(p * logs).sum(-1)
