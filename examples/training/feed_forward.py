"""Two dense layers in Flax Linen, with a choice of methods for what is between them."""

from collections.abc import Callable, Mapping

import jax
from flax import linen as nn

import dropjax as dj
from dropjax import linen as djl

METHODS = ("dropout", "dropconnect", "structured")


def feed_forward(
    x: jax.Array,
    hidden: int,
    features: int,
    *,
    rates: Mapping[str, float | jax.Array],
    activation: Callable[[jax.Array], jax.Array] = nn.gelu,
    names: tuple[str, str],
    deterministic: bool,
) -> jax.Array:
    """Apply two dense layers; call it in a compact module, which then has them.

    "dropout" drops hidden units, "dropconnect" the weights of both layers, and
    "structured" leaves out hidden units, the same for all rows, without computing them.

    Args:
      x: the inputs.
      hidden: the number of hidden units.
      features: the number of output features.
      rates: the rate of each of `METHODS`.
      activation: of the hidden units.
      names: of the two layers.
      deterministic: whether nothing is dropped.

    Returns:
      The outputs of the second layer.
    """
    wide, narrow = (
        djl.DropConnectDense(size, rates["dropconnect"], name=name)
        for size, name in zip((hidden, features), names, strict=True)
    )
    if rates["structured"] and not deterministic:
        first, second = (layer.variables["params"] for layer in (wide, narrow))
        return dj.structured_dropout_mlp(
            wide.make_rng("dropout"),
            x,
            first["kernel"],
            second["kernel"],
            rates["structured"],
            bias_in=first["bias"],
            bias_out=second["bias"],
            activation=activation,
        )
    units = activation(wide(x, deterministic))
    return narrow(djl.Dropout(rates["dropout"])(units, deterministic), deterministic)
