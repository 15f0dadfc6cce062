"""Rates as functions of depth and of the training step.

Wherever a method takes a rate, it may be a traced array. Hence any optax schedule is a
schedule of rates, changing the rate does not recompile, and rates over depth can be
scanned over with `jax.lax.scan`:

    rates = curriculum(0.5, 1000)(step) * linear_over_depth(1.0, 12)
    x, _ = jax.lax.scan(block, x, (layers, keys, rates))
"""

from collections.abc import Callable
from typing import Literal, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from dropjax._checks import check_choice, check_count, check_positive, check_scalar_rate
from dropjax._types import RateLike

__all__ = ["curriculum", "early_dropout", "late_dropout", "linear_over_depth"]

Convention: TypeAlias = Literal["paper", "timm", "efficientnet"]
Form: TypeAlias = Literal["linear", "constant"]

# The share of the rate at layer i of n, numbered from 0, is (i + shift) / (n + growth).
_CONVENTIONS = {"paper": (1, 0), "timm": (0, -1), "efficientnet": (0, 0)}


def linear_over_depth(
    rate: RateLike, depth: int, *, convention: Convention = "paper"
) -> Float[Array, "depth"]:
    r"""One rate per layer, growing linearly with depth, for `drop_path`.

    With layers numbered $i = 0, ..., n - 1$,

    $$\text{paper: } \frac{i + 1}{n} rate, \qquad
      \text{timm: } \frac{i}{n - 1} rate, \qquad
      \text{efficientnet: } \frac{i}{n} rate$$

    The last layer has the full rate in the first two conventions, and the first layer
    has rate 0 in the last two. In timm's convention, a network with one layer gets the
    rate 0.

    Args:
      rate: the maximum rate, in [0, 1], a number or a traced scalar.
      depth: n, the number of layers, a positive integer.
      convention: "paper" (Huang 2016), "timm" (its vision transformers, ConvNeXt, Swin
        and others, with `linspace`) or "efficientnet" (its `drop_connect_rate`, which
        is stochastic depth and not DropConnect).

    Returns:
      The rates, first layer first. For a number this is a NumPy array, so that a layer
      of rate 0 costs nothing; for a traced rate it is traced.

    Raises:
      ValueError: the rate is outside [0, 1] or not a scalar, depth is not a positive
        integer, or the convention is unknown.
      TypeError: the rate has the wrong type.

    Example:
      >>> from dropjax.schedules import linear_over_depth
      >>> rates = linear_over_depth(0.2, 4)
      >>> assert np.allclose(rates, [0.05, 0.1, 0.15, 0.2])
      >>> assert linear_over_depth(0.2, 4, convention="timm")[0] == 0

    References:
      Huang, Sun, Liu, Sedra and Weinberger, 2016, "Deep networks with stochastic
      depth", ECCV.
    """
    rate = check_scalar_rate(rate)
    check_choice(convention, "convention", dict.fromkeys(_CONVENTIONS, ""))
    shift, growth = _CONVENTIONS[convention]
    layers = np.arange(check_count(depth, "depth"))
    shares = (layers + shift) / max(depth + growth, 1)
    if isinstance(rate, jax.Array):
        return rate * jnp.asarray(shares, rate.dtype)
    return rate * shares  # type: ignore[return-value]


def curriculum(
    rate: RateLike, steps: int, *, sharpness: float = 10.0
) -> Callable[[ArrayLike], Float[Array, ""]]:
    r"""Curriculum dropout: increases the rate from 0 during training.

    $$rate(t) = rate \, (1 - e^{-\gamma t}), \qquad \gamma = sharpness / steps$$

    Args:
      rate: the limit of the rate, in [0, 1].
      steps: the length of the training in steps, a positive integer.
      sharpness: gamma times the steps, a positive number. The paper's 10 comes within
        5e-5 of the rate.

    Returns:
      A schedule in the form of optax: a function of the step, which may be traced, that
      returns the rate as a float32 scalar.

    Raises:
      ValueError: the rate is outside [0, 1] or not a scalar, or steps or sharpness is
        not positive.
      TypeError: the rate has the wrong type.

    Example:
      >>> from dropjax.schedules import curriculum
      >>> schedule = curriculum(0.5, 1000)
      >>> assert schedule(0) == 0
      >>> assert jnp.isclose(schedule(1000), 0.5, atol=5e-5)

    References:
      Morerio, Cavazza, Volpi, Vidal and Murino, 2017, "Curriculum dropout", ICCV.
    """
    rate = check_scalar_rate(rate)
    decay = check_positive(sharpness, "sharpness") / check_count(steps, "steps")

    def schedule(step: ArrayLike) -> Float[Array, ""]:
        step = jnp.maximum(jnp.asarray(step, jnp.float32), 0)
        passed = -jnp.expm1(-np.float32(decay) * step)
        return jnp.asarray(rate, jnp.float32) * passed

    return schedule


