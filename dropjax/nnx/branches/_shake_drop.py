"""ShakeDrop."""

from typing import ClassVar

from flax import nnx
from jaxtyping import Array, Inexact

from dropjax._checks import AXES_OR_NONE
from dropjax._types import Axes, KeyLike, RateLike
from dropjax.functional.branches import shake_drop
from dropjax.nnx._base import Drop, Rngs


class ShakeDrop(Drop, nnx.Module):
    """`dropjax.shake_drop` as a layer, at the end of a residual branch.

    Args:
      rate: the probability of shaking the branch, in [0, 1].
      forward_range: the lowest and highest factor in the forward pass.
      backward_range: the lowest and highest factor in the backward pass.
      broadcast_dims: the axes along which elements share a draw; None means all but the
        first.
      deterministic: if True, the output is the mean over draws.
      rng_collection: the name of the rng stream that provides PRNG keys.
      rngs: the source of PRNG keys; None if every call passes its own.

    Example:
      >>> import dropjax.nnx as djn
      >>> from flax import nnx
      >>> layer, x = djn.ShakeDrop(0.5, rngs=nnx.Rngs(0)), jnp.ones((8, 4, 4, 3))
      >>> assert (abs(layer(x)) <= 1).all()
    """

    draws_at_one: ClassVar[bool] = True

    checks = AXES_OR_NONE

    def __init__(
        self,
        rate: RateLike,
        *,
        forward_range: tuple[float, float] = (-1.0, 1.0),
        backward_range: tuple[float, float] = (0.0, 1.0),
        broadcast_dims: Axes | None = None,
        deterministic: bool | None = False,
        rng_collection: str = "dropout",
        rngs: Rngs = None,
    ) -> None:
        self.forward_range = forward_range
        self.backward_range = backward_range
        self.broadcast_dims = broadcast_dims
        self._set_drop(rate, deterministic, rng_collection, rngs)

    def __call__(
        self,
        inputs: Inexact[Array, "*shape"],
        *,
        deterministic: bool | None = None,
        rngs: Rngs | KeyLike = None,
        rate: RateLike | None = None,
    ) -> Inexact[Array, "*shape"]:
        """Shakes a residual branch.

        Args:
          inputs: the output of a residual branch.
          deterministic: overrides the attribute.
          rngs: overrides the layer's rngs; may also be a PRNG key.
          rate: overrides the attribute; may be a traced value, such as a schedule's.

        Returns:
          An array with the shape and dtype of the inputs.
        """
        key, rate, deterministic = self._resolve(deterministic, rngs, rate)
        return shake_drop(
            key,
            inputs,
            rate,
            forward_range=self.forward_range,
            backward_range=self.backward_range,
            broadcast_dims=self.broadcast_dims,
            deterministic=deterministic,
        )
