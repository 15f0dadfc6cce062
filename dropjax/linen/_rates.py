"""Rates as variables: one that is in the collection "rates" replaces a layer's own."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from dropjax._checks import check_any_rates, check_rate
from dropjax._types import PyTree

RATES = "rates"

_LISTING: ContextVar[bool] = ContextVar("_LISTING", default=False)


def rates(
    module: nn.Module, *args: Any, rngs: PyTree | None = None, **kwargs: Any
) -> dict[str, Any]:
    """The rates of all layers of a model, as variables that can be given back changed.

    Every layer of dropjax looks for its rate among the variables, in the collection
    "rates" and at its own path, before it takes the one that it was made with. This
    returns the collection as it would be, a tree of arrays with the layers' own rates:

        rates = djl.rates(model, x)

    Change it, as a whole or by path, and give it to the model beside its parameters.
    A change is no new compilation, since rates are variables like others:

        @jax.jit
        def logits(params, step, x, key):
            now = jax.tree.map(lambda rate: schedule(step), rates)
            variables = {"params": params, "rates": now}
            return model.apply(variables, x, rngs={"dropout": key})

    A rate given in a layer's call comes before both. `nn.jit` and `nn.remat` hand all
    collections on. `nn.scan`, `nn.vmap` and `nn.RNN` hand on those that are named: with
    `variable_broadcast="rates"` all steps have one rate, and with
    `variable_axes={"rates": 0}` each layer of a scan has its own. Layers in one that
    does not name it keep the rates that they were made with, and are not in the tree.
    `PatchDropout`, whose rate sets the shape of its output, keeps its own. Other
    libraries' layers are left alone; `dropjax.linen.Dropout` is a drop-in for flax's.

    Args:
      module: any Linen module.
      *args: for the module's call, which is traced and not run.
      rngs: keys as `module.init` and `module.apply` take them; by default one for
        "params" and one for "dropout".
      **kwargs: for the module's call.

    Returns:
      The collection: at the path of each layer its "rate", an array, or a tree of
      arrays where its rate is one. Of a wrapper, which has the path of what it wraps,
      the entry is called "DropConnect_rate" and the like.

    Raises:
      ValueError: the module has no layer of dropjax that has a rate.

    Example:
      >>> import dropjax.linen as djl
      >>> import flax.linen as nn
      >>> net = nn.Sequential([djl.Dropout(0.5, deterministic=False), nn.Dense(3)])
      >>> x = jnp.ones((2, 5))
      >>> found = djl.rates(net, x)
      >>> assert found == {"layers_0": {"rate": 0.5}}
      >>> off = jax.tree.map(jnp.zeros_like, found)
      >>> params = net.init(key, x)["params"]
      >>> y = net.apply({"params": params, "rates": off}, x, rngs={"dropout": key})
      >>> dense = {"params": params["layers_1"]}
      >>> assert jnp.array_equal(y, nn.Dense(3).apply(dense, x))
    """
    given = {"params": jax.random.key(0), "dropout": jax.random.key(0)}

    @jax.jit
    def run(rngs: PyTree) -> Any:
        variables = module.init(rngs, *args, **kwargs)
        with _listing():
            options = {"rngs": rngs, "mutable": True, **kwargs}
            return module.apply(variables, *args, **options)[1].get(RATES, {})

    return check_any_rates(run(given if rngs is None else rngs))


def rate_of(layer: Any) -> Any:
    """The rate that is among the variables, or the one the layer was made with."""
    name = "rate" if not hasattr(layer, "module") else f"{type(layer).__name__}_rate"
    if layer.fixed_rate:
        return layer.rate
    if _LISTING.get():
        if layer.is_mutable_collection(RATES):
            layer.put_variable(RATES, name, _arrays(layer.rate))
        return layer.rate
    return layer.get_variable(RATES, name, layer.rate)


def _arrays(rate: PyTree) -> PyTree:
    if isinstance(rate, Mapping):
        return {name: _arrays(one) for name, one in rate.items()}
    return jax.tree.map(lambda one: jnp.asarray(check_rate(one), jnp.float32), rate)


@contextmanager
def _listing() -> Iterator[None]:
    """While this lasts, layers add their rates to the variables."""
    token = _LISTING.set(True)
    try:
        yield
    finally:
        _LISTING.reset(token)