def early_dropout(
    rate: RateLike, steps: int, *, form: Form = "linear"
) -> Callable[[ArrayLike], Float[Array, ""]]:
    r"""Early dropout: drops during the first steps of the training only.

    $$\text{linear: } rate(t) = rate \, \max(0, 1 - t / steps), \qquad
      \text{constant: } rate(t) = rate \, [t < steps]$$

    It is meant for networks that underfit: dropout then makes the gradients of the
    first steps more consistent, and the rest of the training fits the data. The paper
    uses it for dropout and for stochastic depth. Pass the scheduled rate to
    `linear_over_depth` to give each residual branch its share:

        rates = linear_over_depth(early_dropout(0.5, 10_000)(step), depth)

    The linear form is `optax.linear_schedule(rate, 0, steps)`. The published code
    reaches 0 one step earlier, at the last of the early steps.

    Args:
      rate: the initial rate, in [0, 1], a number or a traced scalar. The paper uses 0.1
        for dropout, and 0.5 for stochastic depth.
      steps: the number of early steps, a positive integer. The paper uses 50 epochs of
        300.
      form: "linear", the paper's default, or "constant".

    Returns:
      A schedule in the form of optax: a function of the step, which may be traced, that
      returns the rate as a float32 scalar.

    Raises:
      ValueError: the rate is outside [0, 1] or not a scalar, steps is not positive, or
        the form is unknown.
      TypeError: the rate has the wrong type.

    Example:
      >>> from dropjax.schedules import early_dropout
      >>> schedule = early_dropout(0.5, 100)
      >>> assert schedule(0) == 0.5
      >>> assert schedule(50) == 0.25
      >>> assert schedule(100) == schedule(1000) == 0

    References:
      Liu, Xu, Jin, Shen and Darrell, 2023, "Dropout reduces underfitting", ICML.
    """
    rate, length = check_scalar_rate(rate), np.float32(check_count(steps, "steps"))
    check_choice(form, "form", {"linear": "", "constant": ""})

    def schedule(step: ArrayLike) -> Float[Array, ""]:
        step = jnp.asarray(step, jnp.float32)
        linear = jnp.clip(1 - step / length, 0, 1)
        share = linear if form == "linear" else jnp.ones_like(step)
        # Compared, because compiled divisions may be rounded to other results.
        return jnp.asarray(rate, jnp.float32) * jnp.where(step < length, share, 0)

    return schedule


def late_dropout(rate: RateLike, steps: int) -> Callable[[ArrayLike], Float[Array, ""]]:
    r"""Late dropout: drops after the first steps of the training only.

    $$rate(t) = rate \, [t \geq steps]$$

    It is meant for networks that overfit, which first fit the data quickly and are then
    regularized. The paper uses it for stochastic depth, and a constant rate only. It is
    the complement of `early_dropout(rate, steps, form="constant")`.

    Args:
      rate: the final rate, in [0, 1], a number or a traced scalar.
      steps: the number of steps without dropout, a positive integer. The paper uses 50
        epochs of 300.

    Returns:
      A schedule in the form of optax: a function of the step, which may be traced, that
      returns the rate as a float32 scalar.

    Raises:
      ValueError: the rate is outside [0, 1] or not a scalar, or steps is not positive.
      TypeError: the rate has the wrong type.

    Example:
      >>> from dropjax.schedules import late_dropout
      >>> schedule = late_dropout(0.5, 100)
      >>> assert schedule(99) == 0
      >>> assert schedule(100) == 0.5

    References:
      Liu, Xu, Jin, Shen and Darrell, 2023, "Dropout reduces underfitting", ICML.
    """
    early = early_dropout(1.0, steps, form="constant")
    rate = check_scalar_rate(rate)

    def schedule(step: ArrayLike) -> Float[Array, ""]:
        return jnp.asarray(rate, jnp.float32) * (1 - early(step))

    return schedule
