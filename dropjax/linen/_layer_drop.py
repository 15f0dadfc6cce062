"""LayerDrop."""

from typing import Any

import flax.linen as nn
from jaxtyping import Array, Inexact

from dropjax._checks import check_like
from dropjax._masks import foregone, keep_mask
from dropjax._types import KeyLike, RateLike
from dropjax.functional._layer_drop import unless_nan
from dropjax.linen._base import Wrapper, resolve
from dropjax.linen._rates import rate_of
from dropjax.transforms import takes_deterministic


class LayerDrop(Wrapper):
    """`dropjax.layer_drop` around a module: it is run or skipped, and so is its work.

    The variables are those of the wrapped module, at the same paths: nothing is nested
    and a checkpoint moves over unchanged.

    Attributes:
      module: the module to wrap, which gives an array like its first argument.
      rate: the probability of dropping the layer, in [0, 1].
      deterministic: if True, the layer is run. Give it here or in the call.
      rng_collection: the collection of rngs that the key is taken from.

    Example:
      >>> import dropjax.linen as djl
      >>> import flax.linen as nn
      >>> layer, x = djl.LayerDrop(nn.Dense(8), rate=1.0), jnp.ones((4, 8))
      >>> variables = nn.Dense(8).init(key, x)
      >>> assert layer.apply(variables, x, deterministic=False) is x
      >>> y = layer.apply(variables, x, deterministic=True)
      >>> assert jnp.array_equal(y, nn.Dense(8).apply(variables, x))
    """

    rate: RateLike
    deterministic: bool | None = None
    rng_collection: str = "dropout"

    @nn.compact
    def __call__(
        self,
        inputs: Inexact[Array, "*shape"],
        *args: Any,
        deterministic: bool | None = None,
        rng: KeyLike = None,
        rate: RateLike | None = None,
        **kwargs: Any,
    ) -> Inexact[Array, "*shape"]:
        """Calls the wrapped module, or gives the inputs back.

        Args:
          inputs: a floating-point or complex array.
          *args: for the wrapped module.
          deterministic: if True, the layer is run. Given in the call, it is handed on
            to a wrapped module whose call takes a `deterministic` too.
          rng: a key to use instead of one from the collection.
          rate: overrides the attribute; it may be traced, as from a schedule.
          **kwargs: for the wrapped module.

        Returns:
          An array of the inputs' shape and dtype.
        """
        self.share_scope()
        rate = rate_of(self) if rate is None else rate
        if deterministic is not None and takes_deterministic(self.module):
            kwargs["deterministic"] = deterministic

        def run(module: nn.Module, x: Array) -> Array:
            return check_like(x, module(x, *args, **kwargs), "layer(x)")

        if self.is_initializing():
            return run(self.module, inputs)
        key, rate, deterministic = resolve(self, rng, rate, deterministic)
        certain = foregone(rate, deterministic)
        if certain is not None:
            return run(self.module, inputs) if certain else inputs

        def seen(module: nn.Module, x: Array) -> Array:
            return unless_nan(rate, run(module, x))

        kept = keep_mask(key, (), rate)
        return nn.cond(kept, seen, lambda module, x: x, self.module, inputs)
