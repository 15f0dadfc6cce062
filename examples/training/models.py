"""The nets behind one interface, whichever library they are written in."""

import dataclasses
from collections.abc import Callable

import jax
from jaxtyping import PyTree
from ml_collections import ConfigDict

from training import models_linen, models_nnx

HOSTS = {"linen": models_linen, "nnx": models_nnx}
METHODS = {
    "mlp": ("none", "dropout", "dropconnect"),
    "cnn": ("none", "dropout", "dropconnect", "spatial"),
    "lstm": ("none", "dropout", "dropconnect"),
}


@dataclasses.dataclass(frozen=True)
class Model:
    """A net as two pure functions.

    Attributes:
      init: ``key -> params``, a tree of dicts.
      apply: ``(params, inputs, key, deterministic) -> logits``; the key may be None
        where ``deterministic`` is True.
    """

    init: Callable[[jax.Array], PyTree]
    apply: Callable[[PyTree, jax.Array, jax.Array | None, bool], jax.Array]


def build(config: ConfigDict, shape: tuple[int, ...], classes: int) -> Model:
    """Make the net of an experiment.

    Args:
      config: the settings; see `training.settings`.
      shape: the shape of one example, as ``(height, width, channels)``.
      classes: the number of logits.

    Returns:
      The net.
    """
    init, apply = HOSTS[config.host].build(config, shape, classes)
    return Model(init, apply)


def count(params: PyTree) -> int:
    """Return the number of parameters in a tree.

    Args:
      params: the tree.

    Returns:
      The number of scalars in all its leaves.
    """
    return sum(leaf.size for leaf in jax.tree.leaves(params))
