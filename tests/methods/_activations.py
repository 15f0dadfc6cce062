"""Activations of any shape."""

import functools

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from flax import nnx

import dropjax as dj
import dropjax.linen as djl
import dropjax.nnx as djn
from tests.methods._row import Method, activation, differences, ratios, twice

dropout = functools.partial(
    activation,
    function=dj.dropout,
    mask=dj.dropout_mask,
    linen=djl.Dropout,
    nnx=djn.Dropout,
)


SLOW = {"slow": True}


SATURATED = -1.7580993408473766


def alpha(mask, x, rate):
    keep = (np.float64 if x.real.dtype == np.float64 else np.float32)(1 - rate)
    gain = (keep * (1 + (1 - keep) * SATURATED**2)) ** -0.5
    filled = jnp.where(mask, x, jnp.asarray(SATURATED, x.dtype))
    shift = jnp.asarray(-gain * (1 - keep) * SATURATED, x.dtype)
    if jnp.iscomplexobj(x):
        return filled * gain.astype(x.dtype) + shift
    return filled * jnp.asarray(gain, x.dtype) + shift


def _differs_from_saturated(x, y, rate):
    return jnp.abs(y - alpha(jnp.zeros(x.shape, bool), x, rate)) > 1e-3


def _maximum(group):
    def explicit(mask, x, rate):
        highest = x.real.max(group, keepdims=True)
        return jnp.where(~mask & ((x.real == highest) | jnp.isnan(x.real)), 0, x)

    return explicit


maximum = functools.partial(
    activation,
    function=dj.max_dropout,
    mask=dj.max_dropout_mask,
    linen=djl.MaxDropout,
    nnx=djn.MaxDropout,
    shape=(30, 3, 4, 40),
)


def uniform(name, claims=None, **options):
    own = {"explicit": lambda mask, x, rate: x, "certain": False, "ulps": 4}
    return activation(
        name,
        dj.uniform_noise,
        None,
        djl.UniformNoise,
        djn.UniformNoise,
        (30, 40),
        None,
        {**own, "noise": "amplitude", **(claims or {})},
        **options,
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
        tells=ratios(4),
        certain=False,
        rated=False,
        ulps=4,
        saved=16 * 24 + 8,
    )


ROWS = [
    dropout(name="dropout", shape=(6, 12, 32), coins=(6, 12, 32)),
    dropout(
        name="dropout-standard",
        shape=(60, 40),
        coins=(60, 40),
        scaling="standard",
    ),
    dropout(
        name="dropout-broadcast_dims",
        shape=(40, 7, 40),
        coins=(40, 1, 40),
        broadcast_dims=(-2,),
    ),
    dropout(
        name="dropout-noise_shape",
        shape=(40, 7, 40),
        coins=(40, 1, 40),
        noise_shape=(None, 1, None),
        claims=SLOW,
    ),
    activation(
        "multi_sample_dropout",
        dj.multi_sample_dropout,
        dj.multi_sample_dropout_mask,
        djl.MultiSampleDropout,
        djn.MultiSampleDropout,
        (16, 24),
        (3, 16, 24),
        {
            "whole": lambda x: jnp.broadcast_to(x, (3, *x.shape)),
            "off": lambda x, rate: x[None],
            "output": (3, 16, 24),
        },
        samples=3,
    ),
    activation(
        "alpha_dropout",
        dj.alpha_dropout,
        dj.alpha_dropout_mask,
        djl.AlphaDropout,
        djn.AlphaDropout,
        (30, 40),
        (30, 40),
        {"explicit": alpha, "ulps": 4, "tells": _differs_from_saturated},
    ),
    activation(
        "feature_alpha_dropout",
        dj.feature_alpha_dropout,
        dj.feature_alpha_dropout_mask,
        djl.FeatureAlphaDropout,
        djn.FeatureAlphaDropout,
        (30, 2, 2, 40),
        (30, 1, 1, 40),
        {"explicit": alpha, "ulps": 4, "tells": _differs_from_saturated},
    ),
    # The definition of what has no mask is the function itself.
    activation(
        "gaussian_dropout",
        dj.gaussian_dropout,
        None,
        djl.GaussianDropout,
        djn.GaussianDropout,
        (30, 40),
        None,
        {
            "explicit": lambda mask, x, rate: x,
            "certain": False,
            "ulps": 4,
            "tells": ratios(4),
        },
    ),
    activation(
        "gaussian_noise",
        dj.gaussian_noise,
        None,
        djl.GaussianNoise,
        djn.GaussianNoise,
        (30, 40),
        None,
        {
            "explicit": lambda mask, x, rate: x,
            "certain": False,
            "noise": "stddev",
            "ulps": 4,
            "tells": differences(4),
        },
    ),
    uniform("uniform_noise", claims={**SLOW, "tells": differences(32)}),
    uniform(
        "uniform_noise-multiplicative",
        claims={"tells": ratios(32)},
        multiplicative=True,
    ),
    maximum(
        name="max_dropout",
        coins=(30, 1, 1, 40),
        claims={
            "explicit": _maximum((1, 2)),
            "certain": False,
            "talks": (1, 2),
            "saved": 30 * 3 * 4 * 40 + 8,
        },
    ),
    activation(
        "drop_activation",
        dj.drop_activation,
        dj.drop_activation_mask,
        djl.DropActivation,
        djn.DropActivation,
        (40, 30),
        (40, 30),
        {
            "whole": twice,
            "hole": lambda x: x,
            "scales": False,
            "heals": False,
            "off": lambda x, rate: x + x * np.float32(1 - rate),
        },
        activation=twice,
    ),
    _concrete_dropout(),
]
