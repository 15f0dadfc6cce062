"""The words of the signatures: what a key, a rate and an axis may be."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypeVar

import numpy as np
from jaxtyping import Array, ArrayLike, Float, Key, UInt32

if TYPE_CHECKING:
    # Type checkers cannot resolve jaxtyping's, and pyright's strict mode complains.
    PyTree: TypeAlias = Any
else:
    from jaxtyping import PyTree as PyTree

Tree = TypeVar("Tree")
"""A tree that comes back with the structure that it had."""

KeyLike: TypeAlias = Key[Array, ""] | UInt32[Array, "words"] | None
"""A typed key, a raw one, or None where nothing is drawn."""

RateLike: TypeAlias = (
    float | np.floating[Any] | Float[Array, "..."] | Float[np.ndarray, "..."]
)
"""The probability of dropping: a Python number, or an array of them."""

Fill: TypeAlias = ArrayLike | Sequence[float] | Literal["random"]
"""What takes dropped places: a number, one for each channel, an array, or noise."""

Axes: TypeAlias = int | Sequence[int]

Scaling: TypeAlias = Literal["inverted", "standard"]

DropPathScaling: TypeAlias = Scaling | Literal["none"]
"""What is scaled: survivors in training, everything after it, or nothing."""

MaskPer: TypeAlias = int | Literal["batch", "example"]
"""Who shares a mask of the weights: all examples, none, or so many."""

Noise: TypeAlias = Literal["bernoulli", "gaussian"]
"""What drops weights: masks, or the Gaussian noise that many of them come to."""

Inference: TypeAlias = Literal["mean", "gaussian", "monte_carlo"]
"""What a layer answers where nothing is dropped."""

Outputs: TypeAlias = Literal["values", "probabilities", "logits"]
"""What the passes of a model give: anything, or one of two forms of classes."""

DropPathMode: TypeAlias = Literal["row", "batch"]
"""Whether each example tosses a coin, or the batch tosses one."""
