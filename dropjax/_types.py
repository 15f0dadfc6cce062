"""Type aliases of the signatures: keys, rates, axes and options."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypeVar

import numpy as np
from jaxtyping import Array, ArrayLike, Float, Key, UInt32

if TYPE_CHECKING:
    # Type checkers cannot resolve jaxtyping's PyTree, and pyright's strict mode reports
    # it.
    PyTree: TypeAlias = Any
else:
    from jaxtyping import PyTree as PyTree

Tree = TypeVar("Tree")
"""A tree that is returned with the same structure."""

KeyLike: TypeAlias = Key[Array, ""] | UInt32[Array, "words"] | None
"""A typed or raw PRNG key, or None if nothing is drawn."""

RateLike: TypeAlias = (
    float | np.floating[Any] | Float[Array, "..."] | Float[np.ndarray, "..."]
)
"""The probability of dropping: a Python number, or an array of probabilities."""

Fill: TypeAlias = ArrayLike | Sequence[float] | Literal["random"]
"""The value of dropped elements: a number, one per channel, an array, or noise."""

SpanFill: TypeAlias = ArrayLike | Literal["mean"]
"""The value of masked spans: a number, an array, or the mean of the example."""

Axes: TypeAlias = int | Sequence[int]

Scaling: TypeAlias = Literal["inverted", "standard"]

DropPathScaling: TypeAlias = Scaling | Literal["none"]
"""What is scaled: kept values in training, all values after training, or nothing."""

MaskPer: TypeAlias = int | Literal["batch", "example"]
"""Which examples share a mask of the weights: all, none, or groups of this size."""

Noise: TypeAlias = Literal["bernoulli", "gaussian"]
"""How weights are dropped: by masks, or by the Gaussian noise that approximates it."""

Inference: TypeAlias = Literal["mean", "gaussian", "monte_carlo"]
"""How a layer computes its output where nothing is dropped."""

Outputs: TypeAlias = Literal["values", "probabilities", "logits"]
"""The outputs of a model: any values, or classes in one of two forms."""

DropPathMode: TypeAlias = Literal["row", "batch"]
"""Whether each example has its own mask entry, or the batch has one."""
