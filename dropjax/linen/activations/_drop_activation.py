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
    """`dropjax.drop_activation` as a layer, used in place of an activation.

    Attributes:
      rate: the probability of dropping the nonlinearity, in [0, 1].
      activation: the element-wise activation function.
      deterministic: if True, the output is the mean over draws. Set it here or pass it
        in the call.
      rng_collection: the name of the rng collection that provides PRNG keys.

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
        """Applies the activation to a random subset of the elements.

        Args:
          inputs: the inputs of the activation.
          deterministic: if True, the output is the mean over draws.
          rng: a PRNG key to use instead of one from the collection.
          rate: overrides the attribute; may be a traced value, such as a schedule's.

        Returns:
          An array with the shape and dtype of the inputs.
        """
        key, rate, deterministic = resolve(self, rng, rate, deterministic)
        return drop_activation(
            key,
            inputs,
            rate,
            activation=self.activation,
            deterministic=deterministic,
        )
