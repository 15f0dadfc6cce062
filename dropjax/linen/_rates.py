"""Rates as variables: those in the collection "rates" override the layers' own."""

from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.core import DenyList

from dropjax._checks import check_layers, check_rate
from dropjax._types import PyTree

RATES = "rates"
# What `init` may write. "listing" names no collection: it makes the filter another one,
# for which `nn.jit` does not reuse what it traced in an `init`.
MUTABLE = DenyList(("intermediates", "listing"))

_LIFTED = (
    "; inside nn.scan, nn.vmap and nn.RNN, rates need variable_broadcast='rates' or "
    "variable_axes={'rates': 0}"
)

_LISTING: ContextVar[bool] = ContextVar("_LISTING", default=False)


def rates(
    module: nn.Module, *args: Any, rngs: PyTree | None = None, **kwargs: Any
) -> dict[str, Any]:
    """Returns the rates of all layers of a model, as a collection of variables.

    Every dropjax layer looks for its rate in the variable collection "rates", at its
    own path, before it uses the rate that it was constructed with. This function
    returns that collection with the layers' own rates, as a tree of arrays:

        rates = djl.rates(model, x)

    Change all of it or some paths, and pass it to the model with its parameters. Rates
    are variables like any others, so changing them causes no recompilation:

        @jax.jit
        def logits(params, step, x, key):
            now = jax.tree.map(lambda rate: schedule(step), rates)
            variables = {"params": params, "rates": now}
            return model.apply(variables, x, rngs={"dropout": key})

    A rate passed in a layer's call takes precedence over both. `nn.jit` and `nn.remat`
    pass all collections on. `nn.scan`, `nn.vmap` and `nn.RNN` pass on only those that
    they name: with `variable_broadcast="rates"` all steps share one rate, and with
    `variable_axes={"rates": 0}` each layer of a scan has its own. If they do not name
    it, the layers inside keep the rates that they were constructed with and are not in
    the tree. Layers whose rate determines a shape, such as `PatchDropout`, always keep
    their own, and so do options such as `bias_rate`. Layers of other libraries are not
    affected; `dropjax.linen.Dropout` is a drop-in replacement for Flax's.

    Args:
      module: any Linen module.
      *args: arguments of the module's call, which is traced but not executed.
      rngs: PRNG keys, as in `module.init` and `module.apply`; by default one for
        "params" and one for "dropout".
      **kwargs: keyword arguments of the module's call.

    Returns:
      The collection: at the path of each layer its "rate", an array, or a tree of
      arrays if its rate is a tree. A wrapper shares the path of the module that it
      wraps, so its entry is named after its class, such as "DropConnect_rate", or
      "LayerDrop_DropConnect_rate" if it wraps another wrapper.

    Raises:
      ValueError: the module has no dropjax layer with a rate.

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
        token = _LISTING.set(True)
        try:
            found = module.init(rngs, *args, mutable=MUTABLE, **kwargs)
        finally:
            _LISTING.reset(token)
        return found.get(RATES, {})

    found = run(given if rngs is None else rngs)
    check_layers(found, None, _LIFTED)
    return found


def rate_of(layer: Any) -> Any:
    """The rate among the variables, or else the one the layer was constructed with."""
    if layer.fixed_rate:
        return layer.rate
    name = _name(layer)
    if _LISTING.get():
        if layer.is_mutable_collection(RATES):
            layer.put_variable(RATES, name, _arrays(layer.rate))
        return layer.rate
    return layer.get_variable(RATES, name, layer.rate)


def _name(layer: Any) -> str:
    """The name of a layer's rate: wrappers have the path of what they wrap."""
    wraps = hasattr(layer, "share_scope")
    return f"{type(layer).__name__}_{_name(layer.module)}" if wraps else "rate"


def _arrays(rate: PyTree) -> PyTree:
    if isinstance(rate, Mapping):
        return {name: _arrays(one) for name, one in rate.items()}
    return jax.tree.map(lambda one: jnp.asarray(check_rate(one), jnp.float32), rate)
