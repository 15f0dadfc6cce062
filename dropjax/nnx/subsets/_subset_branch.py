"""SubsetBranch."""

from collections.abc import Callable
from typing import Any

from flax import nnx

from dropjax._checks import OF_SUBSET_BRANCH, check_function, check_subset_rate
from dropjax._types import KeyLike, PyTree
from dropjax.functional.subsets import subset_branch
from dropjax.nnx._base import Rngs, Wrapper
from dropjax.transforms import takes_deterministic


class SubsetBranch(Wrapper, nnx.Module):
    """`dropjax.subset_branch` around a module, which is given the subset alone.

    Whatever the module does besides its output, it does for the subset: batch
    statistics are those of the kept examples or tokens, values that are sown, or
    captured with `nnx.capture`, have the size of the subset and are not scaled, and
    dropout inside draws masks for the subset from its own rngs.

    Args:
      module: the module to wrap, or a function of arrays: a branch without its skip
        connection. It returns an array, or a tree of arrays, of the size that it is
        given along `axis`.
      rate: the share to leave out, a Python number in [0, 1).
      axis: the axis along which indices are left out.
      groups: the number of equal parts of the axis, in each of which the same number of
        indices is kept.
      deterministic: if True, the module is given everything.
      rng_collection: the name of the rng stream that provides PRNG keys.
      rngs: the source of PRNG keys; None if every call passes its own.

    Example:
      >>> import dropjax.nnx as djn
      >>> from flax import nnx
      >>> dense, x = nnx.Linear(8, 8, rngs=nnx.Rngs(0)), jnp.ones((4, 8))
      >>> branch = djn.SubsetBranch(dense, 0.25, rngs=nnx.Rngs(1))
      >>> assert (branch(x) == 0).all(1).sum() == 1
      >>> assert jnp.array_equal(branch(x, deterministic=True), dense(x))
    """

    checks = OF_SUBSET_BRANCH

    def __init__(
        self,
        module: Callable[..., PyTree],
        rate: float,
        *,
        axis: int = 0,
        groups: int = 1,
        deterministic: bool | None = False,
        rng_collection: str = "dropout",
        rngs: Rngs = None,
    ) -> None:
        self.module = check_function(module, "module")
        self.axis = axis
        self.groups = groups
        self._set_drop(rate, deterministic, rng_collection, rngs)

    def __call__(
        self,
        inputs: PyTree,
        *args: PyTree,
        deterministic: bool | None = None,
        rngs: Rngs | KeyLike = None,
        rate: float | None = None,
        **kwargs: Any,
    ) -> PyTree:
        """Calls the wrapped module on a subset.

        Args:
          inputs: an array with any dtype, or a tree of arrays.
          *args: arrays or trees of arrays, which are gathered at the same indices and
            passed on to the wrapped module.
          deterministic: overrides the attribute. If passed in the call, it is also
            passed on to a wrapped module whose call accepts `deterministic`.
          rngs: overrides the layer's rngs; may also be a PRNG key.
          rate: overrides the attribute.
          **kwargs: passed on to the wrapped module as they are.

        Returns:
          The wrapped module's output, scaled, with zeros for what is left out.
        """
        if deterministic is not None and takes_deterministic(self.module):
            kwargs["deterministic"] = deterministic
        key, share, whole = self._resolve(deterministic, rngs, rate)
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
