"""DropConnect around any module."""

from collections.abc import Sequence
from typing import Any

import jax
from flax import nnx

from dropjax._checks import OF_DROPCONNECT, check_function
from dropjax._types import KeyLike, PyTree, RateLike, Scaling
from dropjax.nnx._base import Rngs, Wrapper
from dropjax.transforms import Where, dropconnect, takes_deterministic


class DropConnect(Wrapper, nnx.Module):
    """`dropjax.dropconnect` around any module, which runs with its weights dropped.

    One mask is drawn per call; around an `nnx.RNN`, that is one mask for the whole
    sequence. The wrapped module keeps its parameters; batch statistics and rngs are
    updated as usual, but values that it sows are lost.

    Args:
      module: the module to wrap.
      rate: the probability of dropping a weight, or a tree of such rates: nested dicts
        that are a prefix of the wrapped module's parameters.
      where: selects leaves by path and value, as in `dropjax.dropconnect`.
      block_size: the side lengths of blocks of weights that share a mask value, as in
        `dropjax.dropconnect`.
      scaling: "inverted" or "standard".
      deterministic: if True, nothing is dropped.
      rng_collection: the name of the rng stream that provides PRNG keys.
      rngs: the source of PRNG keys; None if every call passes its own.

    Example:
      >>> import dropjax.nnx as djn
      >>> from flax import nnx
      >>> rngs = nnx.Rngs(0)
      >>> cell = nnx.LSTMCell(3, 4, rngs=rngs)
      >>> layer = djn.DropConnect(nnx.RNN(cell), 0.5, rngs=rngs)
      >>> assert layer(jnp.ones((2, 7, 3))).shape == (2, 7, 4)
    """

    checks = OF_DROPCONNECT

    def __init__(
        self,
        module: nnx.Module,
        rate: RateLike | PyTree,
        *,
        where: Where | None = None,
        block_size: int | Sequence[int] | None = None,
        scaling: Scaling = "inverted",
        deterministic: bool | None = False,
        rng_collection: str = "dropout",
        rngs: Rngs = None,
    ) -> None:
        self.module = check_function(module, "module")
        self.where = where
        self.block_size = block_size
        self.scaling = scaling
        self._set_drop(rate, deterministic, rng_collection, rngs)

    def __call__(
        self,
        *args: Any,
        deterministic: bool | None = None,
        rngs: Rngs | KeyLike = None,
        rate: RateLike | PyTree | None = None,
        **kwargs: Any,
    ) -> Any:
        """Calls the wrapped module.

        Args:
          *args: passed on to the wrapped module.
          deterministic: overrides the attribute. If passed in the call, it is also
            passed on to a wrapped module whose call accepts `deterministic`.
          rngs: overrides the layer's rngs; may also be a PRNG key.
          rate: overrides the attribute; may be a traced value, such as a schedule's.
          **kwargs: passed on to the wrapped module.

        Returns:
          The output of the wrapped module.
        """
        if deterministic is not None and takes_deterministic(self.module):
            kwargs["deterministic"] = deterministic
        key, rate, deterministic = self._resolve(deterministic, rngs, rate)
        graph, params, rest = nnx.split(self.module, nnx.Param, ...)  # type: ignore[misc]
        masked = dropconnect(
            key,
            nnx.to_pure_dict(params),
            rate,
            where=self.where,
            block_size=self.block_size,
            scaling=self.scaling,
            deterministic=deterministic,
        )
        params = jax.tree.map(lambda leaf: leaf, params)
        nnx.replace_by_pure_dict(params, masked)
        return nnx.merge(graph, params, rest)(*args, **kwargs)
