"""SubsetBranch."""

from collections.abc import Mapping
from typing import Any, ClassVar

import flax.linen as nn

from dropjax._checks import OF_SUBSET_BRANCH, Check, check_subset_rate
from dropjax._types import KeyLike, PyTree
from dropjax.functional.subsets import subset_branch
from dropjax.linen._base import Wrapper, resolve
from dropjax.transforms import takes_deterministic


class SubsetBranch(Wrapper):
    """`dropjax.subset_branch` around a module, which is given the subset alone.

    The variables are those of the wrapped module, at the same paths, so its checkpoints
    load unchanged. In `init` the module is given everything.

    Whatever the module does besides its output, it does for the subset: batch
    statistics are those of the kept examples or tokens, sown values have the size of
    the subset and are not scaled, and dropout inside draws masks for the subset, with
    the next keys of the same rng collection.

    Attributes:
      module: the module to wrap, a branch without its skip connection. It returns an
        array, or a tree of arrays, of the size that it is given along `axis`.
      rate: the share to leave out, a Python number in [0, 1). It is not among
        `dropjax.linen.rates`.
      axis: the axis along which indices are left out.
      groups: the number of equal parts of the axis, in each of which the same number of
        indices is kept.
      deterministic: if True, the module is given everything. Set it here or pass it in
        the call.
      rng_collection: the name of the rng collection that provides PRNG keys.

    Example:
      >>> import dropjax.linen as djl
      >>> import flax.linen as nn
      >>> branch, x = djl.SubsetBranch(nn.Dense(8), rate=0.25), jnp.ones((4, 8))
      >>> variables = nn.Dense(8).init(key, x)
      >>> y = branch.apply(variables, x, deterministic=False, rngs={"dropout": key})
      >>> assert (y == 0).all(1).sum() == 1
      >>> y = branch.apply(variables, x, deterministic=True)
      >>> assert jnp.array_equal(y, nn.Dense(8).apply(variables, x))
    """

    rate: float
    axis: int = 0
    groups: int = 1
    deterministic: bool | None = None
    rng_collection: str = "dropout"

    checks: ClassVar[Mapping[str, Check]] = {**Wrapper.checks, **OF_SUBSET_BRANCH}
    fixed_rate = True

    @nn.compact
    def __call__(
        self,
        inputs: PyTree,
        *args: PyTree,
        deterministic: bool | None = None,
        rng: KeyLike = None,
        rate: float | None = None,
        **kwargs: Any,
    ) -> PyTree:
        """Calls the wrapped module on a subset.

        Args:
          inputs: an array with any dtype, or a tree of arrays.
          *args: arrays or trees of arrays, which are gathered at the same indices and
            passed on to the wrapped module.
          deterministic: if True, the module is given everything. If passed in the call,
            it is also passed on to a wrapped module whose call accepts `deterministic`.
          rng: a PRNG key to use instead of one from the collection.
          rate: overrides the attribute.
          **kwargs: passed on to the wrapped module as they are.

        Returns:
          The wrapped module's output, scaled, with zeros for what is left out.
        """
        self.share_scope()
        if deterministic is not None and takes_deterministic(self.module):
            kwargs["deterministic"] = deterministic
        # In `init`, sizes are those of inference, and no key is needed.
        key, share, whole = (
            (None, 0.0, True)
            if self.is_initializing()
            else resolve(self, rng, rate, deterministic)
        )
        return subset_branch(
            key,
            inputs,
            lambda x, *args: self.module(x, *args, **kwargs),
            check_subset_rate(share),
            axis=self.axis,
            groups=self.groups,
            args=args,
            deterministic=whole,
        )
