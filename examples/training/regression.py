"""A regression with uncertainty: settings, data, network and training."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn
from jax import lax
from jaxtyping import PyTree
from ml_collections import ConfigDict

from dropjax import linen as djl
from dropjax.inference import monte_carlo
from training import rules

METHODS = ("dropout", "dropconnect", "concrete")
_INIT, _TRAINING, _PREDICTION = range(3)
_PASSES_AT_ONCE = 10
_LEAST_LOG_VARIANCE = -8.0


def regression_config() -> ConfigDict:
    """Return the default settings of a regression, locked against typos.

    Returns:
      A ConfigDict in which values can be replaced by values of the same type.
    """
    config = ConfigDict()
    config.seed = 0
    config.examples = 400
    config.noise = 0.1  # the standard deviation of the measurements
    config.hidden = (64, 64, 64)
    config.method = "dropout"
    config.rate = 0.1  # for "concrete", the initial rate
    config.length_scale = 0.1  # of the prior, for "concrete"
    config.steps = 4000
    config.learning_rate = 3e-3
    config.weight_decay = 1e-3
    config.passes = 200
    return config.lock()


def check(config: ConfigDict) -> None:
    """Raise an error for invalid settings.

    Args:
      config: the result of ``get_config()``, with overrides applied.

    Raises:
      UserError: a key, a choice or a number is invalid.
    """
    start = "regression_config() of training.regression"
    rules.check(config, regression_config(), _RULES, start)


_RULES: dict[str, rules.Rule] = {
    "seed": rules.SEED,
    "examples": (lambda value: value >= 2, "2 or more"),
    "noise": rules.NOT_NEGATIVE,
    "hidden": rules.COUNTS,
    "method": rules.one_of(METHODS),
    "rate": rules.FRACTION,
    "length_scale": rules.POSITIVE,
    "steps": rules.COUNT,
    "learning_rate": rules.POSITIVE,
    "weight_decay": rules.NOT_NEGATIVE,
    "passes": (lambda value: value >= 2, "2 or more"),
}


def law(x: np.ndarray) -> np.ndarray:
    """Return the true function, without measurement noise."""
    return np.sin(2 * x) + 0.3 * x


def measurements(config: ConfigDict) -> tuple[np.ndarray, np.ndarray]:
    """Return noisy measurements of `law` in two intervals with a gap between them.

    Args:
      config: the settings.

    Returns:
      The positions, from -3 to -1 and from 1 to 3, and the values.
    """
    generator = np.random.default_rng(config.seed)
    size = generator.uniform(1, 3, config.examples)
    x = np.where(np.arange(config.examples) % 2, size, -size)
    y = law(x) + config.noise * generator.standard_normal(config.examples)
    return x.astype(np.float32), y.astype(np.float32)


class Net(nn.Module):
    """Dense layers with ReLU, from a number to a mean and the log of a variance.

    The method applies to all layers except the first.
    """

    method: str
    rate: float
    length_scale: float
    hidden: tuple[int, ...]
    examples: int

    @nn.compact
    def __call__(
        self, x: jax.Array, deterministic: bool
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Return mean and log-variance for each number, and the regularizer."""
        x, total = nn.Dense(self.hidden[0])(x[:, None]), jnp.float32(0)
        for width in (*self.hidden[1:], 2):
            x, cost = self._noisy_dense(width, nn.relu(x), deterministic)
            total += cost
        return x[:, 0], jnp.maximum(x[:, 1], _LEAST_LOG_VARIANCE), total

    def _noisy_dense(
        self, width: int, x: jax.Array, deterministic: bool
    ) -> tuple[jax.Array, jax.Array]:
        if self.method == "concrete":
            layer = djl.ConcreteDropout(
                nn.Dense(width, parent=None),
                self.examples,
                init_rate=self.rate,
                length_scale=self.length_scale,
            )
            return layer(x, deterministic=deterministic)
        free = jnp.float32(0)
        if self.method == "dropconnect":
            return djl.DropConnectDense(width, self.rate)(x, deterministic), free
        return nn.Dense(width)(djl.Dropout(self.rate)(x, deterministic)), free


