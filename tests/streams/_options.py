"""Streams of options, and of what is not an array: trees, subsets, passes, states."""

import dataclasses
import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import AxisType, PartitionSpec

import dropjax as dj
import dropjax.linen as djl
import dropjax.nnx as djn
from dropjax import inference, optimizers
from dropjax._random import leaf_keys
from dropjax.functional.sequences._recurrent import next_keys, sequence_keys
from tests.methods import array
from tests.methods._row import differences, ratios
from tests.streams._stream import Stream

RATE = 0.3
MANY = 32


def stream(name, shape, draw, rate=RATE, **options):
    made = Stream(name, shape, rate, options, draw)
    said = f"{name}, {made.said}" if options else name
    return dataclasses.replace(made, name=said)


def for_many_keys(draw):
    """A stream of few mask values, for many keys."""
    return lambda key: jax.vmap(draw)(jax.random.split(key, MANY))


def words(keys):
    return jnp.stack([jax.random.key_data(key) for key in keys])


# Masks of methods, by their mask functions.


def mask(function, shape, *, many=False, **options):
    draw = functools.partial(
        getattr(dj, f"{function}_mask"), shape=shape, rate=RATE, **options
    )
    return stream(function, shape, for_many_keys(draw) if many else draw, **options)


def plain(rate, said):
    draw = functools.partial(dj.keep_mask, shape=(64, 64), rate=rate)
    return stream(f"keep_mask at {said}", (64, 64), draw, said)


MASKS = [
    *(plain(rate, rate) for rate in (0.5, 0.1, 0.001, 0.999)),
    plain(np.linspace(0, 1, 64, dtype=np.float32), "linspace(0, 1, 64)"),
    mask("alpha_dropout", (20, 3, 20), broadcast_dims=(1,)),
    mask("alpha_dropout", (20, 3, 20), noise_shape=(None, 1, None)),
    mask("feature_alpha_dropout", (20, 12, 3), channel_axis=1),
    mask("feature_alpha_dropout", (3, 3, 200), batch_axis=None),
    mask("variational_dropout", (3, 12, 20), time_axis=0),
    mask("drop_path", (3, 3), many=True, mode="batch"),
    mask("drop_path", (3, 200), batch_axis=1),
    mask("drop_head", (10, 16, 4, 3), head_axis=1),
    mask("drop_head", (16, 10, 4, 3), batch_axis=1),
    mask("max_dropout", (12, 3, 12), broadcast_dims=(1,)),
    mask("attention_dropout", (2, 3, 10, 12), broadcast_dropout=False),
    mask("drop_block", (6, 9, 8, 4), block_size=3, gamma_scale=0.5),
    mask("cutout", (24, 8, 6, 2), size=3, inside=True),
    mask("cutout", (2, 24, 8, 6), size=(2, 3), channel_axis=0, batch_axis=1),
    mask("random_erasing", (24, 8, 6, 2), area=(0.3, 0.5), ratio=(1.0, 2.0)),
    mask("random_erasing", (2, 24, 8, 6), channel_axis=0, batch_axis=1),
    mask("spec_augment", (12, 30, 8), time_masks=1, time_width=9, frequency_masks=0),
    mask("spec_augment", (12, 30, 8), time_share=0.2, frequency_width=3),
    mask(
        "spec_augment",
        (8, 3, 30),
        seq_lengths=np.array([5, 20, 9]),
        time_axis=2,
        batch_axis=1,
        frequency_axis=0,
    ),
    mask("span_dropout", (12, 30, 3), span_length=7, min_spans=3),
    mask("span_dropout", (12, 3, 30), time_axis=2, span_length=3),
    mask("span_dropout", (3, 30, 3), span_length=3, seq_lengths=np.array([5, 20, 9])),
    mask("condition_dropout", (3, 60), batch_axis=1),
    mask("span_dropout", (3, 12, 30), span_length=3, time_axis=2, batch_axis=1),
    mask("structured_dropout_mlp", (4, 80), block_size=4),
    mask("structured_dropout_mlp", (4, 80), block_size=2, groups=4),
]


# What functions return where there is no mask, or where an option draws more.


def tells(function, shape, tell, dtype=np.float32, rate=RATE, **options):
    x = array(shape, dtype)

    def draw(key):
        return tell(x, getattr(dj, function)(key, x, rate, **options))

    name = function if rate == RATE else f"{function} at {rate}"
    return stream(name, shape, draw, rate, **options)


def ratio(x, y):
    return ratios(8)(x, y, RATE)


def difference(x, y):
    return differences(8)(x, y, RATE)


def small(x, y):
    return differences(128)(x, y, RATE)


