"""The layer options of a network, for Linen and NNX."""

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
# The networks that read characters; the others read images.
ON_TEXT = ("lstm", "decoder")


@dataclasses.dataclass(frozen=True)
class Style:
    """The initialization, activation and dropping of the layers.

    Attributes:
      method: the method that drops; all others have rate 0.
      rate: its rate.
      scaling: "inverted" or "standard".
      mask_per: the examples that share a DropConnect mask.
      noise: of DropConnect, "bernoulli" masks or "gaussian".
      drop_biases: whether DropConnect drops biases too.
      activation: a name in `ACTIVATIONS`.
      init_deviation: the standard deviation of the initial weights; 0: Flax's default.
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
        """Return the rate of a method: 0 for all but the selected one."""
        return self.rate if self.method == method else 0.0

    def activate(self, x: jax.Array) -> jax.Array:
        """Apply the activation."""
        return ACTIVATIONS[self.activation](x)

    def kernel_init(self) -> Callable[..., jax.Array]:
        """Return the initializer of the weights."""
        if self.init_deviation:
            return jax.nn.initializers.normal(self.init_deviation)
        return jax.nn.initializers.lecun_normal()

    def dropconnect(self) -> dict[str, Any]:
        """Return the options of a DropConnect layer."""
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
    """Return the layer options of an experiment.

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
    """Return whether a leaf is a state-to-state kernel of an LSTM.

    Args:
      path: its path, such as "cell/hi/kernel".
      leaf: the leaf.

    Returns:
      True for the recurrent kernels of the gates: hi, hf, hg and ho.
    """
    *_, layer, name = path.split("/")
    return name == "kernel" and layer in ("hi", "hf", "hg", "ho")
