"""Drop-Activation."""

from collections.abc import Callable

import flax.linen as nn
import jax
from jaxtyping import Array, Inexact

from dropjax._checks import AN_ACTIVATION
from dropjax._types import KeyLike, RateLike
from dropjax.functional.activations import drop_activation
from dropjax.linen._base import Drop, resolve


class DropActivation(Drop):
    """`dropjax.drop_activation` as a layer: it takes the activation's place.

    Attributes:
      rate: the probability of dropping the nonlinearity, in [0, 1].
      activation: the function, element by element.
      deterministic: if True, the mean is taken. Give it here or in the call.
      rng_collection: the collection of rngs that the key is taken from.

    Example:
      >>> import dropjax.linen as djl
      >>> layer, x = djl.DropActivation(0.5), -jnp.ones((100, 100))
      >>> y = layer.apply({}, x, False, rngs={"dropout": key})
      >>> assert set(np.unique(y)) == {-1.0, 0.0}
    """

    rate: RateLike
    activation: Callable[[Array], Array] = jax.nn.relu
    deterministic: bool | None = None
    rng_collection: str = "dropout"

    checks = AN_ACTIVATION

    @nn.compact
    def __call__(
        self,
        inputs: Inexact[Array, "*shape"],
        deterministic: bool | None = None,
        rng: KeyLike = None,
        *,
        rate: RateLike | None = None,
    ) -> Inexact[Array, "*shape"]:
        """Applies the activation here and there.

        Args:
          inputs: what goes into the activation.
          deterministic: if True, the mean is taken.
          rng: a key to use instead of one from the collection.
          rate: overrides the attribute; it may be traced, as from a schedule.

        Returns:
          An array of the inputs' shape and dtype.
        """
        key, rate, deterministic = resolve(self, rng, rate, deterministic)
        return drop_activation(
            key,
            inputs,
            rate,
            activation=self.activation,
            deterministic=deterministic,
        )
