"""LayerDrop."""

import functools
from collections.abc import Callable
from typing import Any

from flax import nnx
from jaxtyping import Array, Inexact

from dropjax._checks import check_function, check_like
from dropjax._masks import foregone, keep_mask
from dropjax._types import KeyLike, RateLike
from dropjax.functional._layer_drop import unless_nan
from dropjax.nnx._base import Drop, Rngs
from dropjax.transforms import takes_deterministic


class LayerDrop(Drop, nnx.Module):
    """`dropjax.layer_drop` around a module: it is run or skipped, and so is its work.

    Args:
      module: the module to wrap, or a function of arrays, which gives an array like its
        first argument.
      rate: the probability of dropping the layer, in [0, 1].
      deterministic: if True, the layer is run.
      rng_collection: the stream of rngs that the keys are taken from.
      rngs: the source of keys; None if every call brings its own.

    Example:
      >>> import dropjax.nnx as djn
      >>> from flax import nnx
      >>> dense, x = nnx.Linear(8, 8, rngs=nnx.Rngs(0)), jnp.ones((4, 8))
      >>> layer = djn.LayerDrop(dense, 1.0)
      >>> assert layer(x) is x
      >>> assert jnp.array_equal(layer(x, deterministic=True), dense(x))
    """

    def __init__(
        self,
        module: Callable[..., Array],
        rate: RateLike,
        *,
        deterministic: bool | None = False,
        rng_collection: str = "dropout",
        rngs: Rngs = None,
    ) -> None:
        self.module = check_function(module, "module")
        self._set_drop(rate, deterministic, rng_collection, rngs)

    def __call__(
        self,
        inputs: Inexact[Array, "*shape"],
        *args: Any,
        deterministic: bool | None = None,
        rngs: Rngs | KeyLike = None,
        rate: RateLike | None = None,
        **kwargs: Any,
    ) -> Inexact[Array, "*shape"]:
        """Calls the wrapped module, or gives the inputs back.

        Args:
          inputs: a floating-point or complex array.
          *args: for the wrapped module.
          deterministic: overrides the attribute. Given in the call, it is handed on to
            a wrapped module whose call takes a `deterministic` too.
          rngs: overrides the layer's; it may also be a key.
          rate: overrides the attribute; it may be traced, as from a schedule.
          **kwargs: for the wrapped module.

        Returns:
          An array of the inputs' shape and dtype.
        """
        if deterministic is not None and takes_deterministic(self.module):
            kwargs["deterministic"] = deterministic

        def run(module: Callable[..., Array], x: Array) -> Array:
            return check_like(x, module(x, *args, **kwargs), "layer(x)")

        key, rate, deterministic = self._resolve(deterministic, rngs, rate)
        certain = foregone(rate, deterministic)
        if certain is not None:
            return run(self.module, inputs) if certain else inputs

        def seen(module: Callable[..., Array], x: Array) -> Array:
            return unless_nan(rate, run(module, x))

        kept = keep_mask(key, (), rate)
        if isinstance(self.module, nnx.Module):
            return nnx.cond(kept, seen, lambda module, x: x, self.module, inputs)
        # A function is no operand that a condition takes.
        whole = functools.partial(seen, self.module)
        return nnx.cond(kept, whole, lambda x: x, inputs)
