"""LayerDrop."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
from flax.core import lift
from flax.linen.transforms import lift_direct_transform

from dropjax._checks import check_layer_output, check_tree
from dropjax._types import KeyLike, PyTree, RateLike
from dropjax.functional.branches._layer_drop import is_kept, run_or_skip
from dropjax.linen._base import Wrapper, resolve
from dropjax.linen._rates import rate_of
from dropjax.transforms import takes_deterministic


class LayerDrop(Wrapper):
    """`dropjax.layer_drop` around a module, which runs or is skipped with all its work.

    The variables are those of the wrapped module, at the same paths, so its checkpoints
    load unchanged.

    A skipped module leaves its variables unchanged, including batch statistics and
    caches. Values that it would have sown are zeros: it adds nothing to a loss or a
    count in a mutable collection, and the `intermediates` have the same structure
    whether or not the module runs.

    Attributes:
      module: the module to wrap. It returns a tree like its first argument, or a tuple
        whose first entry is such a tree, such as (hidden state, attention weights). If
        it is skipped, the other entries are zeros.
      rate: the probability of dropping the layer, in [0, 1].
      deterministic: if True, the module always runs. Set it here or pass it in the
        call.
      rng_collection: the name of the rng collection that provides PRNG keys.

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
        inputs: PyTree,
        *args: Any,
        deterministic: bool | None = None,
        rng: KeyLike = None,
        rate: RateLike | None = None,
        **kwargs: Any,
    ) -> PyTree:
        """Calls the wrapped module or returns the inputs.

        Args:
          inputs: an array, or a tree of arrays of which at least one is floating-point
            or complex.
          *args: passed on to the wrapped module.
          deterministic: if True, the module always runs. If passed in the call, it is
            also passed on to a wrapped module whose call accepts `deterministic`.
          rng: a PRNG key to use instead of one from the collection.
          rate: overrides the attribute; may be a traced value, such as a schedule's.
          **kwargs: passed on to the wrapped module.

        Returns:
          The wrapped module's output or, in the same structure, the inputs followed by
          zeros.
        """
        self.share_scope()
        check_tree(inputs)
        rate = rate_of(self) if rate is None else rate
        if deterministic is not None and takes_deterministic(self.module):
            kwargs["deterministic"] = deterministic

        def run(module: nn.Module, x: PyTree) -> PyTree:
            return module(x, *args, **kwargs)

        if self.is_initializing():
            return check_layer_output(inputs, run(self.module, inputs))
        key, rate, deterministic = resolve(self, rng, rate, deterministic)
        kept = is_kept(key, rate, deterministic)
        if kept is True:
            return check_layer_output(inputs, run(self.module, inputs))

        def lifted(run: Callable[..., Any], scopes: Any, x: PyTree) -> PyTree:
            return _run_or_skip(kept, rate, run, scopes, x)

        return lift_direct_transform(lifted, (run,), self.module, inputs)


def _run_or_skip(
    kept: Any, rate: RateLike, run: Callable[..., Any], scopes: Any, x: PyTree
) -> PyTree:
    """Like `nn.cond`, but where only one of the two branches sows."""

    def inner(
        open_scopes: Callable[..., Any],
        close_scopes: Callable[..., Any],
        variables: Any,
        rngs: Any,
    ) -> Any:
        def run_in_scopes(x: PyTree) -> tuple[PyTree, Any]:
            opened = open_scopes(variables, rngs)
            return run(opened, x), close_scopes(opened)

        return run_or_skip(kept, rate, run_in_scopes, x, variables)

    return lift.pack(inner, (True,), (True,), (True,), name="cond")(scopes)
