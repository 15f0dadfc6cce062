"""Sequences, tokens, attention and recurrent states."""

import dataclasses
import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

import dropjax as dj
import dropjax.linen as djl
import dropjax.nnx as djn
from dropjax.functional.sequences._recurrent import KeyedCarry, sequence_keys
from tests.methods._row import Method, activation, differences


def _by_share(mask, x, rate):
    share = mask[:, :1, :, :1].mean(2, keepdims=True, dtype=x.real.dtype)
    share = jnp.broadcast_to(share, x.shape)
    gain = jnp.where(share == 0, 0, 1 / share).astype(x.dtype)
    return jnp.where(mask, x * gain, 0)


attention = functools.partial(
    activation,
    function=dj.attention_dropout,
    mask=dj.attention_dropout_mask,
    linen=djl.AttentionDropout,
    nnx=djn.AttentionDropout,
)


def _patches(face):
    """Without the indices of the tokens that are left."""

    def tokens(key, x, rate, deterministic=False):
        return face(key, x, rate, deterministic=deterministic)[0]

    return tokens


def _positions(x, y, rate):
    """Where in x the tokens of y were."""
    same = x[:, None] == y[:, :, None]
    return same.all(-1).argmax(-1)


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
            "tells": _positions,
        },
    )
    faces = {face: _patches(getattr(whole, face)) for face in whole.faces}
    return dataclasses.replace(whole, **faces)


def _restoring(face):
    """With zeros in the places of the tokens that are removed."""

    def restored(key, x, rate, deterministic=False):
        found = face(key, x, rate, deterministic=deterministic)
        if found.tokens is x:
            return x
        dropped = x.shape[-2] - found.tokens.shape[-2]
        latent = [found.tokens, jnp.zeros_like(x[..., :dropped, :])]
        return jnp.take_along_axis(
            jnp.concatenate(latent, -2),
            found.restore[..., None],
            -2,
            mode="promise_in_bounds",
        )

    return restored


def _random_masking():
    whole = activation(
        "random_masking",
        dj.random_masking,
        dj.random_masking_mask,
        djl.RandomMasking,
        djn.RandomMasking,
        (6, 10, 4),
        (6, 10, 1),
        {
            "kind": np.number,
            "scales": False,
            # The number kept is fixed, so that mask values are not independent.
            "fair": False,
            "several": False,
            "static": True,
            "counts": True,
            "talks": (1,),
            "redraws": False,
            # The indices of both gathers, and the zeros here.
            "saved": 6 * 7 + 6 * 10 + 6 * 3 * 4 + 8,
        },
    )
    faces = {face: _restoring(getattr(whole, face)) for face in whole.faces}
    return dataclasses.replace(whole, **faces)


def _attend(key, x, rate, deterministic=False, **options):
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
        **options,
    )


def _own_weights(key, shape, rate, **flag):
    """The coins of the weights that tokens give to themselves."""
    batch, tokens, heads, _ = shape
    weights = (batch, heads, tokens, tokens)
    mask = dj.attention_dropout_mask(key, weights, rate, **flag)
    own = jnp.diagonal(mask, axis1=-2, axis2=-1)
    return jnp.swapaxes(own, -1, -2)[..., None]


def _attention(name, claims=None, **options):
    return Method(
        name,
        (2, 15, 9, 3),
        (2, 15, 9, 1),
        functools.partial(_attend, **options),
        _own_weights,
        public=(dj.dot_product_attention,),
        kind=np.floating,
        others=True,
        once=False,  # The weights are, before they weigh.
        product=True,
        **(claims or {}),
    )


OLD = 0.25


def old(x):
    return jnp.full_like(x, OLD)


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


# A rate of 1 masks spans, not everything.
SPANS = {"kind": np.number, "scales": False, "fair": False, "certain": False}

ROWS = [
    activation(
        "variational_dropout",
        dj.variational_dropout,
        dj.variational_dropout_mask,
        djl.VariationalDropout,
        djn.VariationalDropout,
        (30, 4, 40),
        (30, 1, 40),
    ),
    activation(
        "embedding_dropout",
        dj.embedding_dropout,
        dj.embedding_dropout_mask,
        djl.EmbeddingDropout,
        djn.EmbeddingDropout,
        (1000, 3),
        (1000, 1),
    ),
    activation(
        "neftune",
        dj.neftune,
        None,
        djl.Neftune,
        djn.Neftune,
        (4, 10, 8),
        None,
        {
            "explicit": lambda mask, x, rate: x,
            "certain": False,
            "noise": "alpha",
            "ulps": 4,
            "tells": differences(256),
        },
    ),
    activation(
        "spec_augment",
        dj.spec_augment,
        dj.spec_augment_mask,
        djl.SpecAugment,
        djn.SpecAugment,
        (24, 12, 8),
        (24, 12, 8),
        SPANS,
        time_width=6,
        frequency_width=4,
    ),
    activation(
        "span_dropout",
        dj.span_dropout,
        dj.span_dropout_mask,
        djl.SpanDropout,
        djn.SpanDropout,
        (24, 20, 3),
        (24, 20, 1),
        {**SPANS, "talks": (1,)},
        span_length=4,
    ),
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
    attention(
        name="attention_dropout-broadcast_dropout",
        shape=(2, 3, 30, 40),
        coins=(1, 1, 30, 40),
        broadcast_dropout=True,
    ),
    _attention("dot_product_attention"),
    _attention("dot_product_attention-blocks", {"counts": True}, block_size=(4, 6)),
    activation(
        "drop_head",
        dj.drop_head,
        dj.drop_head_mask,
        djl.DropHead,
        djn.DropHead,
        (40, 2, 30, 3),
        (40, 1, 30, 1),
        {"explicit": _by_share, "talks": (2,)},
    ),
    _patch_dropout(),
    _random_masking(),
    _recurrent_dropout(),
    _zoneout(),
    _zoneout_layers(),
]
