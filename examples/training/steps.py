"""The train step, many steps scanned on the device, and evaluation.

All randomness is derived from the seed's key and the number of the step, so a
checkpoint of the state is sufficient to resume bit for bit.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax
from jaxtyping import PyTree

from dropjax import losses
from training.data import Split
from training.models import Model

_INIT, _ORDER, _NOISE = range(3)
# At most this many examples, and this many positions of texts, are evaluated at once.
_EVALUATION_BATCH = 512
_EVALUATION_POSITIONS = 2**15
_PADDING = -1


class Totals(NamedTuple):
    """Sums over examples, which are images or the characters of sequences."""

    loss: jax.Array
    correct: jax.Array
    examples: jax.Array


class State(NamedTuple):
    """The state of training.

    Attributes:
      params: the network's parameters.
      optimizer: the optimizer's state.
      step: the number of steps taken.
      totals: sums over the examples of the current epoch so far.
    """

    params: PyTree
    optimizer: PyTree
    step: jax.Array
    totals: Totals


Step = Callable[[jax.Array, State, jax.Array, jax.Array], State]
Advance = Callable[[jax.Array, State, Any, Any], State]


def initial_state(
    key: jax.Array, model: Model, optimizer: optax.GradientTransformation
) -> State:
    """Return the state before the first step.

    Args:
      key: the seed's key.
      model: the net.
      optimizer: the optimizer.

    Returns:
      The state.
    """
    params = model.init(jax.random.fold_in(key, _INIT))
    totals = Totals(jnp.float32(0), jnp.int32(0), jnp.int32(0))
    return State(params, optimizer.init(params), jnp.int32(0), totals)


def make_step(
    model: Model,
    optimizer: optax.GradientTransformation,
    steps_per_epoch: int,
    consistency: float = 0.0,
) -> Step:
    """Create the train step.

    Args:
      model: the net.
      optimizer: the optimizer.
      steps_per_epoch: the number of steps after which the totals are reset.
      consistency: R-Drop's alpha, the weight of the divergence between two passes; the
        loss is half of that in the paper, which sums both passes. 0: a single pass.

    Returns:
      ``(key, state, inputs, labels) -> state``, where ``key`` is the seed's key.
    """

    def step(
        key: jax.Array, state: State, inputs: jax.Array, labels: jax.Array
    ) -> State:
        noise = jax.random.fold_in(jax.random.fold_in(key, _NOISE), state.step)

        def mean_loss(params: PyTree) -> tuple[jax.Array, Totals]:
            if not consistency:
                logits = _logits(model, params, inputs, noise, state.step)
                totals = _compare(logits, labels)
                return totals.loss / labels.size, totals
            keys = jax.random.split(noise)
            passes = [_logits(model, params, inputs, it, state.step) for it in keys]
            first, second = (_compare(logits, labels) for logits in passes)
            apart = losses.r_drop(*passes).mean()
            loss = (first.loss + second.loss) / (2 * labels.size)
            return loss + consistency / 2 * apart, first

        gradients, totals = jax.grad(mean_loss, has_aux=True)(state.params)
        updates, optimizer_state = optimizer.update(
            gradients, state.optimizer, state.params
        )
        starts = state.step % steps_per_epoch == 0
        totals = jax.tree.map(
            lambda new, old: jnp.where(starts, new, old + new), totals, state.totals
        )
        params = optax.apply_updates(state.params, updates)
        return State(params, optimizer_state, state.step + 1, totals)

    return step


def make_scan(
    step: Step, batch_size: int, steps_per_epoch: int, length: int
) -> Advance:
    """Create a function that takes many steps of one epoch in one program.

    Args:
      step: the train step.
      batch_size: examples per step.
      steps_per_epoch: steps per epoch.
      length: how many steps to take.

    Returns:
      ``(key, state, inputs, labels) -> state``, given the whole train split.
    """

    def advance(
        key: jax.Array, state: State, inputs: jax.Array, labels: jax.Array
    ) -> State:
        order = epoch_order(key, state.step // steps_per_epoch, len(labels))

        def body(state: State, _: None) -> tuple[State, None]:
            start = state.step % steps_per_epoch * batch_size
            rows = lax.dynamic_slice(order, (start,), (batch_size,))
            return step(key, state, inputs[rows], labels[rows]), None

        return lax.scan(body, state, length=length)[0]

    return advance


def make_feed(
    step: Step, batch_size: int, steps_per_epoch: int, length: int
) -> Advance:
    """Create the counterpart of `make_scan` for data that does not fit on the device.

    Args:
      step: the train step.
      batch_size: examples per step.
      steps_per_epoch: steps per epoch.
      length: how many steps to take.

    Returns:
      ``(key, state, inputs, labels) -> state``, given the whole train split as
      NumPy arrays, from which batches are transferred to the device one by one.
    """
    jitted = jax.jit(step, donate_argnums=1)

    def advance(
        key: jax.Array, state: State, inputs: np.ndarray, labels: np.ndarray
    ) -> State:
        epoch, first = divmod(int(state.step), steps_per_epoch)
        order = np.asarray(epoch_order(key, epoch, len(labels)))
        for index in range(first, first + length):
            rows = order[index * batch_size : (index + 1) * batch_size]
            state = jitted(key, state, inputs[rows], labels[rows])
        return state

    return advance


def epoch_order(key: jax.Array, epoch: int | jax.Array, examples: int) -> jax.Array:
    """Return the order of the examples in an epoch.

    Args:
      key: the seed's key.
      epoch: the number of the epoch.
      examples: how many examples there are.

    Returns:
      A permutation of ``range(examples)``.
    """
    epoch_key = jax.random.fold_in(jax.random.fold_in(key, _ORDER), epoch)
    return jax.random.permutation(epoch_key, examples)


def make_count(model: Model) -> Callable[[PyTree, jax.Array, jax.Array], Totals]:
    """Create the device function of `evaluate`.

    Args:
      model: the net.

    Returns:
      ``(params, inputs, labels) -> totals``, without noise.
    """
    return lambda params, inputs, labels: _compare(
        _logits(model, params, inputs), labels
    )


def evaluate(
    count: Callable[[PyTree, jax.Array, jax.Array], Totals],
    params: PyTree,
    split: Split,
) -> tuple[np.ndarray, np.ndarray]:
    """Evaluate a network on a split, with ``deterministic=True``.

    Args:
      count: the function of `make_count`, jitted; it may be vmapped over params.
      params: the parameters.
      split: the data.

    Returns:
      The mean loss and the accuracy, one number per network.
    """
    parts = []
    positions = math.prod(split.labels.shape[1:])
    size = max(1, min(_EVALUATION_BATCH, _EVALUATION_POSITIONS // positions))
    for start in range(0, len(split), size):
        rows = slice(start, start + size)
        inputs, labels = _padded(split.inputs[rows], split.labels[rows], size)
        parts.append(jax.device_get(count(params, inputs, labels)))
    return means(jax.tree.map(lambda *sums: np.add.reduce(sums), *parts))


def means(totals: Totals) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean loss and the accuracy of some totals.

    Args:
      totals: the sums.

    Returns:
      The two means.
    """
    loss, correct, examples = jax.device_get(totals)
    return loss / examples, correct / examples


