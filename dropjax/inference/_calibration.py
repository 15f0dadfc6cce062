"""How well predicted probabilities of classes agree with what is observed."""

import dataclasses
import functools
from typing import Literal, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int, Real

from dropjax._checks import (
    check_class_outputs,
    check_class_predictions,
    check_count,
    check_example_weights,
    check_labels,
    check_probabilities,
)
from dropjax.functional.weights._samples import averaged_dtype

ClassOutputs: TypeAlias = Literal["probabilities", "logits"]
Weights: TypeAlias = Real[Array, "*shape"] | Bool[Array, "*shape"]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Reliability:
    """The data of a reliability diagram: one value for each bin of confidence.

    Bin m of M, numbered from 1, holds the examples with a confidence in
    ((m - 1) / M, m / M]. Where it holds none, all values are 0.

    Attributes:
      confidence: the mean probability of the predicted class.
      accuracy: the share of the examples whose predicted class is the label.
      share: the share of all examples that the bin holds.
    """

    confidence: Float[Array, "bins"]
    accuracy: Float[Array, "bins"]
    share: Float[Array, "bins"]

    @property
    def expected_calibration_error(self) -> Float[Array, ""]:
        """The mean distance of accuracy and confidence over all examples."""
        return (self.share * jnp.abs(self.accuracy - self.confidence)).sum()


def expected_calibration_error(
    predictions: Float[Array, "..."],
    labels: Int[Array, "*shape"],
    *,
    outputs: ClassOutputs,
    num_bins: int = 15,
    sample_axis: int | None = None,
    weights: Weights | None = None,
) -> Float[Array, ""]:
    r"""Computes how far confidence and accuracy are apart, on average.

    $$ECE = \sum_{m=1}^{M} \frac{|B_m|}{N}
        \left| \text{acc}(B_m) - \text{conf}(B_m) \right|$$

    where $B_m$ holds the examples whose confidence, the probability of the predicted
    class, is in $((m - 1) / M, m / M]$. For the prediction of `monte_carlo`, pass its
    `mean` with `outputs="probabilities"`.

    Args:
      predictions: probabilities or logits of shape (*shape, classes), and with a
        `sample_axis` an axis of samples more.
      labels: the true class of each example, integers of shape (*shape,).
      outputs: what the predictions are: "probabilities" or "logits".
      num_bins: M, the number of bins of equal width, a positive integer.
      sample_axis: the axis of Monte Carlo samples, over which probabilities are
        averaged, also if the predictions are logits; None if there is none.
      weights: the weight of each example, 0 or more, of the shape of the labels, or a
        mask of the examples that count; None if all count. The predictions and the
        label of an example of weight 0, such as padding, may be anything.

    Returns:
      The error as a scalar, in [0, 1], in float32 or better. Under jit, it is NaN if a
      row does not hold probabilities or a label is no class; it is also NaN if all
      weights are 0.

    Raises:
      ValueError: a shape does not fit, a label is no class, rows of "probabilities" do
        not sum to 1, a weight is negative or not finite, num_bins is not positive, or
        sample_axis is out of range or the axis of the classes.
      TypeError: predictions are not real, labels not integers, or weights no array.

    Example:
      >>> from dropjax.inference import expected_calibration_error
      >>> certain = jnp.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
      >>> labels = jnp.array([0, 0, 1, 0])
      >>> ece = expected_calibration_error(certain, labels, outputs="probabilities")
      >>> assert ece == 0.25

    References:
      Naeini, Cooper and Hauskrecht, 2015, "Obtaining well calibrated probabilities
      using Bayesian binning", AAAI. Guo, Pleiss, Sun and Weinberger, 2017, "On
      calibration of modern neural networks", ICML.
    """
    return reliability(
        predictions,
        labels,
        outputs=outputs,
        num_bins=num_bins,
        sample_axis=sample_axis,
        weights=weights,
    ).expected_calibration_error


