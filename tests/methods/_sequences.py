"""Tokens: their ids, themselves, and what they attend to."""

import dataclasses

import jax.numpy as jnp
import numpy as np

import dropjax as dj
import dropjax.linen as djl
import dropjax.nnx as djn
from tests.methods._row import Method, activation


def _patches(face):
    """Without the indices of the tokens that are left."""

    def tokens(key, x, rate, deterministic=False):
        return face(key, x, rate, deterministic=deterministic)[0]

    return tokens


def _patch_dropout():
    whole = activation(
        "patch_dropout",
        dj.patch_dropout,
        None,
        djl.PatchDropout,
        djn.PatchDropout,
        (6, 10, 4),
        None,
        {
            "kind": np.number,
            "output": (6, 7, 4),
            "certain": False,
            "static": True,
            "counts": True,
            "talks": (1,),
            "saved": 6 * 7 + 8,
        },
    )
    faces = {face: _patches(getattr(whole, face)) for face in whole.faces}
    return dataclasses.replace(whole, **faces)


def _attend(key, x, rate, deterministic=False):
    """Every token sees itself alone, so that its weight is 1, or was dropped."""
    query = jnp.ones((*x.shape[:-1], 2), x.dtype)
    return dj.dot_product_attention(
        query,
        query,
        x,
        mask=jnp.eye(x.shape[-3], dtype=bool),
        dropout_rng=key,
        dropout_rate=rate,
        deterministic=deterministic,
    )


def _own_weights(key, shape, rate, **flag):
    """The coins of the weights that tokens give to themselves."""
    batch, tokens, heads, _ = shape
    weights = (batch, heads, tokens, tokens)
    mask = dj.attention_dropout_mask(key, weights, rate, **flag)
    own = jnp.diagonal(mask, axis1=-2, axis2=-1)
    return jnp.swapaxes(own, -1, -2)[..., None]


ROWS = [
    activation(
        "word_dropout",
        dj.word_dropout,
        dj.word_dropout_mask,
        djl.WordDropout,
        djn.WordDropout,
        (30, 40),
        (30, 40),
        {"kind": np.integer, "scales": False},
        unknown_id=0,
    ),
    _patch_dropout(),
    Method(
        "dot_product_attention",
        (2, 15, 9, 3),
        (2, 15, 9, 1),
        _attend,
        _own_weights,
        public=(dj.dot_product_attention,),
        kind=np.floating,
        others=True,
        once=False,  # The weights are, before they weigh.
        product=True,
    ),
]