def filled(x, y):
    return y


def second(x, y):
    return y[1]


def last(x, y):
    return y[-1]


def nonzero(x, y):
    return y != 0


def slopes(function, shape, **options):
    """The factors of the gradient, where they are not those of the output."""
    x, draw = array(shape), functools.partial(getattr(dj, function), **options)

    def factors(key):
        y, back = jax.vjp(lambda x: draw(key, x, RATE), x)
        return jnp.floor(64 * back(jnp.ones_like(y))[0]).astype(jnp.int32)

    return stream(f"{function}, its gradient", shape, factors, **options)


def concrete(shape, **options):
    x = array(shape)

    def draw(key):
        return ratio(x, dj.concrete_dropout(key, x, np.float32(-1), **options))

    return stream("concrete_dropout", shape, draw, "logit -1", **options)


MAPS = (6, 8, 6, 4)
VALUES = [
    tells("gaussian_dropout", (20, 3, 20), ratio, broadcast_dims=(1,)),
    tells("gaussian_noise", (20, 3, 20), difference, broadcast_dims=(1,)),
    tells("uniform_noise", (20, 3, 20), difference, broadcast_dims=(1,)),
    tells("neftune", (20, 3, 4), small, time_axis=0, batch_axis=1),
    tells("neftune", (3, 20, 4), small, seq_lengths=np.array([5, 20, 9])),
    concrete((20, 3, 20), broadcast_dims=(1,)),
    tells("shake_drop", (20, 3, 20), ratio, broadcast_dims=(1,)),
    tells("shake_drop", (60, 3), ratio, forward_range=(0.0, 2.0)),
    slopes("shake_drop", (60, 3)),
    slopes("shake_drop", (60, 3), backward_range=(-1.0, 1.0)),
    tells("patch_dropout", (6, 12, 4), second, prefix_tokens=2),
    tells("patch_dropout", (6, 12, 4), second, ordered=False),
    tells("patch_dropout", (6, 12, 4), second, rate=0.75),
    tells("random_masking", (6, 12, 4), last, ordered=False),
    tells("random_masking", (6, 12, 4), last, prefix_tokens=2),
    tells("weighted_channel_dropout", (12, 3, 10), nonzero, selected_rate=0.3),
    tells(
        "weighted_channel_dropout", (10, 12, 3), nonzero, channel_axis=0, batch_axis=1
    ),
    tells(
        "drop_block",
        MAPS,
        filled,
        np.int32,
        block_size=3,
        scale_by_keep=False,
        fill="random",
    ),
    tells("cutout", MAPS, filled, np.uint8, size=3, fill="random"),
    tells("random_erasing", MAPS, filled, np.int16, fill="random"),
]


def tree_streams():
    """Transforms of trees: the keys of leaves come from their paths."""
    params = {
        "dense": {"kernel": array((8, 6)), "bias": array((6,))},
        "layers": [{"w": array((4, 5))}, {"w": array((4, 5))}],
        "é/~0": {"kernel": array((5, 3))},
    }
    old = jax.tree.map(lambda x: x + 1, params)
    grads = jax.tree.map(jnp.ones_like, params)

    def same_as(tree):
        return lambda found: _joined(jax.tree.map(lambda x, y: x == y, found, tree))

    def steps(key):
        transform = optimizers.gradient_dropout(key, RATE)
        state, found = transform.init(params), []
        for _ in range(3):
            updates, state = transform.update(grads, state, params)
            found.append(_joined(jax.tree.map(lambda x: x != 0, updates)))
        return jnp.stack(found)

    everywhere = {"where": everything}
    whole = tree("dropconnect of a tree", params)
    return [
        whole(lambda key: _joined(dj.dropconnect_mask(key, params, RATE))),
        whole(
            lambda key: _joined(dj.dropconnect_mask(key, params, RATE, **everywhere)),
            **everywhere,
        ),
        whole(
            lambda key: _joined(dj.dropconnect_mask(key, params, RATE, block_size=2)),
            block_size=2,
        ),
        tree("dropconnect of an nnx.State", params)(
            lambda key: _joined(dj.dropconnect_mask(key, nnx.State(params), RATE))
        ),
        tree("mixout of a tree", params)(
            lambda key: same_as(old)(dj.mixout(key, params, old, RATE))
        ),
        tree("targeted_dropout of a tree", params)(
            lambda key: same_as(params)(dj.targeted_dropout(key, params, RATE))
        ),
        tree("targeted_dropout of a tree", params)(
            lambda key: same_as(params)(
                dj.targeted_dropout(key, params, 0.7, by="units", target=0.7)
            ),
            by="units",
            target=0.7,
        ),
        tree("gradient_dropout", params)(steps),
        tree("drop_path of a tree", params)(
            lambda key: _joined(
                jax.tree.map(
                    lambda x: x != 0,
                    dj.drop_path(key, [array((50, 2)), array((50, 3, 1))], RATE),
                )
            )
        ),
        stream("keys of leaves", (), lambda key: words(leaf_keys(key, PATHS)), "none"),
    ]


