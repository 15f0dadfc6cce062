"""New rates for the layers of a whole model."""

from collections.abc import Callable
from typing import Any, TypeAlias

import jax
from flax import nnx

from dropjax._checks import check_layers, check_option, check_rate
from dropjax._types import PyTree, RateLike
from dropjax.nnx._base import Drop, held

NewRate: TypeAlias = RateLike | PyTree | Callable[[str, Any], Any]
WhereLayer: TypeAlias = Callable[[str, Any], bool]


def set_rates(
    module: nnx.Module, rate: NewRate, *, where: WhereLayer | None = None
) -> None:
    """Sets the rates of all layers of a model, or of some of them, in place.

        djn.set_rates(model, 0.3)

    This works as `model.eval()` does for flags. A rate given as an array is part of the
    model's state: under `nnx.jit`, replacing one array by another causes no
    recompilation:

        djn.set_rates(model, jnp.float32(0.0))  # before the first step
        djn.set_rates(model, schedule(step))    # before each of them

    Options such as `bias_rate` and layers of other libraries are not affected;
    `dropjax.nnx.Dropout` is a drop-in replacement for Flax's.

    Args:
      module: any NNX module.
      rate: the new rate, or a function that computes it from a layer's path, such as
        "encoder/layers/0/drop", and the layer: `lambda path, layer: 0.5 * layer.rate`.
      where: a function of a layer's path and the layer that returns True for the layers
        to change; None changes all.

    Raises:
      ValueError: a rate is outside [0, 1], or no layer is selected.
      TypeError: a rate is of the wrong type for its layer, such as an array where a
        Python number is needed.

    Example:
      >>> import dropjax.nnx as djn
      >>> from flax import nnx
      >>> net = nnx.Sequential(djn.Dropout(0.5), djn.SpatialDropout1D(0.5))
      >>> djn.set_rates(net, 0.0)
      >>> x = jnp.ones((2, 5, 3))
      >>> assert net(x) is x
    """
    layers = [
        ("/".join(map(str, path)), layer)
        for path, layer in nnx.iter_modules(module)
        if isinstance(layer, Drop) and hasattr(layer, "rate")
    ]
    chosen = [it for it in layers if where is None or where(*it)]
    check_layers(chosen, where)
    rates = [_checked(rate(*it) if callable(rate) else rate) for it in chosen]
    for (_, layer), new in zip(chosen, rates, strict=True):
        check_option(layer, "rate", new, layer.checks)
    for (_, layer), new in zip(chosen, rates, strict=True):
        layer.rate = held(new)


def _checked(rate: RateLike | PyTree) -> RateLike | PyTree:
    return jax.tree.map(check_rate, rate)
