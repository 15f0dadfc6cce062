"""What all layers have: a rate, a flag and a stream of PRNG keys."""

import functools
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, TypeAlias

import jax
import numpy as np
from flax import nnx
from jax.sharding import AxisType
from jaxtyping import Array

from dropjax._checks import (
    Check,
    cell_error,
    check_fixed_mask,
    check_flag_given,
    check_made,
    missing_rngs_error,
    rngs_error,
)
from dropjax._types import KeyLike, PyTree, RateLike
from dropjax.functional.activations._gaussian_dropout import is_noisy
from dropjax.functional.weights._inference import is_drawn_by

Rngs: TypeAlias = nnx.Rngs | nnx.RngStream | None


class Drop:
    """What all layers have: a rate, a flag and a stream of PRNG keys."""

    # Whether a rate of 1 still draws something, such as a box's position or a factor.
    draws_at_one: ClassVar[bool] = False
    # Checks of options whose valid values differ from those in other layers.
    checks: ClassVar[Mapping[str, Check]] = {}

    def _set_drop(
        self,
        rate: RateLike | PyTree,
        deterministic: bool | None,
        rng_collection: str,
        rngs: Rngs,
    ) -> None:
        """Comes last in a constructor, since it checks all options."""
        self.rate = held(rate)
        self._set_noise(deterministic, rng_collection, rngs)

    def _set_noise(
        self, deterministic: bool | None, rng_collection: str, rngs: Rngs
    ) -> None:
        self.deterministic = deterministic
        self.rng_collection = rng_collection
        check_made(self, self.checks)
        stream = rngs[rng_collection] if isinstance(rngs, nnx.Rngs) else rngs
        if not isinstance(stream, nnx.RngStream | None):
            raise rngs_error(rngs, "nnx.Rngs, an nnx.RngStream or None")
        self.rngs = nnx.data(None) if stream is None else stream.fork()

    def _resolve(
        self,
        deterministic: bool | None,
        rngs: Rngs | KeyLike,
        rate: RateLike | PyTree | None,
    ) -> tuple[KeyLike, RateLike | PyTree, bool]:
        """Prefers call arguments to attributes, and takes a key only if needed."""
        deterministic = check_flag_given(self, deterministic, self.deterministic)
        rate = self.rate if rate is None else rate
        if is_drawn_by(self, rate, deterministic):
            return self._key(rngs), rate, deterministic
        return None, rate, deterministic

    def _resolve_noise(
        self, deterministic: bool | None, rngs: Rngs | KeyLike, size: RateLike
    ) -> tuple[KeyLike, bool]:
        """The same for a layer that has the size of some noise instead of a rate."""
        deterministic = check_flag_given(self, deterministic, self.deterministic)
        key = self._key(rngs) if is_noisy(size, deterministic) else None
        return key, deterministic

    def _key(self, rngs: Rngs | KeyLike) -> KeyLike:
        """A PRNG key from the rngs of the call, or else from the layer's."""
        rngs = self.rngs if rngs is None else rngs
        if rngs is None:
            raise missing_rngs_error(self)
        if isinstance(rngs, nnx.Rngs):
            return rngs[self.rng_collection]()
        if isinstance(rngs, nnx.RngStream):
            return rngs()
        if isinstance(rngs, jax.Array | np.ndarray):
            return rngs
        raise rngs_error(rngs, "nnx.Rngs, an nnx.RngStream or a key")

    def set_view(self, deterministic: bool | None = None) -> None:
        """Class method used by `nnx.view`.

        Args:
          deterministic: if True, nothing is dropped; None leaves the flag unchanged.
        """
        if deterministic is not None:
            self.deterministic = deterministic


class Wrapper(Drop):
    """A layer around a module."""

    module: Any

    @property
    def num_feature_axes(self) -> int:
        """Raises an error: a wrapper cannot be the cell of an `nnx.RNN`."""
        raise cell_error(self)


def held(rate: RateLike | PyTree) -> RateLike | PyTree:
    """A rate or a fill as an attribute; arrays become part of the model's state."""
    kinds = jax.Array | np.ndarray
    found = jax.tree.leaves(rate, is_leaf=_is_variable)
    arrays = any(isinstance(leaf, kinds) or _is_variable(leaf) for leaf in found)
    return nnx.data(rate) if arrays else nnx.static(rate)


def values(tree: PyTree) -> PyTree:
    """A tree with the values of its variables in their places."""
    value = lambda leaf: leaf[...] if _is_variable(leaf) else leaf  # noqa: E731
    return jax.tree.map(value, tree, is_leaf=_is_variable)


def _is_variable(node: object) -> bool:
    return isinstance(node, nnx.Variable)


def promoted(
    layer: nnx.Linear | nnx.LinearGeneral | nnx.Einsum | nnx.Conv,
    inputs: Array,
    mask: Array | None = None,
) -> tuple[Array, Array, Array | None]:
    """The layer's inputs and parameters, promoted to one dtype."""
    kernel = layer.kernel[...]
    if mask is not None:
        kernel = kernel * check_fixed_mask(mask, kernel.shape)
    bias = None if layer.bias is None else layer.bias[...]
    return layer.promote_dtype((inputs, kernel, bias), dtype=layer.dtype)


def replacement(
    function: Callable[..., Array], stock: Callable[..., Array], out_sharding: Any
) -> Callable[..., Array] | None:
    """The layer's product function; None for JAX's own, the default."""
    if out_sharding is not None:
        return functools.partial(_sharded_product, function, out_sharding)
    return None if function is stock else function


def _sharded_product(
    function: Callable[..., Array], out_sharding: Any, *args: Any, **options: Any
) -> Array:
    """A product; with masks per example, the compiler chooses its sharding."""
    if AxisType.Explicit in jax.sharding.get_abstract_mesh().axis_types:
        options["out_sharding"] = out_sharding
    return function(*args, **options)


def resharded(y: Array, out_sharding: Any) -> Array:
    """The output with the sharding that was asked for."""
    return y if out_sharding is None else jax.sharding.reshard(y, out_sharding)