PATHS = [
    "kernel",
    "bias",
    "dense/kernel",
    "layers/0/w",
    "layers/10/w",
    "é/~0",
    "ü" * 99,
]


def everything(path, leaf):
    return True


def tree(function, params):
    leaves = jax.tree.leaves(params)

    def made(draw, **options):
        return stream(function, (len(leaves),), draw, **options)

    return made


def _joined(tree):
    return jnp.concatenate([jnp.ravel(leaf) for leaf in jax.tree.leaves(tree)])


# Masks per example. The rows of a kernel are powers of two and its mask does not scale,
# so that a sum over rows tells which of them were kept.


def rows_kept(function, kernel, x, bias=None, rate=RATE, **options):
    size = int(np.prod(kernel[:-1]))
    places = 2.0 ** np.arange(size, dtype=np.float32)
    weights = jnp.asarray(np.broadcast_to(places[:, None], (size, kernel[-1])))
    weights = weights.reshape(kernel)
    given = {"scaling": "standard", **options}
    if bias is not None:
        given |= {
            "bias": jnp.full(kernel[-1:], 2.0**size, jnp.float32),
            "bias_rate": bias,
        }
        options = {"bias_rate": bias, **options}

    def draw(key):
        y = getattr(dj, function)(key, jnp.ones(x, jnp.float32), weights, rate, **given)
        return y.astype(jnp.int32)

    name = function if rate == RATE else f"{function} at {rate}"
    name = name if len(x) == 2 else f"{name} of {len(x)} axes"
    return stream(name, (*x, *kernel), draw, rate, **options)


DENSE = functools.partial(rows_kept, "dropconnect_dense", (10, 7))
GENERAL = functools.partial(rows_kept, "dropconnect_dense_general", (2, 5, 7))
EINSUM = functools.partial(rows_kept, "dropconnect_einsum", (2, 5, 7))
CONV = functools.partial(
    rows_kept, "dropconnect_conv", (3, 3, 2, 4), (40, 3, 3, 2), padding="VALID"
)
PER_EXAMPLE = [
    DENSE((40, 10), mask_per="example"),
    DENSE((40, 10), rate=0.5, mask_per="example"),
    DENSE((40, 10), rate=0.25, mask_per="example"),
    DENSE((40, 3, 10), mask_per="example"),
    DENSE((40, 10), mask_per="example", bias=0.5),
    DENSE((40, 10), mask_per=3),
    DENSE((40, 10), mask_per=3, bias=0.1),
    DENSE((2, 10), bias=0.5),
    GENERAL((40, 2, 5), axis=(-2, -1), mask_per="example"),
    GENERAL((40, 2, 5), axis=(-2, -1), mask_per=16),
    GENERAL((40, 2, 5), axis=(-2, -1), bias=0.5),
    EINSUM((40, 2, 5), einsum_str="bij,ijo->bo", mask_per="example"),
    EINSUM((40, 2, 5), einsum_str="bij,ijo->bo", mask_per=16),
    EINSUM((40, 2, 5), einsum_str="bij,ijo->bo", bias=0.5),
    CONV(mask_per="example"),
    CONV(mask_per=16),
    CONV(mask_per="example", bias=0.5),
    CONV(bias=0.5),
]


# Attention: the values are one-hot, so that the output is the weights.


def attention(batch=2, queries=10, keys=12, heads=4, key_heads=None, **options):
    key_heads = key_heads or heads
    query = jnp.ones((batch, queries, heads, 2), jnp.float32)
    key_array = jnp.ones((batch, keys, key_heads, 2), jnp.float32)
    values = jnp.broadcast_to(
        jnp.eye(keys, dtype=jnp.float32)[:, None], (batch, keys, key_heads, keys)
    )

    def draw(key):
        y = dj.dot_product_attention(
            query,
            key_array,
            values,
            dropout_rng=key,
            dropout_rate=RATE,
            **options,
        )
        return y != 0

    shape = (batch, heads, queries, keys)
    name = "dot_product_attention of all heads"
    if key_heads != heads:
        name = "dot_product_attention of grouped heads"
    return stream(name, shape, draw, **options)


