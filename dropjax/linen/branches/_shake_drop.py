"""ShakeDrop."""

from typing import ClassVar

import flax.linen as nn
from jaxtyping import Array, Inexact

from dropjax._checks import AXES_OR_NONE
from dropjax._types import Axes, KeyLike, RateLike
from dropjax.functional.branches import shake_drop
from dropjax.linen._base import Drop, resolve


class ShakeDrop(Drop):
    """`dropjax.shake_drop` as a layer: for a residual branch, before the sum.

    Attributes:
      rate: the probability of shaking, in [0, 1].
      forward_range: the lowest and highest factor forward.
      backward_range: the lowest and highest factor backward.
      broadcast_dims: the axes along which elements share a draw; None is all but the
        first.
      deterministic: if True, the mean is taken. Give it here or in the call.
      rng_collection: the collection of rngs that the key is taken from.

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
          inputs: what the branch gives.
          deterministic: if True, the mean is taken.
          rng: a key to use instead of one from the collection.
          rate: overrides the attribute; it may be traced, as from a schedule.

        Returns:
          An array of the inputs' shape and dtype.
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