def reliability(
    predictions: Float[Array, "..."],
    labels: Int[Array, "*shape"],
    *,
    outputs: ClassOutputs,
    num_bins: int = 15,
    sample_axis: int | None = None,
    weights: Weights | None = None,
) -> Reliability:
    r"""Computes accuracy and confidence by bins of confidence, for a diagram.

    $$\text{acc}(B_m) = \frac{1}{|B_m|} \sum_{n \in B_m} [\hat{c}_n = c_n], \qquad
      \text{conf}(B_m) = \frac{1}{|B_m|} \sum_{n \in B_m} p_{n \hat{c}_n}$$

    with $\hat{c}_n$ the class of the largest probability $p_{nc}$, and the bins of
    `expected_calibration_error`. A network whose accuracy is below its confidence is
    overconfident.

    Args:
      predictions: as in `expected_calibration_error`.
      labels: the true class of each example, integers of shape (*shape,).
      outputs: what the predictions are: "probabilities" or "logits".
      num_bins: the number of bins of equal width, a positive integer.
      sample_axis: the axis of Monte Carlo samples, or None.
      weights: the weight of each example, or None.

    Returns:
      A `Reliability`, whose arrays have one value for each bin.

    Raises:
      ValueError: as for `expected_calibration_error`.
      TypeError: as for `expected_calibration_error`.

    Example:
      >>> from dropjax.inference import reliability
      >>> certain = jnp.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
      >>> labels = jnp.array([0, 0, 1, 0])
      >>> bins = reliability(certain, labels, outputs="probabilities", num_bins=4)
      >>> assert bins.share.tolist() == [0, 0, 0, 1]
      >>> assert bins.accuracy[-1] == 0.75

    References:
      Niculescu-Mizil and Caruana, 2005, "Predicting good probabilities with supervised
      learning", ICML.
    """
    count = check_count(num_bins, "num_bins")
    y, labels, weights = _checked(predictions, labels, outputs, sample_axis, weights)
    p = _probabilities(y, outputs, sample_axis)
    return _binned(p, labels, weights, count)


def negative_log_likelihood(
    predictions: Float[Array, "..."],
    labels: Int[Array, "*shape"],
    *,
    outputs: ClassOutputs,
    sample_axis: int | None = None,
    weights: Weights | None = None,
) -> Float[Array, ""]:
    r"""Computes the mean negative log-likelihood of the labels, in nats.

    $$NLL = -\frac{1}{N} \sum_n \ln \frac{1}{S} \sum_s p_{s n c_n}$$

    with $c_n$ the label of example n. With a `sample_axis`, this is the likelihood of
    the mean of the probabilities of S samples, computed from logits without loss of
    precision.

    Args:
      predictions: as in `expected_calibration_error`.
      labels: the true class of each example, integers of shape (*shape,).
      outputs: what the predictions are: "probabilities" or "logits".
      sample_axis: the axis of Monte Carlo samples, or None.
      weights: the weight of each example, or None.

    Returns:
      The mean as a scalar, 0 or more, in float32 or better; NaN as for
      `expected_calibration_error`.

    Raises:
      ValueError: as for `expected_calibration_error`.
      TypeError: as for `expected_calibration_error`.

    Example:
      >>> from dropjax.inference import negative_log_likelihood
      >>> logits, labels = jnp.zeros((5, 10)), jnp.arange(5)
      >>> nll = negative_log_likelihood(logits, labels, outputs="logits")
      >>> assert jnp.allclose(nll, jnp.log(10.0))

    References:
      Gneiting and Raftery, 2007, "Strictly proper scoring rules, prediction, and
      estimation", Journal of the American Statistical Association 102.
    """
    y, labels, weights = _checked(predictions, labels, outputs, sample_axis, weights)
    return _mean_nll(y, labels, weights, outputs, sample_axis)


def brier_score(
    predictions: Float[Array, "..."],
    labels: Int[Array, "*shape"],
    *,
    outputs: ClassOutputs,
    sample_axis: int | None = None,
    weights: Weights | None = None,
) -> Float[Array, ""]:
    r"""Computes the mean squared distance of probabilities and labels.

    $$BS = \frac{1}{N} \sum_n \sum_c (p_{nc} - [c = c_n])^2$$

    with $c_n$ the label of example n. This is Brier's original score over all classes,
    from 0 to 2: with two classes it is twice the score of one of them.

    Args:
      predictions: as in `expected_calibration_error`.
      labels: the true class of each example, integers of shape (*shape,).
      outputs: what the predictions are: "probabilities" or "logits".
      sample_axis: the axis of Monte Carlo samples, or None.
      weights: the weight of each example, or None.

    Returns:
      The mean as a scalar, in [0, 2], in float32 or better; NaN as for
      `expected_calibration_error`.

    Raises:
      ValueError: as for `expected_calibration_error`.
      TypeError: as for `expected_calibration_error`.

    Example:
      >>> from dropjax.inference import brier_score
      >>> p, labels = jnp.array([[0.75, 0.25], [0.75, 0.25]]), jnp.array([0, 1])
      >>> score = brier_score(p, labels, outputs="probabilities")
      >>> assert score == (0.125 + 1.125) / 2

    References:
      Brier, 1950, "Verification of forecasts expressed in terms of probability",
      Monthly Weather Review 78.
    """
    y, labels, weights = _checked(predictions, labels, outputs, sample_axis, weights)
    return _mean_brier(_probabilities(y, outputs, sample_axis), labels, weights)


