"""All networks behind one interface, independent of their library."""

import dataclasses
from collections.abc import Callable

import jax
from jaxtyping import PyTree
from ml_collections import ConfigDict

from training import (
    decoder,
    models_linen,
    models_nnx,
    perceptron,
    residual,
    transformer,
)

HOSTS = {"linen": models_linen, "nnx": models_nnx}
METHODS = {
    "mlp": ("none", "dropout", "dropconnect", "multi_sample"),
    "cnn": ("none", "dropout", "dropconnect", "spatial", "multi_sample"),
    "lstm": ("none", "dropout", "dropconnect"),
    "perceptron": perceptron.METHODS,
    "residual": residual.METHODS,
    "transformer": transformer.METHODS,
    "decoder": decoder.METHODS,
}
# Networks that exist in only one of the libraries.
_HOST_OF = {
    "perceptron": "linen",
    "residual": "linen",
    "transformer": "nnx",
    "decoder": "linen",
}


@dataclasses.dataclass(frozen=True)
class Model:
    """A network as two pure functions.

    Attributes:
      init: ``key -> params``, a tree of dicts.
      apply: ``(params, inputs, key, deterministic, step=None) -> logits``; the key may
        be None if ``deterministic`` is True. The step sets scheduled rates; without it
        their schedule is over. With multi-sample dropout the logits have a first axis
        of samples in training.
    """

    init: Callable[[jax.Array], PyTree]
    apply: Callable[..., jax.Array]


def build(config: ConfigDict, shape: tuple[int, ...], classes: int) -> Model:
    """Build the network of an experiment.

    Args:
      config: the settings; see `training.settings`.
      shape: the shape of one example, such as ``(height, width, channels)``.
      classes: the number of logits.

    Returns:
      The network.
    """
    init, apply = HOSTS[config.host].build(config, shape, classes)
    return Model(init, apply)


def hosts_of(model: str) -> tuple[str, ...]:
    """Return the libraries in which a network is available.

    Args:
      model: a name in `METHODS`.

    Returns:
      Names in `HOSTS`.
    """
    return (_HOST_OF[model],) if model in _HOST_OF else tuple(HOSTS)


def count(params: PyTree) -> int:
    """Return the number of parameters in a tree.

    Args:
      params: the tree.

    Returns:
      The total size of all leaves.
    """
    return sum(leaf.size for leaf in jax.tree.leaves(params))
