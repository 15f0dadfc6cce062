"""Small networks with dropout for the UCI data sets: settings, training, scores.

All networks of a method are trained at once: the first axis is that of the runs, one
for each seed and split, the second that of a grid to choose from. The networks of a run
share their initial weights, the order of their examples and their random words.
"""

import dataclasses
import functools
import itertools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax
from jaxtyping import PyTree
from ml_collections import ConfigDict

import dropjax as dj
from training import rules, uci_data
from training.uci_data import Split

METHODS = ("none", "dropout", "concrete")
SCORES = ("rmse", "ll", "mean_rmse", "mean_ll", "input_rate", "hidden_rate", "tau")
_LAYERS = ("hidden", "output")
_INIT, _ORDER, _NOISE, _PREDICTION = range(4)


def uci_config(dataset: str, taus: tuple[float, ...]) -> ConfigDict:
    """Return the settings of an experiment, locked against typos.

    Args:
      dataset: one of `training.uci_data.ITEMS`.
      taus: the precisions of the noise to choose from, in the units of the targets.

    Returns:
      A ConfigDict in which values can be replaced by values of the same type.
    """
    config = ConfigDict()
    config.dataset = dataset
    config.seed = 0
    config.seeds = 1  # runs on each split, from consecutive seeds
    config.splits = 20
    config.methods = METHODS
    config.epochs = (40, 400, 4000)  # when to measure, in ascending order
    config.rates = (0.005, 0.01, 0.05, 0.1)
    config.taus = taus
    config.length_scale = 0.01  # of the prior
    config.initial_rate = 0.1  # of concrete dropout
    config.length_scales = (0.01, 1.0)  # for concrete dropout, a row each
    config.hidden = 50
    config.batch_size = 128
    config.learning_rate = 1e-3
    config.passes = 10_000
    config.epochs_per_call = 10  # between checks for Ctrl-C
    config.checkpoint_every = 200  # epochs
    return config.lock()


def check(config: ConfigDict) -> None:
    """Raise an error for invalid settings.

    Args:
      config: the result of ``get_config()``, with overrides applied.

    Raises:
      UserError: a key, a choice or a number is invalid.
    """
    start = "uci_config() of training.uci_nets"
    rules.check(config, uci_config("concrete", ()), _RULES, start)


_RULES: dict[str, rules.Rule] = {
    "dataset": rules.one_of(uci_data.ITEMS),
    "seed": rules.SEED,
    "seeds": rules.COUNT,
    "splits": rules.COUNT,
    "methods": (
        rules.each(str, METHODS.__contains__),
        f"a tuple of one or more of {', '.join(METHODS)}",
    ),
    "epochs": (
        lambda value: rules.COUNTS[0](value) and list(value) == sorted(set(value)),
        "a tuple of positive integers in ascending order",
    ),
    "rates": rules.FRACTIONS,
    "taus": rules.POSITIVES,
    "length_scale": rules.POSITIVE,
    "initial_rate": rules.FRACTION,
    "length_scales": rules.POSITIVES,
    "hidden": rules.COUNT,
    "batch_size": rules.COUNT,
    "learning_rate": rules.POSITIVE,
    "passes": rules.COUNT,
    "epochs_per_call": rules.COUNT,
    "checkpoint_every": rules.COUNT,
}


class Choice(NamedTuple):
    """A point of the grid.

    Attributes:
      rate: the dropout rate; concrete dropout starts from it.
      tau: the precision of the targets' noise, 1 / variance, in the units of the
        targets; concrete dropout learns its own.
      length_scale: of the prior over functions.
    """

    rate: jax.Array
    tau: jax.Array
    length_scale: jax.Array


def grid(config: ConfigDict, method: str) -> Choice:
    """Return the points to choose from; for concrete dropout, those to compare.

    Args:
      config: the settings.
      method: one of `METHODS`.

    Returns:
      The points, ``(grid,)``.
    """
    if method == "concrete":
        axes = (config.initial_rate,), (math.nan,), config.length_scales
    else:
        rates = (0.0,) if method == "none" else config.rates
        axes = rates, config.taus, (config.length_scale,)
    return Choice(*np.float32([*itertools.product(*axes)]).T)


class State(NamedTuple):
    """The networks of a method, and what was measured so far.

    Attributes:
      params: the parameters.
      optimizer: the optimizer's state.
      epoch: the number of epochs trained.
      scores: what `Fit.measure` recorded, each ``(stops, runs, grid)``.
      seconds: the time spent so far: of the wall clock, and of all cores.
    """

    params: PyTree
    optimizer: PyTree
    epoch: jax.Array
    scores: dict[str, jax.Array]
    seconds: jax.Array


