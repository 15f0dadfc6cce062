"""A perceptron in Flax Linen for dropout that computes only what it keeps.

`dj.structured_dropout_mlp` leaves out hidden units between two dense layers, so the
layers come in pairs.
"""

import jax
from flax import linen as nn

from dropjax import linen as djl
from training.feed_forward import feed_forward

METHODS = ("none", "dropout", "structured")


class Perceptron(nn.Module):
    """Dense layers with ReLU, and dropout of all hidden units.

    "structured" leaves out units of every other hidden layer, from the first one on,
    and drops those of the others as "dropout" does.
    """

    method: str
    rate: float
    hidden: tuple[int, ...]
    classes: int

    def rate_of(self, *methods: str) -> float:
        """Return the rate of some methods: 0 unless one of them is selected."""
        return self.rate if self.method in methods else 0.0

    @nn.compact
    def __call__(self, x: jax.Array, deterministic: bool) -> jax.Array:
        """Return the logits of a batch of images."""
        x = x.reshape(x.shape[0], -1)
        rates = {it: self.rate_of(it) for it in ("dropout", "structured")}
        widths = iter((*self.hidden, self.classes))
        for index, (hidden, features) in enumerate(zip(widths, widths, strict=True)):
            if index:
                rate = self.rate_of("dropout", "structured")
                x = djl.Dropout(rate)(nn.relu(x), deterministic)
            x = feed_forward(
                x,
                hidden,
                features,
                rates={**rates, "dropconnect": 0.0},
                activation=nn.relu,
                names=(f"dense_{2 * index}", f"dense_{2 * index + 1}"),
                deterministic=deterministic,
            )
        return x
