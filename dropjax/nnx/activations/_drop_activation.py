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
    """`dropjax.drop_activation` as a layer: it takes the activation's place.

    Args:
      rate: the probability of dropping the nonlinearity, in [0, 1].
      activation: the function, element by element.
      deterministic: if True, the mean is taken.
      rng_collection: the stream of rngs that the keys are taken from.
      rngs: the source of keys; None if every call brings its own.

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
        """Applies the activation here and there.

        Args:
          inputs: what goes into the activation.
          deterministic: overrides the attribute.
          rngs: overrides the layer's; it may also be a key.
          rate: overrides the attribute; it may be traced, as from a schedule.

        Returns:
          An array of the inputs' shape and dtype.
        """
        key, rate, deterministic = self._resolve(deterministic, rngs, rate)
        return drop_activation(
            key,
            inputs,
            rate,
            activation=self.activation,
            deterministic=deterministic,
        )
