"""Drop-Activation."""

from collections.abc import Callable

import jax
from flax import nnx
from jaxtyping import Array, Inexact

from dropjax._checks import AN_ACTIVATION
from dropjax._types import KeyLike, RateLike
from dropjax.functional.activations import drop_activation
from dropjax.nnx._base import Drop, Rngs


class DropActivation(Drop, nnx.Module):
    """`dropjax.drop_activation` as a layer, used in place of an activation.

    Args:
      rate: the probability of dropping the nonlinearity, in [0, 1].
      activation: the element-wise activation function.
      deterministic: if True, the output is the mean over draws.
      rng_collection: the name of the rng stream that provides PRNG keys.
      rngs: the source of PRNG keys; None if every call passes its own.

    Example:
      >>> import dropjax.nnx as djn
      >>> from flax import nnx
      >>> layer, x = djn.DropActivation(0.5, rngs=nnx.Rngs(0)), -jnp.ones((100, 100))
      >>> assert set(np.unique(layer(x))) == {-1.0, 0.0}
    """

    checks = AN_ACTIVATION

    def __init__(
        self,
        rate: RateLike,
        *,
        activation: Callable[[Array], Array] = jax.nn.relu,
        deterministic: bool | None = False,
        rng_collection: str = "dropout",
        rngs: Rngs = None,
    ) -> None:
        self.activation = activation
        self._set_drop(rate, deterministic, rng_collection, rngs)

    def __call__(
        self,
        inputs: Inexact[Array, "*shape"],
        *,
        deterministic: bool | None = None,
        rngs: Rngs | KeyLike = None,
        rate: RateLike | None = None,
    ) -> Inexact[Array, "*shape"]:
        """Applies the activation to a random subset of the elements.

        Args:
          inputs: the inputs of the activation.
          deterministic: overrides the attribute.
          rngs: overrides the layer's rngs; may also be a PRNG key.
          rate: overrides the attribute; may be a traced value, such as a schedule's.

        Returns:
          An array with the shape and dtype of the inputs.
        """
        key, rate, deterministic = self._resolve(deterministic, rngs, rate)
        return drop_activation(
            key,
            inputs,
            rate,
            activation=self.activation,
            deterministic=deterministic,
        )
