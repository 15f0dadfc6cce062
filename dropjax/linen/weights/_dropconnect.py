"""DropConnect around any module."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import flax.linen as nn
from flax.core import FrozenDict

from dropjax._checks import OF_DROPCONNECT, Check, check_own_params
from dropjax._types import KeyLike, PyTree, RateLike, Scaling
from dropjax.linen._base import Wrapper, resolve
from dropjax.linen._rates import rate_of
from dropjax.transforms import Where, dropconnect, takes_deterministic


class DropConnect(Wrapper):
    """`dropjax.dropconnect` around any module, which runs with its weights dropped.

    The variables are those of the wrapped module, at the same paths, so its checkpoints
    load unchanged. One mask is drawn per call; around an `nn.RNN`, that is one mask for
    the whole sequence.

    Attributes:
      module: the module to wrap.
      rate: the probability of dropping a weight, or a tree prefix of such rates.
      where: selects leaves by path and value, as in `dropjax.dropconnect`.
      block_size: the side lengths of blocks of weights that share a mask value, as in
        `dropjax.dropconnect`.
      scaling: "inverted" or "standard".
      deterministic: if True, nothing is dropped. Set it here or pass it in the call.
      rng_collection: the name of the rng collection that provides PRNG keys.

    Example:
      >>> import dropjax.linen as djl
      >>> import flax.linen as nn
      >>> rnn, x = nn.RNN(nn.LSTMCell(4)), jnp.ones((2, 7, 3))
      >>> layer, variables = djl.DropConnect(rnn, rate=0.5), rnn.init(key, x)
      >>> y = layer.apply(variables, x, deterministic=False, rngs={"dropout": key})
      >>> assert y.shape == (2, 7, 4)
    """

    rate: RateLike | PyTree
    where: Where | None = None
    block_size: int | Sequence[int] | None = None
    scaling: Scaling = "inverted"
    deterministic: bool | None = None
    rng_collection: str = "dropout"

    checks: ClassVar[Mapping[str, Check]] = {**Wrapper.checks, **OF_DROPCONNECT}

    @nn.compact
    def __call__(
        self,
        *args: Any,
        deterministic: bool | None = None,
        rng: KeyLike = None,
        rate: RateLike | PyTree | None = None,
        **kwargs: Any,
    ) -> Any:
        """Calls the wrapped module.

        Args:
          *args: passed on to the wrapped module.
          deterministic: if True, nothing is dropped. If passed in the call, it is also
            passed on to a wrapped module whose call accepts `deterministic`.
          rng: a PRNG key to use instead of one from the collection.
          rate: overrides the attribute; may be a traced value, such as a schedule's.
          **kwargs: passed on to the wrapped module.

        Returns:
          The output of the wrapped module.
        """
        self.share_scope()
        rate = rate_of(self) if rate is None else rate
        if deterministic is not None and takes_deterministic(self.module):
            kwargs["deterministic"] = deterministic
        if self.is_initializing():
            return self.module(*args, **kwargs)
        key, rate, deterministic = resolve(self, rng, rate, deterministic)
        if isinstance(rate, FrozenDict):  # Linen freezes dicts given as attributes.
            rate = rate.unfreeze()

        def mask(variables: Mapping[str, PyTree]) -> Mapping[str, PyTree]:
            masked = dropconnect(
                key,
                check_own_params(variables, self.module),
                rate,
                where=self.where,
                block_size=self.block_size,
                scaling=self.scaling,
                deterministic=deterministic,
            )
            return {**variables, "params": masked}

        def call(module: nn.Module, *args: Any, **kwargs: Any) -> Any:
            return module(*args, **kwargs)

        masked_call = nn.map_variables(call, "params", trans_in_fn=mask)
        return masked_call(self.module, *args, **kwargs)
