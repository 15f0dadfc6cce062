"""Structured dropout: an MLP whose dropped hidden units are not computed."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Inexact, Int32, Key, Shaped

from dropjax._apply import scale, sharded_like, working_dtype
from dropjax._checks import (
    check_activated,
    check_deterministic,
    check_function,
    check_key,
    check_known,
    check_mask_per,
    check_mlp_shapes,
    check_rank,
    check_shape,
    check_unit_blocks,
    check_unit_rate,
)
from dropjax._loops import scan
from dropjax._types import KeyLike, MaskPer
from dropjax.functional.subsets._indices import kept_count, kept_indices
from dropjax.functional.weights._dense import Dense


def structured_dropout_mlp(
    key: KeyLike,
    x: Inexact[Array, "*batch features_in"],
    kernel_in: Inexact[Array, "features_in hidden"],
    kernel_out: Inexact[Array, "hidden features_out"],
    rate: float,
    *,
    kernel_gate: Inexact[Array, "features_in hidden"] | None = None,
    bias_in: Inexact[Array, " hidden"] | None = None,
    bias_out: Inexact[Array, " features_out"] | None = None,
    bias_gate: Inexact[Array, " hidden"] | None = None,
    activation: Callable[[Array], Array] = jax.nn.gelu,
    block_size: int = 1,
    groups: int = 1,
    mask_per: MaskPer = "batch",
    precision: lax.PrecisionLike = None,
    deterministic: bool = False,
) -> Inexact[Array, "*batch features_out"]:
    r"""Applies an MLP with one hidden layer, and does not compute its dropped units.

    $$y = \frac{H}{|I|} \; a(x W^{in}_{:I} + b^{in}_I) \, W^{out}_I + b^{out}, \qquad
      I \text{ uniform among the subsets of } |I| = (1 - rate) \, H \text{ units}$$

    with H hidden units and the activation a. With `kernel_gate`, the hidden units are
    $a(x W^{gate} + b^{gate}) \odot (x W^{in} + b^{in})$, as in SwiGLU. Units are
    dropped in blocks of `block_size`. Unlike in dropout, the number of dropped units
    does not vary: the number of kept blocks is rounded to the nearest integer, and is
    at least one for a rate below 1. The scale is computed from that number, so that the
    mean over keys is exactly the MLP without dropout. The cost is proportional to the
    number of kept units, which is why the rate cannot be traced.

    The kept columns of W_in and rows of W_out are copied into smaller kernels. These
    and the kept hidden units are stored for the backward pass, which writes gradients
    of the full size, with zeros for dropped units. Copying pays off if x has many
    rows; the guide gives measured times.

    `mask_per=n` draws a subset for each n consecutive examples, and computes these one
    after the other, with kernels copied for each. It is efficient if n examples have
    hundreds of rows in total. On a mesh, do this inside `jax.shard_map` if the batch is
    sharded.

    Kernels whose hidden axis is sharded over m devices need `groups=m`, or a multiple
    of m. As many blocks are then kept in each of the `groups` equal parts of the hidden
    axis, and each device selects its own; otherwise the kernels are gathered.

    Args:
      key: a typed or raw PRNG key. It may be None if nothing is drawn.
      x: the inputs, with the same dtype as the kernels.
      kernel_in: the weights W_in of the hidden units.
      kernel_out: the weights W_out of the outputs.
      rate: the share of the hidden units to drop, a Python number in [0, 1].
      kernel_gate: the weights W_gate of the gate, or None for no gate.
      bias_in: the bias of the hidden units, or None.
      bias_out: the bias of the outputs, or None. It is never dropped: at a rate of 1 it
        is the output.
      bias_gate: the bias of the gate, or None.
      activation: an elementwise function, of the gate if there is one. It is called
        with the kept units only.
      block_size: how many consecutive units are dropped together, a divisor of H. With
        1, each unit is dropped by itself.
      groups: into how many equal parts the hidden axis is split, in each of which as
        many blocks are kept. It must divide the number of blocks.
      mask_per: which examples share a subset: "batch" (all of them), "example" (none),
        or n for n consecutive examples, the entries along the first axis of x.
      precision: the precision of the products, as in `jax.lax.dot_general`.
      deterministic: if True, nothing is dropped.

    Returns:
      An array of shape (*batch, features_out).

    Raises:
      ValueError: the rate is outside [0, 1], shapes do not match, `block_size` or
        `groups` does not divide the hidden axis, `mask_per` is neither one of the two
        names nor a positive integer, the activation changes the shape, or the key is
        missing.
      TypeError: the arrays do not share one floating-point or complex dtype, or the
        rate is not a Python number.

    Example:
      >>> key, x = jax.random.key(0), jnp.ones((4, 8))
      >>> kernel_in, kernel_out = jnp.full((8, 32), 0.1), jnp.full((32, 8), 0.1)
      >>> y = structured_dropout_mlp(key, x, kernel_in, kernel_out, 0.5)
      >>> assert jnp.allclose(y, jax.nn.gelu(x @ kernel_in) @ kernel_out)

    References:
      Song, Wang, Ru, Peng, Huang, Zhao, Liang and Jiang, 2019, "Approximate random
      dropout for DNN training acceleration in GPGPU", DATE. Lo, 2024, "Efficient sparse
      training with structured dropout", which draws each block by itself.
    """
    weights = _Weights(kernel_in, bias_in, kernel_gate, bias_gate, kernel_out)
    x, hidden = check_mlp_shapes(x, {**weights._asdict(), "bias_out": bias_out})
    mlp = _MLP(check_function(activation, "activation"), Dense(precision=precision))
    share = check_mask_per(mask_per)
    units = _Units.of(hidden, rate, block_size, groups, deterministic)
    if units.kept == units.blocks or 0 in x.shape[:-1]:
        y = mlp(x, weights)
    elif units.kept == 0:
        y = _zeros(x, kernel_out.shape[-1])
    elif share is None:
        y = _thinned(mlp, units, check_key(key), x, weights)
    else:
        y = _thinned_apart(mlp, units, check_key(key), x, weights, share)
    return y if bias_out is None else y + lax.broadcast_to_rank(bias_out, y.ndim)


def structured_dropout_mlp_mask(
    key: KeyLike,
    shape: Sequence[int],
    rate: float,
    *,
    block_size: int = 1,
    groups: int = 1,
    mask_per: MaskPer = "batch",
    deterministic: bool = False,
) -> Bool[Array, "..."]:
    """Draws the keep mask of `structured_dropout_mlp` (True = keep).

    Args:
      key: a typed or raw PRNG key. It may be None if nothing is drawn.
      shape: the shape of the hidden units, (*batch, hidden).
      rate: the share of the hidden units to drop, a Python number in [0, 1].
      block_size: how many consecutive units are dropped together.
      groups: into how many equal parts the hidden axis is split.
      mask_per: which examples share a mask: "batch" (all of them), "example" (none), or
        n for n consecutive examples.
      deterministic: if True, the mask is all True.

    Returns:
      A boolean array of the given rank, True where a unit is computed. Its axes have
      size 1, except the last one and, if examples do not all share a mask, the first.

    Raises:
      ValueError: the rate is outside [0, 1], `block_size` or `groups` does not divide
        the hidden axis, or the key is missing.
      TypeError: the shape is not one, or the rate is not a Python number.

    Example:
      >>> mask = structured_dropout_mlp_mask(key, (4, 32), 0.5, block_size=8)
      >>> assert mask.shape == (1, 32) and mask.sum() == 16
    """
    shape = check_shape(shape)
    check_rank(shape, 1, "(*batch, hidden)", "shape")
    share = check_mask_per(mask_per)
    units = _Units.of(shape[-1], rate, block_size, groups, deterministic)
    examples = 1 if share is None or len(shape) == 1 else shape[0]
    if units.kept in (0, units.blocks):
        mask = jnp.full((examples, units.blocks), units.kept > 0)
    elif share is None:
        mask = units.draw(check_key(key)).reshape(1, units.blocks)
    else:
        masks = _own_masks(units, check_key(key), -(-examples // share))
        mask = jnp.repeat(masks.reshape(-1, units.blocks), share, axis=0)[:examples]
    mask = jnp.repeat(mask, units.block_size, axis=-1)
    return mask.reshape((examples, *[1] * (len(shape) - 2), shape[-1])[-len(shape) :])


class _Weights(NamedTuple):
    """The weights that have a hidden axis."""

    kernel_in: Array
    bias_in: Array | None
    kernel_gate: Array | None
    bias_gate: Array | None
    kernel_out: Array


class _MLP(NamedTuple):
    """The map from inputs to outputs, without the bias of the outputs."""

    activation: Callable[[Array], Array]
    product: Dense

    def __call__(self, x: Array, weights: _Weights) -> Array:
        units = self._affine(x, weights.kernel_in, weights.bias_in)
        if weights.kernel_gate is None:
            units = check_activated(self.activation(units), units)
        else:
            gate = self._affine(x, weights.kernel_gate, weights.bias_gate)
            units = check_activated(self.activation(gate), gate) * units
        return self.product(units, weights.kernel_out)

    def _affine(self, x: Array, kernel: Array, bias: Array | None) -> Array:
        y = self.product(x, kernel)
        return y if bias is None else y + lax.broadcast_to_rank(bias, y.ndim)


class _Units(NamedTuple):
    """How many blocks of hidden units there are, and how many of them are kept."""

    blocks: int
    kept: int
    block_size: int
    groups: int

    @classmethod
    def of(
        cls, hidden: int, rate: float, block_size: int, groups: int, deterministic: bool
    ) -> "_Units":
        rate = check_unit_rate(rate)
        hidden = check_known(hidden, "how many hidden units are computed")
        blocks = check_unit_blocks(hidden, block_size, groups)
        whole = check_deterministic(deterministic) or rate == 0
        kept = blocks if whole else groups * kept_count(blocks // groups, rate)
        return cls(blocks, kept, int(block_size), int(groups))

    def draw(self, key: Key[Array, ""]) -> Bool[Array, "groups part"]:
        """Draws the mask of the blocks."""
        return _draw(key, self)


@functools.partial(jax.jit, static_argnums=1)
def _draw(key: Key[Array, ""], units: _Units) -> Bool[Array, "groups part"]:
    indices = kept_indices(key, units.blocks, units.kept, units.groups)
    mask = jnp.zeros(units.blocks, bool).at[indices].set(True)
    return mask.reshape(units.groups, -1)


@functools.partial(jax.jit, static_argnums=(0, 2))
def _own_masks(
    units: _Units, key: Key[Array, ""], count: int
) -> Bool[Array, "count groups part"]:
    """One mask for each group of examples, each from a key of its own."""
    keys = jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(count))
    return jax.vmap(units.draw)(keys)


def _zeros(x: Array, features: int) -> Array:
    """Zeros with the sharding that the output would have."""
    shape = (*x.shape[:-1], features)
    return sharded_like(x, lambda x: jnp.zeros(shape, x.dtype), x.ndim - 1)(x)


def _thinned(
    mlp: _MLP, units: _Units, key: Key[Array, ""], x: Array, weights: _Weights
) -> Array:
    """The MLP of the kept units."""

    def forward(key: Key[Array, ""], x: Array, weights: _Weights) -> Array:
        return _of_mask(mlp, units, units.draw(key), x, weights)

    return sharded_like(x, forward, x.ndim - 1)(key, x, weights)


def _thinned_apart(
    mlp: _MLP,
    units: _Units,
    key: Key[Array, ""],
    x: Array,
    weights: _Weights,
    share: int,
) -> Array:
    """The MLPs of the units that each group of examples keeps, one after the other."""

    def forward(key: Key[Array, ""], x: Array, weights: _Weights) -> Array:
        rows = x if x.ndim > 1 else x[None]
        grouped = _in_groups(rows, share)

        # The kernels of each group are selected again instead of stored.
        @functools.partial(
            jax.checkpoint,
            policy=jax.checkpoint_policies.dots_saveable,
            prevent_cse=False,
        )
        def step(_: None, turn: tuple[Array, Array]) -> tuple[None, Array]:
            return None, _of_mask(mlp, units, *turn, weights)

        masks = _own_masks(units, key, grouped.shape[0])
        _, y = scan(step, None, (masks, grouped))
        y = lax.collapse(y, 0, 2)[: rows.shape[0]]
        return y if x.ndim > 1 else y[0]

    return sharded_like(x, forward, x.ndim - 1)(key, x, weights)


def _in_groups(
    x: Shaped[Array, "examples *rest"], share: int
) -> Shaped[Array, "groups share *rest"]:
    """Groups of examples; the last example fills up the last group."""
    examples = check_known(x.shape[0], "how many subsets are drawn")
    missing = -examples % share
    x = jnp.pad(x, [(0, missing)] + [(0, 0)] * (x.ndim - 1), mode="edge")
    return x.reshape(-1, share, *x.shape[1:])


def _of_mask(
    mlp: _MLP,
    units: _Units,
    mask: Bool[Array, "groups part"],
    x: Array,
    weights: _Weights,
) -> Array:
    kept = _kept_weights(weights, mask, units)
    y = mlp(x, kept)
    return scale(y, jnp.asarray(units.blocks / units.kept, working_dtype(y)))


@functools.partial(jax.jit, static_argnums=2)
def _kept_weights(
    weights: _Weights, mask: Bool[Array, "groups part"], units: _Units
) -> _Weights:
    """The weights of the kept units."""
    order = jnp.argsort(~mask, axis=-1)
    places = order.astype(jnp.int32), jnp.argsort(order, axis=-1).astype(jnp.int32)

    def kept(array: Array | None, axis: int = -1) -> Any:
        return None if array is None else _kept(array, places, units, axis % array.ndim)

    return weights._replace(
        kernel_in=kept(weights.kernel_in),
        bias_in=kept(weights.bias_in),
        kernel_gate=kept(weights.kernel_gate),
        bias_gate=kept(weights.bias_gate),
        kernel_out=kept(weights.kernel_out, 0),
    )


def _kept(array: Array, places: tuple[Array, Array], units: _Units, axis: int) -> Array:
    """The blocks along an axis that are first in the given order of each group."""
    before, after = array.shape[:axis], array.shape[axis + 1 :]
    groups, part = places[0].shape
    kept = units.kept // groups

    def first(blocks: Array, order: Array, inverse: Array) -> Array:
        ordered = _permuted(blocks, order, inverse, axis)
        return lax.slice_in_dim(ordered, 0, kept, axis=axis)

    blocks = array.reshape(*before, groups, part, units.block_size, *after)
    chosen = jax.vmap(first, (axis, 0, 0), axis)(blocks, *places)
    return chosen.reshape(*before, units.kept * units.block_size, *after)


def _permuted(
    x: Array, order: Int32[Array, " n"], inverse: Int32[Array, " n"], axis: int
) -> Array:
    """`jnp.take(x, order, axis)` with the inverse permutation as its transpose.

    JAX transposes a gather to a scatter, which on CPUs takes more time and memory than
    a gather of the gradient.
    """

    def take(indices: Int32[Array, " n"], x: Array) -> Array:
        places = (*[slice(None)] * axis, indices)
        return x.at[places].get(mode="promise_in_bounds", unique_indices=True)

    def solve(indices: Int32[Array, " n"]) -> Callable[..., Array]:
        return lambda _, x: take(indices, x)

    return lax.custom_linear_solve(
        functools.partial(take, inverse), x, solve(order), solve(inverse)
    )
