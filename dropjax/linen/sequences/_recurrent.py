"""Recurrent dropout and zoneout, around Flax's recurrent cells."""

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
    """A cell whose carry includes the PRNG keys of the masks."""

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
        """The layer's own rate or, in a model, the one among its variables."""
        return self.rate if self.scope is None else rate_of(self)

    @nn.nowrap
    def initialize_carry(self, rng: Array, input_shape: tuple[int, ...]) -> KeyedCarry:
        """Returns the cell's carry, and PRNG keys for the masks of new sequences.

        Args:
          rng: a PRNG key for the cell's carry. Outside of a model, where there is no
            rng collection, the keys of the masks are derived from it too.
          input_shape: the shape of the inputs of one step, (*batch, *features).

        Returns:
          A carry with two parts: `state`, the wrapped cell's carry, and `keys`.
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

    It wraps Flax's LSTM, GRU, MGU and simple cells and keeps their variables at the
    same paths. Pass it to `nn.RNN` like any cell. The PRNG keys of the masks are part
    of the carry: hand-written loops work as well, and a sequence that is processed in
    pieces keeps its masks if the carry is passed on. The wrapped cell's carry is
    `carry.state`.

    Attributes:
      cell: the cell to wrap.
      rate: the probability of dropping an element of the state, in [0, 1].
      input_rate: the probability of dropping an element of the inputs.
      deterministic: if True, nothing is dropped. It must be set here.
      rng_collection: the name of the rng collection that provides PRNG keys.

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
        """Runs one step of the cell.

        Args:
          carry: the result of `initialize_carry` or of the previous step.
          inputs: the inputs of one step.

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
    """`dropjax.zoneout` around a cell, which randomly keeps elements of its old state.

    Every step draws a mask with an entry for each element of the state. The output is
    the resulting state. With `deterministic=True` each step takes the mean over masks.

    It wraps any of Flax's cells and keeps their variables at the same paths. Pass it to
    `nn.RNN` like any cell. The PRNG keys of the following steps are part of the carry.
    The wrapped cell's carry is `carry.state`.

    Attributes:
      cell: the cell to wrap.
      rate: the probability that an element of the state keeps its old value, in [0, 1].
      memory_rate: the same for an LSTM's memory; None means `rate`.
      deterministic: if True, each step takes the mean over masks. It must be set here.
      rng_collection: the name of the rng collection that provides PRNG keys.

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
        """Runs one step of the cell.

        Args:
          carry: the result of `initialize_carry` or of the previous step.
          inputs: the inputs of one step.

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
    """A step that uses the dropped state in its matrix products only."""
    if isinstance(state, tuple):
        return cell((*state[:-1], dropped), inputs)

    def swap(
        call: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        context: nn.module.InterceptorContext,
    ) -> Any:
        # Flax names the recurrent products h, hr, hz, ... All cells but LSTMs also use
        # the state elsewhere, where it must not be masked.
        recurrent = isinstance(context.module, nn.Dense) and str(
            context.module.name
        ).startswith("h")
        return call(dropped) if recurrent else call(*args, **kwargs)

    with nn.intercept_methods(swap):
        return cell(state, inputs)
