"""Predictions of classes, their labels and the weights of examples."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Int

from dropjax._checks._arrays import check_real
from dropjax._checks._axes import check_axis
from dropjax._checks._words import describe, is_array, shown, values_of


def check_class_outputs(outputs: Any) -> None:
    """What predictions are: this decides whether a softmax is applied."""
    if outputs not in ("probabilities", "logits"):
        raise ValueError(
            f"outputs must be 'probabilities' or 'logits', got {shown(outputs)}"
        )


def check_class_predictions(
    predictions: Any, sample_axis: int | None
) -> tuple[int, ...]:
    """The shape of the labels: without the axes of the classes and the samples."""
    shape = check_real(predictions, "predictions").shape
    least = 1 if sample_axis is None else 2
    if len(shape) < least or shape[-1] == 0:
        samples = "" if sample_axis is None else " and an axis of samples"
        raise ValueError(
            f"predictions must have the classes along the last axis{samples}, got "
            f"shape {shape}"
        )
    if sample_axis is None:
        return tuple(shape[:-1])
    (axis,) = check_axis(sample_axis, len(shape), "sample_axis")
    if axis == len(shape) - 1:
        raise ValueError(
            f"sample_axis must not be the last axis, that of the classes, got "
            f"{sample_axis}"
        )
    return tuple(n for place, n in enumerate(shape[:-1]) if place != axis)


def check_labels(
    labels: Any, shape: tuple[int, ...], classes: int, counted: Bool[Array, "*shape"]
) -> tuple[Int[Array, "*shape"], Bool[Array, "*shape"]]:
    """The labels, 0 where they do not count, and where they are classes."""
    if not is_array(labels) or not jnp.issubdtype(labels.dtype, np.integer):
        raise TypeError(
            f"labels must be an array of integers, the true classes, got "
            f"{describe(labels)}; use jnp.argmax for one-hot labels"
        )
    _check_shape(labels, shape, "labels")
    labels = jnp.where(counted, jnp.asarray(labels, jnp.int32), 0)
    valid = (labels >= 0) & (labels < classes)
    seen = values_of(valid)
    if seen is not None and not seen.all():
        wrong = np.asarray(labels)[~seen][0]
        raise ValueError(
            f"labels must be classes, from 0 to {classes - 1}, got {wrong}; give "
            "examples that do not count the weight 0"
        )
    return labels, valid


def check_example_weights(
    weights: Any, shape: tuple[int, ...], dtype: DTypeLike
) -> Float[Array, "*shape"]:
    """A weight for each example, a mask, or None for the weight 1."""
    if weights is None:
        return jnp.ones(shape, dtype)
    real = is_array(weights) and any(
        jnp.issubdtype(weights.dtype, kind)
        for kind in (jnp.floating, np.integer, np.bool_)
    )
    if not real:
        raise TypeError(
            "weights must be an array of real numbers, a mask or None, got "
            f"{describe(weights)}"
        )
    _check_shape(weights, shape, "weights")
    values = values_of(weights)
    if values is not None and not np.all((values >= 0) & (values < np.inf)):
        wrong = values[~((values >= 0) & (values < np.inf))][0]
        raise ValueError(f"weights must be finite and 0 or more, got {wrong}")
    return jnp.asarray(weights).astype(dtype)


def _check_shape(x: Any, shape: tuple[int, ...], name: str) -> None:
    if x.shape != shape:
        raise ValueError(
            f"{name} must have one entry for each example, shape {shape}, got shape "
            f"{x.shape}"
        )
