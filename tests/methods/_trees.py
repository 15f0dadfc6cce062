"""Other methods on trees than DropConnect; they have no layers."""

import jax.numpy as jnp
import numpy as np

import dropjax as dj
from tests.methods._row import Method, array


def _mask(key, shape, rate, **flag):
    return dj.dropconnect_mask(key, jnp.zeros(shape), rate, **flag)


def _pretrained(x):
    return array(np.shape(x), jnp.result_type(x), seed=1)


def _mixout(key, x, rate, **flag):
    return dj.mixout(key, x, _pretrained(x), rate, **flag)


def _mixed(mask, x, rate):
    old, keep = _pretrained(x), np.asarray(1 - rate, x.real.dtype)
    return jnp.where(mask, old + (1 / keep).astype(x.dtype) * (x - old), old)


def _targeted(mask, x, rate):
    """Of each unit's weights the smaller half is dropped, where the coins say so."""
    sizes, half = jnp.abs(x), x.shape[0] // 2
    smaller = sizes < jnp.sort(sizes, 0)[half : half + 1]
    return jnp.where(mask | ~smaller, x, 0)


ROWS = [
    Method(
        "mixout",
        (16, 24),
        (16, 24),
        _mixout,
        _mask,
        public=(dj.mixout,),
        explicit=_mixed,
        hole=_pretrained,
        others=True,
        once=False,  # The pretrained weights are, before they meet x.
        weights=True,
        ulps=4,
    ),
    Method(
        "targeted_dropout",
        (16, 24),
        (16, 24),
        dj.targeted_dropout,
        _mask,
        public=(dj.targeted_dropout,),
        explicit=_targeted,
        certain=False,
        heals=False,
        weights=True,
        talks=(0,),
        saved=16 * 24 + 8,
    ),
]