@dataclasses.dataclass(frozen=True)
class Fit:
    """Jitted functions of all networks of a method.

    Attributes:
      init: ``stops -> state``, with room for the scores of so many stops.
      advance: ``(state, epochs) -> state``: trains for a number of epochs.
      measure: ``(state, stop) -> state``: records the scores of a stop: the root mean
        squared error ``rmse`` of the mean of all passes, the mean log-likelihood
        ``ll``, both also of the mean network, a single pass without dropping, and the
        rates of both layers and the ``tau`` that gave them.
    """

    init: Callable[[int], State]
    advance: Callable[[State, int], State]
    measure: Callable[[State, int], State]


def prepare(config: ConfigDict, method: str, splits: Split, choice: Choice) -> Fit:
    """Create the functions that train on all splits.

    Args:
      config: the settings.
      method: one of `METHODS`.
      splits: the stack of splits.
      choice: the points of the grid, ``(runs, grid)``, where the runs are
        ``config.seeds`` of the first split, then of the second, and so on.

    Returns:
      The functions.
    """
    net = _Net(config, method, *splits.x.shape[1:])
    runs = np.arange(len(choice.rate))
    keys = jax.vmap(net.key)(
        (config.seed + runs % config.seeds).astype(np.uint32), runs // config.seeds
    )
    choice = Choice(*map(jnp.asarray, choice))
    data = Split(*(jnp.repeat(it, config.seeds, axis=0) for it in splits))

    def over_all(function: Callable[..., Any]) -> Callable[..., Any]:
        grid = jax.vmap(function, in_axes=(None, None, 0, 0))
        return lambda state: jax.vmap(grid)(keys, data, choice, state)

    def init(stops: int) -> State:
        params, memory = over_all(net.init)(jnp.zeros(choice.rate.shape))
        scores = {name: jnp.zeros((stops, *choice.rate.shape)) for name in SCORES}
        return State(params, memory, jnp.int32(0), scores, jnp.zeros(2))

    def advance(state: State, epochs: jax.Array) -> State:
        end = state.epoch + epochs
        train = over_all(functools.partial(net.train, state.epoch, end))
        params, memory = train((state.params, state.optimizer))
        return state._replace(params=params, optimizer=memory, epoch=end)

    def measure(state: State, stop: jax.Array) -> State:
        found = over_all(net.measure)(state.params)
        scores = {it: state.scores[it].at[stop].set(found[it]) for it in SCORES}
        return state._replace(scores=scores)

    return Fit(
        jax.jit(init, static_argnums=0),
        jax.jit(advance, donate_argnums=0),
        jax.jit(measure),
    )