def as_numbers(inputs: jax.Array) -> jax.Array:
    """Scale the pixels of images to [0, 1]; return characters unchanged.

    Args:
      inputs: those of a `training.data.Split`.

    Returns:
      The inputs of a network.
    """
    if inputs.dtype == jnp.uint8:
        return inputs.astype(jnp.float32) / 255
    return inputs


def _logits(
    model: Model,
    params: PyTree,
    inputs: jax.Array,
    noise: jax.Array | None = None,
    step: jax.Array | None = None,
) -> jax.Array:
    return model.apply(params, as_numbers(inputs), noise, noise is None, step)


def _compare(logits: jax.Array, labels: jax.Array) -> Totals:
    """Sum over the examples; losses are averaged over samples, if there are any."""
    samples = logits if logits.ndim > labels.ndim + 1 else logits[None]
    real = labels != _PADDING
    targets = jnp.broadcast_to(jnp.where(real, labels, 0), samples.shape[:-1])
    entropies = optax.softmax_cross_entropy_with_integer_labels(samples, targets)
    hits = samples.mean(0).argmax(-1) == labels
    return Totals(jnp.where(real, entropies.mean(0), 0).sum(), hits.sum(), real.sum())


def _padded(
    inputs: np.ndarray, labels: np.ndarray, size: int
) -> tuple[np.ndarray, np.ndarray]:
    # To a fixed length, so that the last batch does not recompile.
    missing = [(0, size - len(labels))]
    inputs = np.pad(inputs, missing + [(0, 0)] * (inputs.ndim - 1))
    rest = [(0, 0)] * (labels.ndim - 1)
    return inputs, np.pad(labels, missing + rest, constant_values=_PADDING)
