"""Recurrent dropout and zoneout, around any of flax's recurrent cells."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Inexact

from dropjax._checks import check_flag_given, check_recurrent_cell
from dropjax._masks import is_drawn
from dropjax._types import PyTree, RateLike
from dropjax.functional.sequences._recurrent import (
    KeyedCarry,
    drop_sequence,
    next_keys,
    sequence_keys,
    state_rates,
    zone_out,
)
from dropjax.nnx._base import Drop, Rngs

_CELLS = (nnx.LSTMCell, nnx.OptimizedLSTMCell, nnx.GRUCell, nnx.SimpleCell)


class _Wrapper(Drop, nnx.RNNCellBase):
    """A cell whose carry brings the keys of the masks."""

    cell: nnx.RNNCellBase

    def _rates(self) -> tuple[RateLike, ...]:
        raise NotImplementedError

    def _off(self) -> bool:
        return check_flag_given(self, self.deterministic)

    def initialize_carry(
        self, input_shape: tuple[int, ...], rngs: Rngs = None, carry_init: Any = None
    ) -> KeyedCarry:
        """The wrapped cell's carry, and keys for the masks of new sequences.

        Args:
          input_shape: the shape of one step's inputs, (*batch, *features).
          rngs: the source of keys for the cell's carry. Those of the masks come from
            the rngs that this layer was made with.
          carry_init: the initializer of the cell's carry.

        Returns:
          A carry of two parts: `state`, the wrapped cell's own, and `keys`.
        """
        keys = None
        if any(is_drawn(rate, self._off()) for rate in self._rates()):
            batch = input_shape[: -self.num_feature_axes]
            keys = sequence_keys(self._key(None), batch)
        state = self.cell.initialize_carry(input_shape, rngs, carry_init)
        return KeyedCarry(state, keys)

    @property
    def num_feature_axes(self) -> int:
        """How many axes of the inputs are features."""
        return self.cell.num_feature_axes


class RecurrentDropout(_Wrapper):
    r"""A recurrent cell under masks of its inputs and state, fixed over a sequence.

    $$h_t = f(W (m_x \odot x_t) + U (m_h \odot h_{t-1})), \qquad
      m \sim \text{Bernoulli}(1 - rate) / (1 - rate)$$

    One mask of each serves all gates (Gal's tied weights) and all steps; each sequence
    of the batch has its own. Only the products see the masked state: what a GRU or a
    residual cell hands on is whole, and so is an LSTM's memory. Keras calls the rates
    `recurrent_dropout` and `dropout`, but draws a mask for each gate.

    It wraps flax's LSTM, GRU and simple cells. Give it to `nnx.RNN` like any cell. Its
    carry holds the keys that the masks are drawn from at every step, so that nothing
    else needs to be told: a loop of one's own works, and a sequence that is cut in
    pieces keeps its masks when the carry is handed on. The wrapped cell's carry is
    `carry.state`.

    Args:
      cell: the cell to wrap.
      rate: the probability of dropping an element of the state, in [0, 1].
      input_rate: the probability of dropping an element of the inputs.
      deterministic: if True, nothing is dropped.
      rng_collection: the stream of rngs that the keys are taken from.
      rngs: the source of keys, needed where something is dropped.

    Example:
      >>> import dropjax.nnx as djn
      >>> from flax import nnx
      >>> rngs = nnx.Rngs(0)
      >>> cell = djn.RecurrentDropout(nnx.GRUCell(3, 4, rngs=rngs), 0.25, rngs=rngs)
      >>> assert nnx.RNN(cell)(jnp.ones((2, 7, 3))).shape == (2, 7, 4)

    References:
      Gal and Ghahramani, 2016, "A theoretically grounded application of dropout in
      recurrent neural networks", NeurIPS.
    """

    def __init__(
        self,
        cell: nnx.RNNCellBase,
        rate: RateLike,
        *,
        input_rate: RateLike = 0.0,
        deterministic: bool | None = False,
        rng_collection: str = "dropout",
        rngs: Rngs = None,
    ) -> None:
        check_recurrent_cell(cell, _CELLS)
        self.cell = cell
        self.input_rate = input_rate
        self._set_drop(rate, deterministic, rng_collection, rngs)

    def __call__(
        self, carry: KeyedCarry, inputs: Inexact[Array, "*batch features"]
    ) -> tuple[KeyedCarry, Inexact[Array, "*batch features_out"]]:
        """One step of the cell.

        Args:
          carry: of `initialize_carry`, or of the step before.
          inputs: one step's inputs.

        Returns:
          The new carry and the cell's output.
        """
        off = self._off()
        state, keys = carry
        inputs = drop_sequence(keys, inputs, self.input_rate, 0, off)
        dropped = drop_sequence(keys, jax.tree.leaves(state)[-1], self.rate, 1, off)
        state, output = _step(self.cell, state, dropped, inputs)
        return KeyedCarry(state, keys), output

    def _rates(self) -> tuple[RateLike, ...]:
        return self.rate, self.input_rate


class Zoneout(_Wrapper):
    """A recurrent cell whose state stays as it was, at random: `dropjax.zoneout`.

    Every element of the state tosses a coin at every step. The output is the state
    after that. With `deterministic=True` each step takes the mean over masks.

    It wraps any of flax's cells. Its carry holds the keys of the steps to come beside
    the wrapped cell's carry, which is `carry.state`, so that nothing else needs to be
    told to `nnx.RNN`.

    Args:
      cell: the cell to wrap.
      rate: the probability that an element of the state stays, in [0, 1].
      memory_rate: the same for an LSTM's memory; None takes `rate`.
      deterministic: if True, the mean is taken.
      rng_collection: the stream of rngs that the keys are taken from.
      rngs: the source of keys, needed where something is drawn.

    Example:
      >>> import dropjax.nnx as djn
      >>> from flax import nnx
      >>> rngs = nnx.Rngs(0)
      >>> cell = nnx.LSTMCell(3, 4, rngs=rngs)
      >>> zoned = djn.Zoneout(cell, 0.05, memory_rate=0.5, rngs=rngs)
      >>> assert nnx.RNN(zoned)(jnp.ones((2, 7, 3))).shape == (2, 7, 4)

    References:
      Krueger et al., 2017, "Zoneout: regularizing RNNs by randomly preserving hidden
      activations", ICLR.
    """

    def __init__(
        self,
        cell: nnx.RNNCellBase,
        rate: RateLike,
        *,
        memory_rate: RateLike | None = None,
        deterministic: bool | None = False,
        rng_collection: str = "dropout",
        rngs: Rngs = None,
    ) -> None:
        check_recurrent_cell(cell, _CELLS)
        self.cell = cell
        self.memory_rate = memory_rate
        self._set_drop(rate, deterministic, rng_collection, rngs)

    def __call__(
        self, carry: KeyedCarry, inputs: Inexact[Array, "*batch features"]
    ) -> tuple[KeyedCarry, Inexact[Array, "*batch features_out"]]:
        """One step of the cell.

        Args:
          carry: of `initialize_carry`, or of the step before.
          inputs: one step's inputs.

        Returns:
          The new carry and the last part of its state.
        """
        keys, own = next_keys(carry.keys)
        state, _ = self.cell(carry.state, inputs)
        state = zone_out(
            own, state, carry.state, self.rate, self.memory_rate, self._off()
        )
        return KeyedCarry(state, keys), jax.tree.leaves(state)[-1]

    def _rates(self) -> tuple[RateLike, ...]:
        return state_rates(self.rate, self.memory_rate)


def _step(
    cell: nnx.RNNCellBase, state: PyTree, dropped: Array, inputs: Array
) -> tuple[PyTree, Array]:
    """A step in which only the products with the state see it dropped."""
    if isinstance(cell, nnx.GRUCell):
        new = _gru(cell, state, dropped, inputs)
    elif isinstance(cell, nnx.SimpleCell):
        new = cell.dense_i(inputs) + cell.dense_h(dropped)
        new = cell.activation_fn(new + state if cell.residual else new)
    else:
        return cell((*state[:-1], dropped), inputs)
    return new, new


def _gru(cell: nnx.GRUCell, h: Array, dropped: Array, inputs: Array) -> Array:
    """A gated recurrent unit; the old state that it mixes in is whole."""
    of_inputs = jnp.split(cell.dense_i(inputs), 3, axis=-1)
    of_state = jnp.split(cell.dense_h(dropped), 3, axis=-1)
    reset = cell.gate_fn(of_inputs[0] + of_state[0])
    update = cell.gate_fn(of_inputs[1] + of_state[1])
    candidate = cell.activation_fn(of_inputs[2] + reset * of_state[2])
    return (1 - update) * candidate + update * h