class _Net:
    """Functions of a single network."""

    def __init__(
        self, config: ConfigDict, method: str, examples: int, features: int
    ) -> None:
        self._config, self._method = config, method
        self._examples = examples
        self._sizes = (features, config.hidden, 1)
        self._optimizer = optax.adam(config.learning_rate, eps=1e-7)  # as in Keras

    def key(self, seed: jax.Array, split: jax.Array) -> jax.Array:
        """Return the key of a run."""
        return jax.random.fold_in(jax.random.key(seed, impl=dj.fast_prng), split)

    def init(
        self, key: jax.Array, data: Split, choice: Choice, _: jax.Array
    ) -> tuple[PyTree, PyTree]:
        """Return Glorot's uniform kernels, biases of 0, and the optimizer's state."""
        draw, params = jax.nn.initializers.glorot_uniform(), {}
        for index, (rows, columns) in enumerate(itertools.pairwise(self._sizes)):
            kernel = draw(_key(key, _INIT, index), (rows, columns))
            params[_LAYERS[index]] = {"kernel": kernel, "bias": jnp.zeros(columns)}
        if self._method == "concrete":
            logit = jax.scipy.special.logit(choice.rate)
            for layer in params.values():
                layer["logit"] = logit
            params["log_precision"] = jnp.float32(0)  # of the standardized targets
        return params, self._optimizer.init(params)

    def train(
        self,
        first: jax.Array,
        end: jax.Array,
        key: jax.Array,
        data: Split,
        choice: Choice,
        state: tuple[PyTree, PyTree],
    ) -> tuple[PyTree, PyTree]:
        """Train for the epochs from ``first`` to ``end``."""
        size = self._config.batch_size
        steps = -(-self._examples // size)

        def step(state: tuple[PyTree, PyTree], batch: Any) -> Any:
            params, memory = state
            gradients = jax.grad(self._loss)(params, choice, data.scale, *batch)
            updates, memory = self._optimizer.update(gradients, memory, params)
            return (optax.apply_updates(params, updates), memory), None

        def epoch(number: jax.Array, state: tuple[PyTree, PyTree]) -> Any:
            order = jax.random.permutation(_key(key, _ORDER, number), self._examples)
            # The last batch is smaller, as in Keras.
            rows = jnp.pad(
                order, (0, steps * size - self._examples), constant_values=-1
            )
            rows = rows.reshape(steps, size)
            noise = jax.random.split(_key(key, _NOISE, number), steps)
            batches = noise, data.x[rows], data.y[rows], rows >= 0
            return lax.scan(step, state, batches)[0]

        return lax.fori_loop(first, end, epoch, state)

    def _loss(
        self,
        params: PyTree,
        choice: Choice,
        scale: jax.Array,
        key: jax.Array,
        x: jax.Array,
        y: jax.Array,
        real: jax.Array,
    ) -> jax.Array:
        relaxed, drops = self._method == "concrete", self._method != "none"
        predicted = self._predict(
            key, params, choice, x, relaxed=relaxed, deterministic=not drops
        )
        error = jnp.where(real, (y - predicted) ** 2, 0).sum() / real.sum()
        layers, length = [params[name] for name in _LAYERS], choice.length_scale
        if relaxed:
            # The cost depends on the product of length scale and kernel, and only the
            # kernel may be traced.
            costs = [
                dj.concrete_dropout_regularizer(
                    it["logit"],
                    length * it["kernel"],
                    self._examples,
                    length_scale=1.0,
                )
                for it in layers
            ]
            log_precision = params["log_precision"]
            fit = error * jnp.exp(log_precision) - log_precision
            return fit / 2 + sum(costs)
        weights = sum((it["kernel"] ** 2).sum() for it in layers)
        decay = length**2 * (1 - choice.rate) / (2 * self._examples * choice.tau)
        return error + decay * weights

    def measure(
        self, key: jax.Array, data: Split, choice: Choice, params: PyTree
    ) -> dict[str, jax.Array]:
        """Return the scores of the rows to predict."""
        drops = self._method != "none"
        passes = self._config.passes if drops else 1
        tau = choice.tau
        if self._method == "concrete":
            tau = jnp.exp(params["log_precision"]) / data.scale**2
        predict = functools.partial(
            self._predict, params=params, choice=choice, x=data.test_x
        )

        def log_density(y: jax.Array) -> jax.Array:
            errors = data.test_y - (y * data.scale + data.mean)
            return (jnp.log(tau / (2 * math.pi)) - tau * errors**2) / 2

        def one(number: jax.Array, carry: tuple[jax.Array, jax.Array]) -> Any:
            total, densities = carry
            y = predict(_key(key, _PREDICTION, number), deterministic=not drops)
            return total + y, jnp.logaddexp(densities, log_density(y))

        nothing = jnp.zeros_like(data.test_y)
        carry = (nothing, jnp.full_like(nothing, -jnp.inf))
        total, densities = lax.fori_loop(0, passes, one, carry)
        mean = predict(key, deterministic=True)
        found = (
            _rmse(data, total / passes),
            (densities - math.log(passes)).mean(),
            _rmse(data, mean),
            log_density(mean).mean(),
            *self._rates(params, choice),
            tau,
        )
        return dict(zip(SCORES, found, strict=True))

    def _rates(self, params: PyTree, choice: Choice) -> list[jax.Array]:
        if self._method == "concrete":
            return [jax.nn.sigmoid(params[name]["logit"]) for name in _LAYERS]
        return [choice.rate for _ in _LAYERS]

    def _predict(
        self,
        key: jax.Array,
        params: PyTree,
        choice: Choice,
        x: jax.Array,
        *,
        relaxed: bool = False,
        deterministic: bool = False,
    ) -> jax.Array:
        """Return the standardized targets predicted by one pass."""
        rates = self._rates(params, choice)
        for index, (name, rate) in enumerate(zip(_LAYERS, rates, strict=True)):
            layer, noise = params[name], jax.random.fold_in(key, index)
            if relaxed:  # to learn the rate
                x = dj.concrete_dropout(noise, x, layer["logit"])
            else:
                x = dj.dropout(noise, x, rate, deterministic=deterministic)
            x = x @ layer["kernel"] + layer["bias"][None]
            x = jax.nn.relu(x) if name == "hidden" else x
        return x[:, 0]


def _rmse(data: Split, y: jax.Array) -> jax.Array:
    """The root mean squared error of standardized predictions, in the data's units."""
    return jnp.sqrt(((data.test_y - (y * data.scale + data.mean)) ** 2).mean())


def _key(key: jax.Array, purpose: int, number: int | jax.Array) -> jax.Array:
    return jax.random.fold_in(jax.random.fold_in(key, purpose), number)
