"""What is wrapped around a layer: the layers here do next to nothing, and show it."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

import dropjax as dj
import dropjax.linen as djl
import dropjax.nnx as djn
from dropjax.functional._recurrent import KeyedCarry, sequence_keys
from tests.methods._row import Method
from tests.methods._states import twice

OLD = 0.25


def old(x):
    return jnp.full_like(x, OLD)


class _LinenTwice(nn.Module):
    def __call__(self, x):
        return twice(x)


class _Twice(nnx.Module):
    def __call__(self, x):
        return twice(x)


def _layer_drop():
    def function(key, x, rate, deterministic=False):
        return dj.layer_drop(key, x, twice, rate, deterministic=deterministic)

    def linen(key, x, rate, deterministic=False):
        layer = djl.LayerDrop(_LinenTwice(), rate)
        return layer.apply({}, x, deterministic=deterministic, rng=key)

    def call_nnx(key, x, rate, deterministic=False):
        layer = djn.LayerDrop(_Twice(), rate)
        return layer(x, deterministic=deterministic, rngs=key)

    def mask(key, shape, rate, **flag):
        return dj.keep_mask(key, (), rate, **flag)

    return Method(
        "layer_drop",
        (12, 16),
        (),
        function,
        mask,
        linen,
        call_nnx,
        (dj.layer_drop, djl.LayerDrop, djn.LayerDrop),
        whole=twice,
        hole=lambda x: x,
        scales=False,
        off=lambda x, rate: twice(x),
        several=False,
        heals=False,
    )


LOGIT = np.array(-1, np.float32)


class _LinenWeighted(nn.Module):
    """A layer that has weights, as it must, and makes no use of them."""

    @nn.compact
    def __call__(self, x):
        self.param("kernel", nn.initializers.ones, (1, 1))
        return x


class _Weighted(nnx.Module):
    def __init__(self):
        self.kernel = nnx.Param(jnp.ones((1, 1)))

    def __call__(self, x):
        return x


def _concrete_dropout():
    def function(key, x, rate, deterministic=False):
        return dj.concrete_dropout(key, x, LOGIT, deterministic=deterministic)

    def linen(key, x, rate, deterministic=False):
        layer = djl.ConcreteDropout(_LinenWeighted(), examples=1)
        variables = {"params": {"kernel": jnp.ones((1, 1)), "logit": LOGIT}}
        return layer.apply(variables, x, deterministic=deterministic, rng=key)[0]

    def call_nnx(key, x, rate, deterministic=False):
        layer = djn.ConcreteDropout(_Weighted(), 1)
        layer.logit[...] = LOGIT
        return layer(x, deterministic=deterministic, rngs=key)[0]

    return Method(
        "concrete_dropout",
        (16, 24),
        None,
        function,
        None,
        linen,
        call_nnx,
        (dj.concrete_dropout, djl.ConcreteDropout, djn.ConcreteDropout),
        explicit=lambda mask, x, rate: x,
        certain=False,
        rated=False,
        ulps=4,
        saved=16 * 24 + 8,
    )


def _linear(x):
    return x


def _zeros(key, shape, dtype, *others):
    return jnp.zeros(shape, dtype)


def _identity(key, shape, dtype, *others):
    return jnp.eye(*shape, dtype=dtype)


def _step(wrapper, shows_inputs):
    """A step of a simple cell that shows its inputs, or its state, as they are."""
    of_inputs, of_state = (_identity, _zeros) if shows_inputs else (_zeros, _identity)
    options = {"kernel_init": of_inputs, "recurrent_kernel_init": of_state}
    options["activation_fn"] = _linear

    def carried(key, x):
        keys = None if key is None else sequence_keys(key, x.shape[:-1])
        return KeyedCarry(old(x) if shows_inputs else x, keys), x

    def linen(key, x, rate, deterministic=False):
        width = x.shape[-1]
        weights = [
            make(None, (width, width), x.dtype) for make in (of_inputs, of_state)
        ]
        params = {"i": {"kernel": weights[0], "bias": jnp.zeros(width, x.dtype)}}
        params["h"] = {"kernel": weights[1]}
        cell = getattr(djl, wrapper)(
            nn.SimpleCell(width, **options), rate, deterministic=deterministic
        )
        return cell.apply({"params": params}, *carried(key, x))[1]

    def call_nnx(key, x, rate, deterministic=False):
        dtypes = {"dtype": x.dtype, "param_dtype": x.dtype}
        width = x.shape[-1]
        plain = nnx.SimpleCell(width, width, **dtypes, **options, rngs=nnx.Rngs(0))
        cell = getattr(djn, wrapper)(plain, rate, deterministic=deterministic)
        return cell(*carried(key, x))[1]

    return linen, call_nnx


def _per_sequence(of_sequence):
    """The masks that each sequence of a batch draws from a key of its own."""

    def mask(key, shape, rate, deterministic=False):
        if key is None:
            return dj.keep_mask(None, shape, rate, deterministic=deterministic)
        draw = lambda key: dj.keep_mask(of_sequence(key), shape[-1:], rate)  # noqa: E731
        return jax.vmap(draw)(sequence_keys(key, shape[:1]))

    return mask


# The slowest of all; tests/test_recurrent.py has these layers too.
def _recurrent_dropout():
    function, call_nnx = _step("RecurrentDropout", shows_inputs=False)
    return Method(
        "recurrent_dropout",
        (24, 16),
        (24, 16),
        function,
        _per_sequence(lambda key: jax.random.fold_in(key, 1)),
        nnx=call_nnx,
        public=(djn.RecurrentDropout, djl.RecurrentDropout),
        several=False,
        others=True,
        product=True,
        slow=True,
    )


# The old state fills the hole, and after training the mean is taken.
ZONED = {
    "hole": old,
    "scales": False,
    "off": lambda x, rate: x * np.float32(1 - rate) + old(x) * np.float32(rate),
}


def _zoneout():
    def function(key, x, rate, deterministic=False):
        return dj.zoneout(key, x, old(x), rate, deterministic=deterministic)

    return Method(
        "zoneout",
        (40, 30),
        (40, 30),
        function,
        dj.zoneout_mask,
        public=(dj.zoneout, dj.zoneout_mask),
        others=True,
        **ZONED,
    )


def _zoneout_layers():
    function, call_nnx = _step("Zoneout", shows_inputs=True)
    return Method(
        "zoneout-layers",
        (24, 16),
        (24, 16),
        function,
        _per_sequence(lambda key: jax.random.fold_in(jax.random.split(key)[1], 0)),
        nnx=call_nnx,
        public=(djn.Zoneout, djl.Zoneout),
        refuses=False,
        several=False,
        others=True,
        product=True,
        slow=True,
        **ZONED,
    )


ROWS = [
    _layer_drop(),
    _concrete_dropout(),
    _recurrent_dropout(),
    _zoneout(),
    _zoneout_layers(),
]
