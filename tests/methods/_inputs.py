"""Conditions and modalities."""

import jax.numpy as jnp
import numpy as np

import dropjax as dj
import dropjax.linen as djl
import dropjax.nnx as djn
from tests.methods._row import Method, activation


def _modality_dropout(name, claims, **options):
    """The modalities are along the second axis."""

    def restacked(drop):
        def stacked(key, x, rate, deterministic=False):
            modalities = list(jnp.moveaxis(x, 1, 0))
            y, _ = drop(key, modalities, rate, deterministic)
            same = all(one is other for one, other in zip(y, modalities, strict=True))
            return x if same else jnp.stack(y, 1)

        return stacked

    def function(key, x, rate, deterministic):
        off = {"deterministic": deterministic}
        return dj.modality_dropout(key, x, rate, **options, **off)

    def linen(key, x, rate, deterministic):
        layer = djl.ModalityDropout(rate, **options)
        return layer.apply({}, x, deterministic=deterministic, rng=key)

    def call_nnx(key, x, rate, deterministic):
        layer = djn.ModalityDropout(rate, **options)
        return layer(x, deterministic=deterministic, rngs=key)

    def mask(key, shape, rate, **flag):
        examples, modalities, *others = shape
        shapes = [(examples, *others)] * modalities
        masks = dj.modality_dropout_mask(key, shapes, rate, **options, **flag)
        return jnp.stack(masks, 1)

    things = (dj.modality_dropout, dj.modality_dropout_mask)
    return Method(
        name,
        (60, 5, 4),
        (60, 5, 1),
        *(restacked(function), mask, restacked(linen), restacked(call_nnx)),
        (*things, djl.ModalityDropout, djn.ModalityDropout),
        options,
        kind=np.generic,
        scales=False,
        # Rates per modality are a tree.
        several=False,
        # The modalities are counted.
        weights=True,
        **claims,
    )


CONDITION = {"kind": np.generic, "scales": False, "several": False}

ROWS = [
    activation(
        "condition_dropout",
        dj.condition_dropout,
        dj.condition_dropout_mask,
        djl.ConditionDropout,
        djn.ConditionDropout,
        (300, 2, 4),
        (300, 1, 1),
        {**CONDITION, "hole": lambda x: jnp.full_like(x, 7)},
        fill=7,
    ),
    _modality_dropout("modality_dropout", {"fair": False, "certain": False}),
    _modality_dropout("modality_dropout-independent", {"slow": True}, keep_one=False),
]