def ring():
    """The keys and values of a sequence travel from device to device."""
    shape = (2, 12, 2, 2)
    ones = jnp.ones(shape, jnp.float32)
    values = jnp.broadcast_to(jnp.eye(12, dtype=jnp.float32)[:, None], (2, 12, 2, 12))
    spec = PartitionSpec(None, "sequence")

    def draw(key):
        devices = jax.devices()[: 4 if len(jax.devices()) >= 4 else 1]
        mesh = jax.make_mesh(
            (len(devices),), ("sequence",), (AxisType.Auto,), devices=devices
        )

        @jax.jit
        @functools.partial(
            jax.shard_map, mesh=mesh, in_specs=(spec,) * 3, out_specs=spec
        )
        def attend(query, keys, values):
            return dj.dot_product_attention(
                query,
                keys,
                values,
                dropout_rng=key,
                dropout_rate=RATE,
                axis_name="sequence",
            )

        return attend(ones, ones, values) != 0

    return stream("dot_product_attention", shape, draw, axis_name="sequence")


ATTENTION = [
    attention(),
    attention(broadcast_dropout=True),
    attention(renormalize=True),
    attention(key_heads=2),
    attention(block_size=(4, 5)),
    attention(block_size=(4, 5), broadcast_dropout=True),
    attention(block_size=(4, 5), key_heads=2),
    attention(block_size=(5, 4), is_causal=True),
    ring(),
]


# States, passes and layers.


def sequences():
    def cell_keys(key):
        keys, found = sequence_keys(key, (3,)), []
        for _ in range(3):
            keys, own = next_keys(keys)
            found += [keys, own]
        return words(found)

    def zoned(key):
        cell = djl.Zoneout(nn.LSTMCell(6), RATE, memory_rate=0.5, deterministic=False)
        carry, x = cell.initialize_carry(key, (3, 5)), jnp.ones((3, 5), jnp.float32)
        variables = nn.LSTMCell(6).init(jax.random.key(0), carry.state, x)
        seen = []
        for _ in range(3):
            old = carry.state
            carry, _ = cell.apply(variables, carry, x)
            seen.append(_joined(jax.tree.map(lambda a, b: a == b, old, carry.state)))
        return jnp.stack(seen)

    return [
        stream("keys of sequences", (3,), cell_keys, "none"),
        stream("Zoneout", (3, 6), zoned, memory_rate=0.5),
    ]


def passes(**options):
    """The keys of the passes, as 16-bit halves, whose means are exact."""

    def halves(key):
        data = jax.random.key_data(key)
        return jnp.stack([data >> 16, data & 0xFFFF]).astype(jnp.float32)

    def draw(key):
        predict = inference.monte_carlo(halves, 5, keep_samples=True, **options)
        return predict(key).samples.astype(jnp.int32)

    return stream("monte_carlo", (5,), draw, "none", **options)


def sampled(face):
    """The mean over masks of a layer, times their number: rows are powers of two."""
    rows = jnp.broadcast_to(2.0 ** jnp.arange(10, dtype=jnp.float32)[:, None], (10, 7))
    options = {
        "use_bias": False,
        "scaling": "standard",
        "inference": "monte_carlo",
        "num_samples": 2,
        "activation": lambda y: y,
    }

    def draw(key):
        if face == "Linen":
            layer = djl.DropConnectDense(7, RATE, **options)
            y = layer.apply(
                {"params": {"kernel": rows}}, jnp.ones((3, 10), jnp.float32), True, key
            )
        else:
            layer = djn.DropConnectLinear(10, 7, RATE, **options, rngs=nnx.Rngs(0))
            layer.kernel[...] = rows
            y = layer(jnp.ones((3, 10), jnp.float32), deterministic=True, rngs=key)
        return (2 * y).astype(jnp.int32)

    return stream(f"DropConnectDense of {face}", (10, 7), draw, inference="monte_carlo")


def modalities(rates, shape=(40,), **options):
    """A mask for each modality, with a rate of its own."""

    def draw(key):
        shapes = [shape] * len(rates)
        return jnp.stack(dj.modality_dropout_mask(key, shapes, rates, **options), 1)

    name = f"modality_dropout at {rates}"
    return stream(name, (*shape, len(rates)), draw, rates, **options)


OPTIONS = [
    *MASKS,
    *VALUES,
    *tree_streams(),
    *PER_EXAMPLE,
    *ATTENTION,
    *sequences(),
    passes(),
    passes(batch_size=2),
    sampled("Linen"),
    sampled("NNX"),
    modalities([0.1, 0.6, 0.9]),
    modalities([0.5, 0.7], (3, 40), batch_axis=1),
]
