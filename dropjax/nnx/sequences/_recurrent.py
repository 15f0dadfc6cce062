"""Recurrent dropout and zoneout, around Flax's recurrent cells."""

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
    """A cell whose carry includes the PRNG keys of the masks."""

    cell: nnx.RNNCellBase

    def _rates(self) -> tuple[RateLike, ...]:
        raise NotImplementedError

    def _off(self) -> bool:
        return check_flag_given(self, self.deterministic)

    def initialize_carry(
        self, input_shape: tuple[int, ...], rngs: Rngs = None, carry_init: Any = None
    ) -> KeyedCarry:
        """Returns the cell's carry, and PRNG keys for the masks of new sequences.

        Args:
          input_shape: the shape of the inputs of one step, (*batch, *features).
          rngs: the source of PRNG keys for the cell's carry. The keys of the masks come
            from the rngs that were passed to the constructor.
          carry_init: the initializer of the cell's carry.

        Returns:
          A carry with two parts: `state`, the wrapped cell's carry, and `keys`.
        """
        keys = None
        if any(is_drawn(rate, self._off()) for rate in self._rates()):
            batch = input_shape[: -self.num_feature_axes]
            keys = sequence_keys(self._key(None), batch)
        state = self.cell.initialize_carry(input_shape, rngs, carry_init)
        return KeyedCarry(state, keys)

    @property
    def num_feature_axes(self) -> int:
        """The number of feature axes of the inputs."""
        return self.cell.num_feature_axes


class RecurrentDropout(_Wrapper):
    r"""A recurrent cell with dropped inputs and state, by masks fixed over a sequence.

    $$h_t = f(W (m_x \odot x_t) + U (m_h \odot h_{t-1})), \qquad
      m \sim \text{Bernoulli}(1 - rate) / (1 - rate)$$

    All gates (Gal's tied weights) and all steps share one mask of the inputs and one of
    the state; each sequence in the batch has its own masks. Only the matrix products
    use the masked state: the state that a GRU or a residual cell passes on is not
    masked, nor is an LSTM's memory. Keras calls the rates `recurrent_dropout` and
    `dropout`, but draws a mask for each gate.

    It wraps Flax's LSTM, GRU and simple cells. Pass it to `nnx.RNN` like any cell. The
    PRNG keys of the masks are part of the carry: hand-written loops work as well, and a
    sequence that is processed in pieces keeps its masks if the carry is passed on. The
    wrapped cell's carry is `carry.state`.

    Args:
      cell: the cell to wrap.
      rate: the probability of dropping an element of the state, in [0, 1].
      input_rate: the probability of dropping an element of the inputs.
      deterministic: if True, nothing is dropped.
      rng_collection: the name of the rng stream that provides PRNG keys.
      rngs: the source of PRNG keys, required if anything is dropped.

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
        """Runs one step of the cell.

        Args:
          carry: the result of `initialize_carry` or of the previous step.
          inputs: the inputs of one step.

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
    """`dropjax.zoneout` around a cell, which randomly keeps elements of its old state.

    Every step draws a mask with an entry for each element of the state. The output is
    the resulting state. With `deterministic=True` each step takes the mean over masks.

    It wraps any of Flax's cells. Pass it to `nnx.RNN` like any cell. The PRNG keys of
    the following steps are part of the carry. The wrapped cell's carry is
    `carry.state`.

    Args:
      cell: the cell to wrap.
      rate: the probability that an element of the state keeps its old value, in [0, 1].
      memory_rate: the same for an LSTM's memory; None means `rate`.
      deterministic: if True, each step takes the mean over masks.
      rng_collection: the name of the rng stream that provides PRNG keys.
      rngs: the source of PRNG keys, required if anything is drawn.

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
        """Runs one step of the cell.

        Args:
          carry: the result of `initialize_carry` or of the previous step.
          inputs: the inputs of one step.

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
    """A step that uses the dropped state in its matrix products only."""
    if isinstance(cell, nnx.GRUCell):
        new = _gru(cell, state, dropped, inputs)
    elif isinstance(cell, nnx.SimpleCell):
        new = cell.dense_i(inputs) + cell.dense_h(dropped)
        new = cell.activation_fn(new + state if cell.residual else new)
    else:
        return cell((*state[:-1], dropped), inputs)
    return new, new


def _gru(cell: nnx.GRUCell, h: Array, dropped: Array, inputs: Array) -> Array:
    """A gated recurrent unit that mixes in the old state unmasked."""
    of_inputs = jnp.split(cell.dense_i(inputs), 3, axis=-1)
    of_state = jnp.split(cell.dense_h(dropped), 3, axis=-1)
    reset = cell.gate_fn(of_inputs[0] + of_state[0])
    update = cell.gate_fn(of_inputs[1] + of_state[1])
    candidate = cell.activation_fn(of_inputs[2] + reset * of_state[2])
    return (1 - update) * candidate + update * h