def _checked(
    predictions: Float[Array, "..."],
    labels: Int[Array, "*shape"],
    outputs: ClassOutputs,
    sample_axis: int | None,
    weights: Weights | None,
) -> tuple[Float[Array, "..."], Int[Array, "*shape"], Float[Array, "*shape"]]:
    """Arrays in float32 or better: neutral where nothing counts, NaN where invalid."""
    check_class_outputs(outputs)
    shape = check_class_predictions(predictions, sample_axis)
    classes = predictions.shape[-1]
    y = jnp.asarray(predictions, averaged_dtype(predictions.dtype))
    weights = check_example_weights(weights, shape, y.dtype)
    labels, are_classes = check_labels(labels, shape, classes, weights != 0)
    counted, valid = (
        seen[..., None] if sample_axis is None else _beside(seen, sample_axis, y.ndim)
        for seen in (weights != 0, are_classes)
    )
    y = jnp.where(counted, y, 1 / classes)
    if outputs == "probabilities":
        valid = valid & check_probabilities(y, "outputs='logits' for logits")[..., None]
    return jnp.where(valid, y, jnp.nan), labels, weights


def _beside(
    seen: Bool[Array, "*shape"], sample_axis: int, ndim: int
) -> Bool[Array, "..."]:
    """With axes of size 1 for the samples and the classes."""
    return jnp.expand_dims(seen[..., None], sample_axis % ndim)


@functools.partial(jax.jit, static_argnums=(1, 2))
def _probabilities(
    y: Float[Array, "..."], outputs: ClassOutputs, sample_axis: int | None
) -> Float[Array, "*shape classes"]:
    p = jax.nn.softmax(y) if outputs == "logits" else y
    return p if sample_axis is None else p.mean(sample_axis)


@functools.partial(jax.jit, static_argnums=3)
def _binned(
    p: Float[Array, "*shape classes"],
    labels: Int[Array, "*shape"],
    weights: Float[Array, "*shape"],
    count: int,
) -> Reliability:
    confidence, right = p.max(-1), p.argmax(-1) == labels
    place = jnp.ceil(confidence * np.asarray(count, p.dtype)).astype(jnp.int32) - 1
    place = jnp.clip(place, 0, count - 1)
    inside = place[..., None] == lax.broadcasted_iota(
        jnp.int32, (*place.shape, count), place.ndim
    )

    def total(values: Float[Array, "*shape"]) -> Float[Array, "bins"]:
        each = jnp.where(inside, (weights * values)[..., None], 0)
        return each.sum(tuple(range(place.ndim)))

    held = total(jnp.ones_like(confidence))
    some = jnp.where(held == 0, 1, held)
    return Reliability(
        confidence=total(confidence) / some,
        accuracy=total(right.astype(p.dtype)) / some,
        share=held / held.sum(),
    )


@functools.partial(jax.jit, static_argnums=(3, 4))
def _mean_nll(
    y: Float[Array, "..."],
    labels: Int[Array, "*shape"],
    weights: Float[Array, "*shape"],
    outputs: ClassOutputs,
    sample_axis: int | None,
) -> Float[Array, ""]:
    if outputs == "probabilities" or sample_axis is None:
        p = y if sample_axis is None else y.mean(sample_axis)
        logs = jnp.log(p) if outputs == "probabilities" else jax.nn.log_softmax(p)
    else:
        logs = jax.nn.logsumexp(jax.nn.log_softmax(y), sample_axis)
        logs = logs - np.asarray(np.log(y.shape[sample_axis]), logs.dtype)
    own = jnp.take_along_axis(logs, labels[..., None], -1)[..., 0]
    return -(weights * own).sum() / weights.sum()


@jax.jit
def _mean_brier(
    p: Float[Array, "*shape classes"],
    labels: Int[Array, "*shape"],
    weights: Float[Array, "*shape"],
) -> Float[Array, ""]:
    truth = jax.nn.one_hot(labels, p.shape[-1], dtype=p.dtype)
    return (weights * ((p - truth) ** 2).sum(-1)).sum() / weights.sum()
