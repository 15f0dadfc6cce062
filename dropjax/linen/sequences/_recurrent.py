"""Recurrent dropout and zoneout, around any of flax's recurrent cells."""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import flax.linen as nn
import jax
from jaxtyping import Array, Inexact

from dropjax._checks import Check, check_recurrent_cell
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
from dropjax.linen._base import Drop, flag
from dropjax.linen._rates import rate_of

_CELLS = (
    nn.LSTMCell,
    nn.OptimizedLSTMCell,
    nn.ConvLSTMCell,
    nn.GRUCell,
    nn.MGUCell,
    nn.SimpleCell,
)


class _Wrapper(Drop, nn.RNNCellBase):
    """A cell whose carry brings the keys of the masks."""

    cell: nn.RNNCellBase
    rate: RateLike

    checks: ClassVar[Mapping[str, Check]] = {
        "cell": lambda cell, _: check_recurrent_cell(cell, _CELLS)
    }

    def _rates(self) -> tuple[RateLike, ...]:
        raise NotImplementedError

    def _off(self) -> bool:
        return flag(self)

    @nn.nowrap
    def _rate(self) -> RateLike:
        """Its own, or in a model the one that is among the variables."""
        return self.rate if self.scope is None else rate_of(self)

    @nn.nowrap
    def initialize_carry(self, rng: Array, input_shape: tuple[int, ...]) -> KeyedCarry:
        """The wrapped cell's carry, and keys for the masks of new sequences.

        Args:
          rng: a key for the cell's carry. Outside of a model, where there is no
            collection of rngs to take a key from, the masks' keys are made from it too.
          input_shape: the shape of one step's inputs, (*batch, *features).

        Returns:
          A carry of two parts: `state`, the wrapped cell's own, and `keys`.
        """
        cell, deterministic = self.cell, self._off()
        keys = None
        if any(is_drawn(rate, deterministic) for rate in self._rates()):
            if self.scope is None:
                rng, key = jax.random.split(rng)
            else:
                key = self.make_rng(self.rng_collection)
            keys = sequence_keys(key, input_shape[: -cell.num_feature_axes])
        return KeyedCarry(cell.initialize_carry(rng, input_shape), keys)

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

    It wraps flax's LSTM, GRU, MGU and simple cells, and its variables are theirs, at
    the same paths. Give it to `nn.RNN` like any cell. Its carry holds the keys that the
    masks are drawn from at every step, so that nothing else needs to be told: a loop of
    one's own works, and a sequence that is cut in pieces keeps its masks when the carry
    is handed on. The wrapped cell's carry is `carry.state`.

    Attributes:
      cell: the cell to wrap.
      rate: the probability of dropping an element of the state, in [0, 1].
      input_rate: the probability of dropping an element of the inputs.
      deterministic: if True, nothing is dropped. It must be given here.
      rng_collection: the collection of rngs that the keys are taken from.

    Example:
      >>> import dropjax.linen as djl
      >>> import flax.linen as nn
      >>> cell, x = nn.GRUCell(4), jnp.ones((2, 7, 3))
      >>> variables = nn.RNN(cell).init(key, x)
      >>> rnn = nn.RNN(djl.RecurrentDropout(cell, 0.25, deterministic=False))
      >>> assert rnn.apply(variables, x, rngs={"dropout": key}).shape == (2, 7, 4)

    References:
      Gal and Ghahramani, 2016, "A theoretically grounded application of dropout in
      recurrent neural networks", NeurIPS.
    """

    input_rate: RateLike = 0.0
    deterministic: bool | None = None
    rng_collection: str = "dropout"

    @nn.compact
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
        nn.share_scope(self, self.cell)
        off = self._off()
        state, keys = carry
        inputs = drop_sequence(keys, inputs, self.input_rate, 0, off)
        dropped = drop_sequence(keys, jax.tree.leaves(state)[-1], self._rate(), 1, off)
        state, output = _step(self.cell, state, dropped, inputs)
        return KeyedCarry(state, keys), output

    def _rates(self) -> tuple[RateLike, ...]:
        return self._rate(), self.input_rate


class Zoneout(_Wrapper):
    """A recurrent cell whose state stays as it was, at random: `dropjax.zoneout`.

    Every element of the state tosses a coin at every step. The output is the state
    after that. With `deterministic=True` each step takes the mean over masks.

    It wraps any of flax's cells, and its variables are theirs, at the same paths. Its
    carry holds the keys of the steps to come beside the wrapped cell's carry, which is
    `carry.state`, so that nothing else needs to be told to `nn.RNN`.

    Attributes:
      cell: the cell to wrap.
      rate: the probability that an element of the state stays, in [0, 1].
      memory_rate: the same for an LSTM's memory; None takes `rate`.
      deterministic: if True, the mean is taken. It must be given here.
      rng_collection: the collection of rngs that the keys are taken from.

    Example:
      >>> import dropjax.linen as djl
      >>> import flax.linen as nn
      >>> cell, x = nn.LSTMCell(4), jnp.ones((2, 7, 3))
      >>> variables = nn.RNN(cell).init(key, x)
      >>> zoned = djl.Zoneout(cell, 0.05, memory_rate=0.5, deterministic=False)
      >>> y = nn.RNN(zoned).apply(variables, x, rngs={"dropout": key})
      >>> assert y.shape == (2, 7, 4)

    References:
      Krueger et al., 2017, "Zoneout: regularizing RNNs by randomly preserving hidden
      activations", ICLR.
    """

    memory_rate: RateLike | None = None
    deterministic: bool | None = None
    rng_collection: str = "dropout"

    @nn.compact
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
        nn.share_scope(self, self.cell)
        keys, own = next_keys(carry.keys)
        state, _ = self.cell(carry.state, inputs)
        rates = self._rate(), self.memory_rate
        state = zone_out(own, state, carry.state, *rates, self._off())
        return KeyedCarry(state, keys), jax.tree.leaves(state)[-1]

    def _rates(self) -> tuple[RateLike, ...]:
        return state_rates(self._rate(), self.memory_rate)


def _step(
    cell: nn.RNNCellBase, state: PyTree, dropped: Array, inputs: Array
) -> tuple[PyTree, Array]:
    """A step in which only the products with the state see it dropped."""
    if isinstance(state, tuple):
        return cell((*state[:-1], dropped), inputs)

    def swap(
        call: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        context: nn.module.InterceptorContext,
    ) -> Any:
        # Flax names the recurrent products h, hr, hz, ...: all cells but LSTMs make
        # another use of the state, which is to see it whole.
        recurrent = isinstance(context.module, nn.Dense) and str(
            context.module.name
        ).startswith("h")
        return call(dropped) if recurrent else call(*args, **kwargs)

    with nn.intercept_methods(swap):
        return cell(state, inputs)
