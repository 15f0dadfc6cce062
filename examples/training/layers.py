"""What the layers of a net are made with, the same in Linen and NNX."""

import dataclasses
from collections.abc import Callable
from typing import Any, Literal

import jax
from ml_collections import ConfigDict

ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "relu": jax.nn.relu,
    "sigmoid": jax.nn.sigmoid,
    "tanh": jax.nn.tanh,
}


@dataclasses.dataclass(frozen=True)
class Style:
    """How the layers start, what follows them, and which of them drop, and how.

    Attributes:
      method: the method that drops; all others are at rate 0.
      rate: its rate.
      scaling: "inverted" or "standard".
      mask_per: who shares a mask of DropConnect.
      noise: of DropConnect, "bernoulli" masks or "gaussian".
      drop_biases: whether DropConnect drops biases too.
      activation: a name in `ACTIVATIONS`.
      init_deviation: the standard deviation of the first weights; 0: as flax has it.
    """

    method: str
    rate: float
    scaling: Literal["inverted", "standard"]
    mask_per: Literal["batch", "example"] | int
    noise: Literal["bernoulli", "gaussian"]
    drop_biases: bool
    activation: str
    init_deviation: float

    def rate_of(self, method: str) -> float:
        """Return the rate of a method: 0 for all but the one that was chosen."""
        return self.rate if self.method == method else 0.0

    def activate(self, x: jax.Array) -> jax.Array:
        """Return the activation of an array."""
        return ACTIVATIONS[self.activation](x)

    def kernel_init(self) -> Callable[..., jax.Array]:
        """Return the initializer of the weights."""
        if self.init_deviation:
            return jax.nn.initializers.normal(self.init_deviation)
        return jax.nn.initializers.lecun_normal()

    def dropconnect(self) -> dict[str, Any]:
        """Return the options of a layer whose weights DropConnect drops."""
        rate = self.rate_of("dropconnect")
        return {
            "rate": rate,
            "bias_rate": rate if self.drop_biases else None,
            "mask_per": self.mask_per,
            "noise": self.noise,
            "scaling": self.scaling,
            "kernel_init": self.kernel_init(),
        }

    def dropout(self, method: str = "dropout") -> dict[str, Any]:
        """Return the options of a layer that drops activations."""
        return {"rate": self.rate_of(method), "scaling": self.scaling}


def style(config: ConfigDict) -> Style:
    """Return what an experiment's layers are made with.

    Args:
      config: the settings; see `training.settings`.

    Returns:
      The style.
    """
    shares = {0: "batch", 1: "example"}
    return Style(
        method=config.method,
        rate=config.rate,
        scaling=config.scaling,
        mask_per=shares.get(config.mask_per, config.mask_per),
        noise=config.noise,
        drop_biases=config.drop_biases,
        activation=config.activation,
        init_deviation=config.init_deviation,
    )


def is_recurrent(path: str, leaf: jax.Array) -> bool:
    """Tell whether a leaf is a kernel from state to state of an LSTM.

    Args:
      path: its path, as "cell/hi/kernel".
      leaf: the leaf.

    Returns:
      True for the kernels of the gates' hidden parts: hi, hf, hg and ho.
    """
    *_, layer, name = path.split("/")
    return name == "kernel" and layer in ("hi", "hf", "hg", "ho")
