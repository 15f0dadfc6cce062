"""ShakeDrop."""

from typing import ClassVar

import flax.linen as nn
from jaxtyping import Array, Inexact

from dropjax._checks import AXES_OR_NONE
from dropjax._types import Axes, KeyLike, RateLike
from dropjax.functional.branches import shake_drop
from dropjax.linen._base import Drop, resolve


class ShakeDrop(Drop):
    """`dropjax.shake_drop` as a layer, at the end of a residual branch.

    Attributes:
      rate: the probability of shaking the branch, in [0, 1].
      forward_range: the lowest and highest factor in the forward pass.
      backward_range: the lowest and highest factor in the backward pass.
      broadcast_dims: the axes along which elements share a draw; None means all but the
        first.
      deterministic: if True, the output is the mean over draws. Set it here or pass it
        in the call.
      rng_collection: the name of the rng collection that provides PRNG keys.

    Example:
      >>> import dropjax.linen as djl
      >>> layer, x = djl.ShakeDrop(0.5), jnp.ones((8, 4, 4, 3))
      >>> assert (abs(layer.apply({}, x, False, rngs={"dropout": key})) <= 1).all()
    """

    rate: RateLike
    forward_range: tuple[float, float] = (-1.0, 1.0)
    backward_range: tuple[float, float] = (0.0, 1.0)
    broadcast_dims: Axes | None = None
    deterministic: bool | None = None
    rng_collection: str = "dropout"

    draws_at_one: ClassVar[bool] = True

    checks = AXES_OR_NONE

    @nn.compact
    def __call__(
        self,
        inputs: Inexact[Array, "*shape"],
        deterministic: bool | None = None,
        rng: KeyLike = None,
        *,
        rate: RateLike | None = None,
    ) -> Inexact[Array, "*shape"]:
        """Shakes a residual branch.

        Args:
          inputs: the output of a residual branch.
          deterministic: if True, the output is the mean over draws.
          rng: a PRNG key to use instead of one from the collection.
          rate: overrides the attribute; may be a traced value, such as a schedule's.

        Returns:
          An array with the shape and dtype of the inputs.
        """
        key, rate, deterministic = resolve(self, rng, rate, deterministic)
        return shake_drop(
            key,
            inputs,
            rate,
            forward_range=self.forward_range,
            backward_range=self.backward_range,
            broadcast_dims=self.broadcast_dims,
            deterministic=deterministic,
        )
