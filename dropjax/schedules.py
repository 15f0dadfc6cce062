"""Rates over the depth of a net and over the steps of its training.

A rate may be a traced array wherever a method takes one. So any schedule of optax is a
schedule of rates, a change of rate is no new compilation, and rates over depth travel
through `jax.lax.scan` as its inputs:

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

__all__ = ["curriculum", "linear_over_depth"]

Convention: TypeAlias = Literal["paper", "timm", "efficientnet"]

# The share of the rate at layer i of n, counted from 0, as (i + shift) / (n + growth).
_CONVENTIONS = {"paper": (1, 0), "timm": (0, -1), "efficientnet": (0, 0)}


def linear_over_depth(
    rate: RateLike, depth: int, *, convention: Convention = "paper"
) -> Float[Array, "depth"]:
    r"""One rate per layer, growing linearly with depth: for `drop_path`.

    With layers counted $i = 0, ..., n - 1$,

    $$\text{paper: } \frac{i + 1}{n} rate, \qquad
      \text{timm: } \frac{i}{n - 1} rate, \qquad
      \text{efficientnet: } \frac{i}{n} rate$$

    The last layer has the full rate in the first two, and the first layer none in the
    last two. timm gives a net of one layer the rate 0.

    Args:
      rate: the rate that grows, in [0, 1], a number or a traced scalar.
      depth: n, the number of layers, 1 or more.
      convention: "paper" (Huang 2016), "timm" (its vision transformers, ConvNeXt, Swin
        and others, by `linspace`) or "efficientnet" (its `drop_connect_rate`, which is
        stochastic depth and not DropConnect).

    Returns:
      The rates, first layer first: of numpy for a number, so that a layer of rate 0
      costs nothing, and traced for a traced rate.

    Raises:
      ValueError: the rate is outside [0, 1] or no scalar, depth is not a positive
        integer, or the convention is unknown.
      TypeError: the rate is of the wrong type.

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
    check_choice(convention, tuple(_CONVENTIONS), "convention")
    shift, growth = _CONVENTIONS[convention]
    layers = np.arange(check_count(depth, "depth"))
    shares = (layers + shift) / max(depth + growth, 1)
    if isinstance(rate, jax.Array):
        return rate * jnp.asarray(shares, rate.dtype)
    return rate * shares  # type: ignore[return-value]


def curriculum(
    rate: RateLike, steps: int, *, sharpness: float = 10.0
) -> Callable[[ArrayLike], Float[Array, ""]]:
    r"""Curriculum dropout: no noise at first, then more and more, up to the rate.

    $$rate(t) = rate \, (1 - e^{-\gamma t}), \qquad \gamma = sharpness / steps$$

    Args:
      rate: the rate that is approached, in [0, 1].
      steps: the length of the training, 1 or more.
      sharpness: gamma times the steps; the paper's 10 comes within 5e-5 of the rate.

    Returns:
      A schedule in optax's form: from the number of the step, which may be traced, to
      the rate, a float32 scalar.

    Raises:
      ValueError: the rate is outside [0, 1] or no scalar, or steps or sharpness is not
        positive.
      TypeError: the rate is of the wrong type.

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
        passed = -jnp.expm1(-np.float32(decay) * jnp.asarray(step, jnp.float32))
        return jnp.asarray(rate, jnp.float32) * passed

    return schedule