@dataclasses.dataclass(frozen=True)
class Regression:
    """Pure functions of a seed's key.

    Attributes:
      init: ``key -> state``, the parameters and the optimizer's state.
      advance: ``(key, state, first, length) -> (state, loss)``: takes ``length`` steps
        from step ``first`` and returns their mean loss.
      predict: ``(key, params, x) -> (mean, model, data)``: the mean over all passes,
        the variance between them, and the mean of the variances they predict.
    """

    init: Callable[[jax.Array], Any]
    advance: Callable[..., tuple[Any, jax.Array]]
    predict: Callable[..., tuple[jax.Array, jax.Array, jax.Array]]


def prepare(config: ConfigDict, x: np.ndarray, y: np.ndarray) -> Regression:
    """Create the functions that train on measurements.

    Args:
      config: the settings.
      x: the positions.
      y: the values.

    Returns:
      The functions, the last two jitted.
    """
    net = Net(config.method, config.rate, config.length_scale, config.hidden, len(x))
    rate = optax.cosine_decay_schedule(config.learning_rate, config.steps)
    optimizer = optax.adamw(rate, weight_decay=config.weight_decay, mask=_is_kernel)

    def init(key: jax.Array) -> tuple[PyTree, PyTree]:
        params = net.init(jax.random.fold_in(key, _INIT), x[:1], deterministic=True)
        return params, optimizer.init(params)

    def loss(params: PyTree, key: jax.Array) -> jax.Array:
        mean, log_variance, cost = net.apply(
            params, x, deterministic=False, rngs={"dropout": key}
        )
        errors = (y - mean) ** 2 * jnp.exp(-log_variance)
        return 0.5 * (errors + log_variance).mean() + cost

    def advance(
        key: jax.Array, state: tuple[PyTree, PyTree], first: jax.Array, length: int
    ) -> tuple[tuple[PyTree, PyTree], jax.Array]:
        def step(
            state: tuple[PyTree, PyTree], number: jax.Array
        ) -> tuple[tuple[PyTree, PyTree], jax.Array]:
            params, memory = state
            noise = jax.random.fold_in(jax.random.fold_in(key, _TRAINING), number)
            value, gradients = jax.value_and_grad(loss)(params, noise)
            updates, memory = optimizer.update(gradients, memory, params)
            return (optax.apply_updates(params, updates), memory), value

        state, values = lax.scan(step, state, first + jnp.arange(length))
        return state, values.mean()

    def passes(key: jax.Array, params: PyTree, x: jax.Array) -> dict[str, jax.Array]:
        mean, log_variance, _ = net.apply(
            params, x, deterministic=False, rngs={"dropout": key}
        )
        return {"mean": mean, "variance": jnp.exp(log_variance)}

    many = monte_carlo(passes, config.passes, batch_size=_PASSES_AT_ONCE)

    def predict(
        key: jax.Array, params: PyTree, x: jax.Array
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        prediction = many(jax.random.fold_in(key, _PREDICTION), params, x)
        mean, data = prediction.mean["mean"], prediction.mean["variance"]
        return mean, prediction.variance["mean"], data

    return Regression(init, jax.jit(advance, static_argnums=3), jax.jit(predict))


def rates(params: PyTree) -> list[float]:
    """Return the rates learned by a network with concrete dropout.

    Args:
      params: the parameters.

    Returns:
      One rate per layer with dropout; an empty list for other methods.
    """
    layers = params["params"].values()
    return [float(jax.nn.sigmoid(it["logit"])) for it in layers if "logit" in it]


def _is_kernel(params: PyTree) -> PyTree:
    return jax.tree.map(lambda leaf: leaf.ndim > 1, params)
