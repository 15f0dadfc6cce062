"""LayerDrop."""

from collections.abc import Callable
from typing import Any

import jax
from flax import nnx

from dropjax._checks import check_function, check_layer_output, check_tree
from dropjax._types import KeyLike, PyTree, RateLike
from dropjax.functional.branches._layer_drop import is_kept, run_or_skip
from dropjax.nnx._base import Rngs, Wrapper
from dropjax.transforms import takes_deterministic


class LayerDrop(Wrapper, nnx.Module):
    """`dropjax.layer_drop` around a module, which runs or is skipped with all its work.

    A skipped module leaves its variables unchanged, including batch statistics, caches
    and rngs. Values that it would have sown, or that `nnx.capture` would have captured
    in it, are zeros: it adds nothing to a loss or a count, and the captured state has
    the same structure whether or not the module runs.

    Args:
      module: the module to wrap, or a function of arrays. It returns a tree like its
        first argument, or a tuple whose first entry is such a tree, such as (hidden
        state, attention weights). If it is skipped, the other entries are zeros.
      rate: the probability of dropping the layer, in [0, 1].
      deterministic: if True, the module always runs.
      rng_collection: the name of the rng stream that provides PRNG keys.
      rngs: the source of PRNG keys; None if every call passes its own.

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
        module: Callable[..., PyTree],
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
        inputs: PyTree,
        *args: Any,
        deterministic: bool | None = None,
        rngs: Rngs | KeyLike = None,
        rate: RateLike | None = None,
        **kwargs: Any,
    ) -> PyTree:
        """Calls the wrapped module or returns the inputs.

        Args:
          inputs: an array, or a tree of arrays of which at least one is floating-point
            or complex.
          *args: passed on to the wrapped module.
          deterministic: overrides the attribute. If passed in the call, it is also
            passed on to a wrapped module whose call accepts `deterministic`.
          rngs: overrides the layer's rngs; may also be a PRNG key.
          rate: overrides the attribute; may be a traced value, such as a schedule's.
          **kwargs: passed on to the wrapped module.

        Returns:
          The wrapped module's output or, in the same structure, the inputs followed by
          zeros.
        """
        if deterministic is not None and takes_deterministic(self.module):
            kwargs["deterministic"] = deterministic
        check_tree(inputs)
        key, rate, deterministic = self._resolve(deterministic, rngs, rate)
        kept = is_kept(key, rate, deterministic)
        if kept is True:
            y = self.module(inputs, *args, **kwargs)
            return check_layer_output(inputs, y)
        graph, before = nnx.split(self)

        def run(x: PyTree) -> tuple[PyTree, PyTree]:
            copied = nnx.merge(graph, jax.tree.map(lambda leaf: leaf, before))
            return copied.module(x, *args, **kwargs), nnx.state(copied)

        y, after = run_or_skip(kept, rate, run, inputs, before)
        nnx.update(self, after)
        return y
