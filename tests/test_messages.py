"""Every error in words: name, rule, what was got, the way out."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax import export

import dropjax as dj
import dropjax.linen as djl
import dropjax.nnx as djn
from dropjax import inference, losses, optimizers, schedules
from dropjax.functional.sequences._recurrent import KeyedCarry

KEY = jax.random.key(0)
X = jnp.ones((4, 6))
RBG = jax.random.key(0, impl="rbg")
KERNEL = jnp.ones((6, 3))
TOKENS = jnp.zeros((4, 6), jnp.uint8)
IMAGE = jnp.ones((2, 8, 8, 4))
WINDOW = jnp.ones((3, 3, 4, 5))


WIDE = jnp.ones((6, 3, 2))


def dense(**options):
    return dj.dropconnect_dense(KEY, X, **{"kernel": KERNEL, "rate": 0.5, **options})


def general(**options):
    options = {"kernel": WIDE, "rate": 0.5, **options}
    return dj.dropconnect_dense_general(KEY, X, **options)


def einsum(equation):
    return dj.dropconnect_einsum(KEY, X, WIDE, 0.5, einsum_str=equation)


def conv(x=IMAGE, kernel=WINDOW, **options):
    return dj.dropconnect_conv(KEY, x, kernel, 0.5, **options)


def mix(**options):
    arguments = {"pretrained": {"a": KERNEL}, "rate": 0.5, **options}
    return dj.mixout(KEY, {"a": KERNEL}, **arguments)


def attend(x=IMAGE, **options):
    return dj.dot_product_attention(x, x, x, **options)


def calibrate(predictions=X / 6, labels=jnp.zeros(4, int), **options):  # noqa: B008
    options = {"outputs": "probabilities", **options}
    return inference.expected_calibration_error(predictions, labels, **options)


def passes(y, outputs):
    function = lambda key: jnp.where(jax.random.bits(key, y.shape) >= 0, y, y)  # noqa: E731
    return inference.monte_carlo(function, 2, outputs=outputs)(KEY)


def cost(logit=X[0, 0], kernel=KERNEL, examples=1, **options):
    return dj.concrete_dropout_regularizer(logit, kernel, examples, **options)


class Around(nn.Module):
    @nn.compact
    def __call__(self, x, deterministic):
        rnn = nn.RNN(nn.LSTMCell(8))
        return djl.DropConnect(rnn, 0.5)(x[None], deterministic=deterministic)


def around_a_cell_of_another():
    variables = Around().init(KEY, X, deterministic=True)
    return Around().apply(variables, X, deterministic=False, rngs={"dropout": KEY})


def both(a, b):
    return {"a": a, "b": b}


def traced(function, shape):
    """What is said where a size is symbolic."""
    x = jax.ShapeDtypeStruct(export.symbolic_shape(shape), "float32")
    return lambda: jax.eval_shape(function, x)


def units(rate=0.5, **given):
    arrays = {"kernel_in": jnp.ones((6, 12)), "kernel_out": jnp.ones((12, 6))}
    return dj.structured_dropout_mlp(KEY, X, rate=rate, **{**arrays, **given})


GOLDEN = {
    "blocks of a symbolic map": (
        traced(lambda x: dj.drop_block(KEY, x, 0.5), "8, b, 4"),
        ValueError,
        "x must have a known size where it decides how many blocks cover a position, "
        "got the symbolic dimension b; export a program for each size that is needed, "
        "or one with deterministic=True",
    ),
    "patches of a symbolic sequence": (
        traced(lambda x: dj.patch_dropout(KEY, x, 0.5), "8, b, 4"),
        ValueError,
        "x must have a known size where it decides how many tokens are left, got the "
        "symbolic dimension b; export a program for each size that is needed, or one "
        "with deterministic=True",
    ),
    "rate above": (
        lambda: dj.dropout(KEY, X, 1.5),
        ValueError,
        "rate is the probability of dropping and must lie in [0, 1], got 1.5",
    ),
    "rate array": (
        lambda: dj.dropout(KEY, X, np.array([[0.5], [0.5], [-0.5], [0.0]])),
        ValueError,
        "rate is the probability of dropping and must lie in [0, 1], got -0.5 at "
        "index (2, 0)",
    ),
    "one rate of many": (
        lambda: dj.dropout(KEY, X, jnp.full((4, 6), 0.5).at[3, 1].set(7)),
        ValueError,
        "rate is the probability of dropping and must lie in [0, 1], got 7.0 at index "
        "(3, 1)",
    ),
    "NNX's rngs for a key": (
        lambda: dj.dropout(nnx.Rngs(0), X, 0.5),
        TypeError,
        "key must be a PRNG key, got nnx.Rngs; call it for a key, as in rngs.dropout()",
    ),
    "NNX's stream for a key": (
        lambda: dj.zoneout(nnx.Rngs(dropout=0).dropout, X, X, 0.5),
        TypeError,
        "key must be a PRNG key, got nnx.RngStream; call it for a key, as in stream()",
    ),
    "a seed of attention": (
        lambda: dj.dot_product_attention(*[IMAGE] * 3, dropout_rng=0, dropout_rate=0.5),
        TypeError,
        "dropout_rng must be a PRNG key, got 0 (int); make one with "
        "jax.random.key(seed)",
    ),
    "a key for queries": (
        lambda: dj.dot_product_attention(KEY, IMAGE, IMAGE, dropout_rate=0.5),
        TypeError,
        "query must be an array of numbers, got a PRNG key, PRNGKeyArray of shape (), "
        "dtype key<fry>; pass a PRNG key as dropout_rng",
    ),
    "a tree of one leaf": (
        lambda: dj.dropout(KEY, {"a": X}, 0.5),
        TypeError,
        "x must be an array, got a tree of 1 leaf (dict); use dropjax.dropconnect to "
        "drop from a tree of parameters",
    ),
    "a class for a layer of NNX's": (
        lambda: djn.LayerDrop(nnx.Linear, 0.5),
        TypeError,
        "module must be a function of an array, such as jax.nn.relu, got the class "
        "Linear, not an instance of it",
    ),
    "a class for a layer of Linen's": (
        lambda: djl.DropConnect(nn.Dense, 0.5),
        TypeError,
        "module must be a Linen module, got the class Dense, not an instance of it; "
        "wrap a function in nn.Sequential([function])",
    ),
    "a class for a cell": (
        lambda: djn.Zoneout(nnx.GRUCell, 0.5),
        TypeError,
        "cell must be one of flax's LSTMCell, OptimizedLSTMCell, GRUCell, SimpleCell, "
        "got the class GRUCell, not an instance of it",
    ),
    "a class for a layer": (
        lambda: dj.layer_drop(KEY, X, nnx.Linear, 0.5),
        TypeError,
        "layer must be a function of an array, such as jax.nn.relu, got the class "
        "Linear, not an instance of it",
    ),
    "a rate of a mistyped path": (
        lambda: dj.dropconnect(KEY, {"net": both(X, X)}, {"net": {"a": 0.5, "c": 0}}),
        ValueError,
        "rate must be one rate or a tree prefix of params, got a rate at 'net/c', "
        "where params has no leaf",
    ),
    "no rate for a path": (
        lambda: dj.dropconnect(KEY, {"net": both(X, X)}, {"net": {"a": 0.5}}),
        ValueError,
        "rate must be one rate or a tree prefix of params, got no rate for the leaf "
        "'net/b'",
    ),
    "a rate of a layer's tree": (
        lambda: djl.DropConnect(nn.Dense(3), {"kernel": 1.5}),
        ValueError,
        "rate at 'kernel' is the probability of dropping and must lie in [0, 1], got "
        "1.5",
    ),
    "rate of a wrong type": (
        lambda: dj.dropout(KEY, X, "0.5"),
        TypeError,
        "rate must be a real number or a floating-point array, got '0.5' (str)",
    ),
    "rate as a flag": (
        lambda: dj.dropout(KEY, X, True),
        TypeError,
        "rate must be a real number or a floating-point array, got True (bool)",
    ),
    "rate of integers": (
        lambda: dj.dropout(KEY, X, jnp.zeros((), jnp.int32)),
        TypeError,
        "rate must be a real number or a floating-point array, got ArrayImpl of shape "
        "(), dtype int32",
    ),
    "rate per element where coins are shared": (
        lambda: dj.dropout(KEY, X, jnp.full((4, 6), 0.5), broadcast_dims=1),
        ValueError,
        "rate of shape (4, 6) must broadcast to the mask's shape (4, 1): elements "
        "that share a mask value share a rate, so use axes of size 1 there",
    ),
    "x a list": (
        lambda: dj.dropout(KEY, [1.0, 2.0], 0.5),
        TypeError,
        "x must be an array, got [1.0, 2.0] (list); wrap it in jnp.asarray, or use "
        "jax.eval_shape for shapes alone",
    ),
    "x a shape": (
        lambda: dj.dropout(KEY, jax.ShapeDtypeStruct((2,), jnp.float32), 0.5),
        TypeError,
        "x must be an array, got ShapeDtypeStruct of shape (2,), dtype float32; wrap "
        "it in jnp.asarray, or use jax.eval_shape for shapes alone",
    ),
    "x of integers": (
        lambda: dj.dropout(KEY, jnp.ones(3, jnp.int32), 0.5),
        TypeError,
        "x must be a floating-point or complex array, got dtype int32; cast it first, "
        "as in x.astype(jnp.float32)",
    ),
    "no key": (
        lambda: dj.dropout(None, X, 0.5),
        ValueError,
        "key is None, but this call draws a mask: pass a key, as in "
        "jax.random.key(0), or deterministic=True",
    ),
    "key a seed": (
        lambda: dj.dropout(0, X, 0.5),
        TypeError,
        "key must be a PRNG key, got 0 (int); make one with jax.random.key(seed)",
    ),
    "a batch of keys": (
        lambda: dj.dropout(jax.random.split(KEY, 3), X, 0.5),
        ValueError,
        "key must be one key, got a batch of keys of shape (3,); take one of them, or "
        "use jax.vmap",
    ),
    "a raw key of a wrong size": (
        lambda: dj.dropout(jnp.zeros(3, jnp.uint32), X, 0.5),
        TypeError,
        "key must be a typed key or a raw uint32 key of shape (2,), got ArrayImpl of "
        "shape (3,), dtype uint32; make one with jax.random.key(seed)",
    ),
    "a raw key of a wrong dtype": (
        lambda: dj.dropout(jnp.zeros(2, jnp.int32), X, 0.5),
        TypeError,
        "key must be a typed key or a raw uint32 key of shape (2,), got ArrayImpl of "
        "shape (2,), dtype int32; make one with jax.random.key(seed)",
    ),
    "shape a number": (
        lambda: dj.keep_mask(KEY, 3, 0.5),
        TypeError,
        "shape must be a sequence of integers, got 3 (int)",
    ),
    "shape negative": (
        lambda: dj.dropout_mask(KEY, (3, -1), 0.5),
        ValueError,
        "shape must hold non-negative integers, got (3, -1)",
    ),
    "axis out of range": (
        lambda: dj.dropout(KEY, X, 0.5, broadcast_dims=(2,)),
        ValueError,
        "broadcast_dims must name axes of an array with 2 axes, got 2",
    ),
    "axis twice": (
        lambda: dj.dropout(KEY, X, 0.5, broadcast_dims=(1, -1)),
        ValueError,
        "broadcast_dims must name each axis once, got (1, -1)",
    ),
    "axis of a wrong type": (
        lambda: dj.dropout(KEY, X, 0.5, broadcast_dims=1.0),
        TypeError,
        "broadcast_dims must be an axis or a sequence of axes, got 1.0 (float)",
    ),
    "channel axis": (
        lambda: dj.spatial_dropout(KEY, X, 0.5, channel_axis=3),
        ValueError,
        "channel_axis must name axes of an array with 2 axes, got 3",
    ),
    "one axis for channels and batch": (
        lambda: dj.spatial_dropout(KEY, X, 0.5, channel_axis=0),
        ValueError,
        "channel_axis and batch_axis must be different axes, got 0 and 0; use "
        "batch_axis=None for an array without a batch",
    ),
    "noise_shape of a wrong length": (
        lambda: dj.dropout(KEY, X, 0.5, noise_shape=(4,)),
        ValueError,
        "noise_shape must have one entry for each of the 2 axes of x, got (4,)",
    ),
    "noise_shape of a wrong size": (
        lambda: dj.dropout(KEY, X, 0.5, noise_shape=(4, 2)),
        ValueError,
        "each entry of noise_shape must be 1 (shared), or None or the axis's size (not "
        "shared), got (4, 2) for shape (4, 6)",
    ),
    "noise_shape of a wrong type": (
        lambda: dj.dropout(KEY, X, 0.5, noise_shape=4),
        TypeError,
        "noise_shape must be a sequence of integers or None, got 4 (int)",
    ),
    "two ways to share": (
        lambda: dj.dropout(KEY, X, 0.5, broadcast_dims=0, noise_shape=(1, None)),
        ValueError,
        "pass broadcast_dims or noise_shape, not both: got broadcast_dims=0 and "
        "noise_shape=(1, None)",
    ),
    "flag of a wrong type": (
        lambda: dj.dropout(KEY, X, 0.5, deterministic=2),
        TypeError,
        "deterministic must be True or False, got 2 (int); to switch inside jit, trace "
        "the rate: jnp.where(off, 0.0, rate)",
    ),
    "another flag of a wrong type": (
        lambda: dj.drop_block(KEY, IMAGE, 0.5, per_channel="False"),
        TypeError,
        "per_channel must be True or False, got 'False' (str); under jit it is a "
        "static argument",
    ),
    "a flag of Monte-Carlo passes": (
        lambda: dj.inference.monte_carlo(dj.dropout, 2, keep_samples=jnp.array(True)),
        TypeError,
        "keep_samples must be True or False, got ArrayImpl of shape (), dtype bool; "
        "under jit it is a static argument",
    ),
    "passes of what is no function": (
        lambda: dj.inference.monte_carlo("a", 3),
        TypeError,
        "apply_fn must be a function of a key and of what else it is called with, got "
        "'a' (str)",
    ),
    "no axis where there is one": (
        lambda: dj.drop_head(KEY, X, 0.5, head_axis=[]),
        TypeError,
        "head_axis must be one axis, an integer, got [] (list); to share mask values "
        "along several axes, use dropout with broadcast_dims",
    ),
    "a layer of Linen's that is no module": (
        lambda: djl.LayerDrop(0.5, 0.5).apply({}, X, deterministic=True),
        TypeError,
        "module must be a Linen module, got 0.5 (float); wrap a function in "
        "nn.Sequential([function])",
    ),
    "a layer of NNX's that is no function": (
        lambda: djn.LayerDrop(0.5, 0.5),
        TypeError,
        "module must be a function of an array, such as jax.nn.relu, got 0.5 (float)",
    ),
    "an activation of a layer that is a word": (
        lambda: djl.DropConnectDense(4, 0.5, activation="relu").init(KEY, X, True),
        TypeError,
        "activation must be a function of an array, such as jax.nn.relu, got 'relu' "
        "(str)",
    ),
    "an activation of samples that is a word": (
        lambda: dj.dropconnect_gaussian(KEY, X, KERNEL, 0.5, "relu", num_samples=2),
        TypeError,
        "activation must be a function of an array, such as jax.nn.relu, got 'relu' "
        "(str)",
    ),
    "a lone number to be masked": (
        lambda: dj.dropconnect_mask(KEY, 5, 0.5),
        TypeError,
        "params must be a floating-point or complex array, got 5 (int)",
    ),
    "a lone array of integers to be masked": (
        lambda: dj.dropconnect_mask(KEY, TOKENS, 0.5),
        TypeError,
        "params must be a floating-point or complex array, got ArrayImpl of shape "
        "(4, 6), dtype uint8",
    ),
    "a bias of attention": (
        lambda: dj.dot_product_attention(IMAGE, IMAGE, IMAGE, bias=X[0]),
        ValueError,
        "bias of shape (6,) must broadcast to the shape of the attention weights, "
        "(*batch, heads, queries, keys), here (2, 8, 8, 8); use axes of size 1 to "
        "share it",
    ),
    "a complex bias of attention": (
        lambda: dj.dot_product_attention(
            IMAGE, IMAGE, IMAGE, bias=jnp.ones(8, jnp.complex64)
        ),
        TypeError,
        "bias must be of a real dtype, got dtype complex64; take its real part, or "
        "make features of real and imaginary parts",
    ),
    "a mask of attention": (
        lambda: dj.dot_product_attention(IMAGE, IMAGE, IMAGE, mask=[True]),
        TypeError,
        "mask must be an array, True where a query sees a key, got [True] (list); "
        "wrap it in jnp.asarray",
    ),
    "a padding by name of an input that is spread": (
        lambda: conv(input_dilation=2),
        ValueError,
        "padding must be a number, or (low, high) pairs, with input_dilation above 1, "
        "got 'SAME' and input_dilation=(2, 2); 'VALID' is 0",
    ),
    "a window of a layer": (
        lambda: djn.DropConnectConv(4, 5, 0, 0.5, rngs=nnx.Rngs(0)),
        ValueError,
        "kernel_size must be one positive integer, or one for each spatial axis, got 0",
    ),
    "groups of a layer": (
        lambda: djl.DropConnectConv(4, 3, 0.5, feature_group_count=0).init(
            KEY, X, True
        ),
        ValueError,
        "feature_group_count must be a positive integer, got 0",
    ),
    "a temperature that is a flag": (
        lambda: dj.concrete_dropout(KEY, X, X[0, 0], temperature=True),
        ValueError,
        "temperature must be a positive number, got True",
    ),
    "a length scale that is a flag": (
        lambda: cost(length_scale=True),
        ValueError,
        "length_scale must be a positive number, got True",
    ),
    "a fill that is a flag": (
        lambda: dj.cutout(KEY, IMAGE, 0.5, size=2, fill=True),
        TypeError,
        "fill must be a number, one for each channel, an array of the dtype of x, or "
        "'random' for noise, got True (bool)",
    ),
    "scaling": (
        lambda: dj.dropout(KEY, X, 0.5, scaling="invert"),
        ValueError,
        "scaling must be 'inverted' (what is kept is scaled up in training) or "
        "'standard' (everything is scaled down at inference), got 'invert'",
    ),
    "scaling of a path": (
        lambda: djn.DropPath(0.5, scaling="keep"),
        ValueError,
        "scaling must be 'inverted' (what is kept is scaled up in training), "
        "'standard' (everything is scaled down at inference) or 'none' (nothing is "
        "scaled), got 'keep'",
    ),
    "a tree of other numbers of examples": (
        lambda: dj.drop_path(KEY, both(X, X[:2]), 0.5),
        ValueError,
        "x must have the same number of examples in every leaf, along batch_axis=0, "
        "got 4 at 'a' and 2 at 'b'",
    ),
    "a tree with tokens": (
        lambda: dj.drop_path(KEY, both(X, TOKENS), 0.5),
        TypeError,
        "x must be an array or a tree of floating-point or complex arrays, got "
        "ArrayImpl of shape (4, 6), dtype uint8 at 'b'; leave it out of x",
    ),
    "a tree without leaves": (
        lambda: dj.drop_path(KEY, (), 0.5),
        TypeError,
        "x must have a floating-point or complex array among its leaves, got tuple "
        "with 0 leaves",
    ),
    "mask of floats": (
        lambda: dj.apply_mask(X, X),
        TypeError,
        "mask must be boolean, True where x is kept, got dtype float32; compare it, as "
        "in mask != 0",
    ),
    "mask a list": (
        lambda: dj.apply_mask(X, [True]),
        TypeError,
        "mask must be a boolean array, got [True] (list)",
    ),
    "mask of a wrong shape": (
        lambda: dj.apply_mask(X, jnp.ones((5, 6), bool)),
        ValueError,
        "mask of shape (5, 6) must broadcast to x's shape (4, 6)",
    ),
    "keep above": (
        lambda: dj.apply_mask(X, True, keep=2.0),
        ValueError,
        "keep is the probability of keeping and must lie in [0, 1], got 2.0",
    ),
    "keep of a wrong shape": (
        lambda: dj.apply_mask(X, True, keep=jnp.ones((5, 1))),
        ValueError,
        "keep of shape (5, 1) must broadcast to x's shape (4, 6)",
    ),
    "fill of a wrong dtype": (
        lambda: dj.apply_mask(X, True, fill=jnp.ones((4, 6), jnp.bfloat16)),
        TypeError,
        "fill must have the dtype of x, float32, got bfloat16",
    ),
    "fill of a wrong type": (
        lambda: dj.apply_mask(X, True, fill="random"),
        TypeError,
        "fill must be a number that fits float32, the dtype of x, or an array of that "
        "dtype, got 'random' (str)",
    ),
    "a fill of another word": (
        lambda: dj.cutout(KEY, IMAGE, 0.5, size=2, fill="mean"),
        ValueError,
        "fill must be a number, one for each channel, an array of the dtype of x, or "
        "'random' for noise, got 'mean' (str)",
    ),
    "a fill of no whole number": (
        lambda: dj.cutout(KEY, IMAGE.astype(jnp.uint8), 0.5, size=2, fill=127.5),
        TypeError,
        "fill must be a number that fits uint8, the dtype of x, or an array of that "
        "dtype, got 127.5 (float)",
    ),
    "a fill out of range": (
        lambda: dj.random_erasing(
            KEY, IMAGE.astype(jnp.uint8), 0.5, fill=(0, 0, 0, 256)
        ),
        TypeError,
        "fill must be a number that fits uint8, the dtype of x, or an array of that "
        "dtype, got 256 (int)",
    ),
    "a fill for other channels": (
        lambda: dj.cutout(KEY, IMAGE, 0.5, size=2, fill=(0.5, 0.4, 0.3)),
        ValueError,
        "fill must hold one value for each of the 4 channels of x, got 3",
    ),
    "an image of truth values": (
        lambda: dj.cutout(KEY, IMAGE > 0, 0.5, size=2),
        TypeError,
        "x must be an array of numbers, floating-point, complex or integer, got dtype "
        "bool; cast it first, as in x.astype(jnp.uint8)",
    ),
    "integers that would be scaled": (
        lambda: dj.apply_mask(X.astype(jnp.int32), True, keep=0.5),
        TypeError,
        "x must be a floating-point or complex array, got dtype int32; cast it first, "
        "as in x.astype(jnp.float32)",
    ),
    "fill of a wrong shape": (
        lambda: dj.apply_mask(X, True, fill=jnp.ones((5, 6))),
        ValueError,
        "fill of shape (5, 6) must broadcast to x's shape (4, 6)",
    ),
    "kernel of a wrong shape": (
        lambda: dense(kernel=jnp.ones((5, 3))),
        ValueError,
        "kernel must have shape (features_in, features_out), features_in as the last "
        "axis of x, got kernel of shape (5, 3), x of shape (4, 6)",
    ),
    "general kernel of a wrong shape": (
        lambda: general(kernel=jnp.ones((5, 3, 2))),
        ValueError,
        "kernel must have shape (*batch, *features_in, *features_out), here (6, "
        "*features_out), got kernel of shape (5, 3, 2), x of shape (4, 6)",
    ),
    "bias of a general kernel": (
        lambda: general(bias=jnp.ones(6)),
        ValueError,
        "bias must have shape (3, 2), got (6,)",
    ),
    "batch axes that are not the first": (
        lambda: general(batch_dims=(1,)),
        ValueError,
        "batch_dims must be the first axes of x, such as (0,) or (0, 1), got (1,)",
    ),
    "an axis that is contracted twice": (
        lambda: general(axis=(0, 1), batch_dims=0),
        ValueError,
        "axis must be one or more axes of x that are not in batch_dims, got axis=(0, "
        "1), batch_dims=0",
    ),
    "examples that are contracted": (
        lambda: general(axis=0, kernel=jnp.ones((4, 3)), mask_per="example"),
        ValueError,
        "mask_per must be 'batch' unless the first axis of x is one of examples: not "
        "contracted, not an axis of the kernel, and the output's first, got x of "
        "shape (4, 6), kernel of shape (4, 3)",
    ),
    "no equation": (
        lambda: einsum("bi,ihd"),
        ValueError,
        "einsum_str must be the equation of x and a kernel, such as 'bti,ihd->bthd' or "
        "'...i,io->...o', got 'bi,ihd'",
    ),
    "an equation of other shapes": (
        lambda: einsum("bi,bhd->ihd"),
        ValueError,
        "einsum_str must have one letter for each axis of x and of the kernel, and "
        "axes with the same letter must have the same size, got 'bi,bhd->ihd' for x "
        "of shape (4, 6), kernel of shape (6, 3, 2)",
    ),
    "an equation that sums x": (
        lambda: einsum("bi,jhd->bhd"),
        ValueError,
        "einsum_str must have each axis of x in the kernel or in the output, got "
        "'bi,jhd->bhd'; sum x over the other axes first",
    ),
    "batch sizes without axes": (
        lambda: djn.DropConnectLinearGeneral(
            6, 3, 0.5, batch_axis=(0,), rngs=nnx.Rngs(0)
        ),
        TypeError,
        "batch_axis must map the first axes of x to their sizes, such as {0: 8}, got "
        "(0,) (tuple)",
    ),
    "two dtypes": (
        lambda: dense(kernel=jnp.ones((6, 3), jnp.bfloat16)),
        TypeError,
        "x and kernel must have one dtype, got float32 and bfloat16; cast one of them",
    ),
    "kernel of integers": (
        lambda: dense(kernel=jnp.ones((6, 3), jnp.int32)),
        TypeError,
        "kernel must be a floating-point or complex array, got dtype int32; cast it "
        "first, as in kernel.astype(jnp.float32)",
    ),
    "bias of a wrong shape": (
        lambda: dense(bias=jnp.ones(4)),
        ValueError,
        "bias must have shape (3,), got (4,)",
    ),
    "bias of another dtype": (
        lambda: dense(bias=jnp.ones(3, jnp.bfloat16)),
        TypeError,
        "bias must have the kernel's dtype, got bfloat16 and float32; cast one of them",
    ),
    "a kernel without a window": (
        lambda: dj.dropconnect_conv(KEY, jnp.ones((2, 5, 3)), jnp.ones((0, 3, 4)), 0.5),
        ValueError,
        "kernel must have a window and features_in of 1 or more, got kernel of shape "
        "(0, 3, 4)",
    ),
    "a kernel without inputs": (
        lambda: dj.dropconnect_conv_moments(
            jnp.ones((2, 5, 0)), jnp.ones((2, 0, 4)), 0.5
        ),
        ValueError,
        "kernel must have a window and features_in of 1 or more, got kernel of shape "
        "(2, 0, 4)",
    ),
    "bias rates of a wrong shape": (
        lambda: dense(bias=jnp.ones(3), bias_rate=jnp.ones(2)),
        ValueError,
        "bias_rate of shape (2,) must broadcast to the mask's shape (3,): elements "
        "that share a mask value share a rate, so use axes of size 1 there",
    ),
    "dropout rates of a wrong shape": (
        lambda: dj.dot_product_attention(
            *[jnp.ones((2, 3, 1, 4))] * 3, dropout_rng=KEY, dropout_rate=jnp.ones(7)
        ),
        ValueError,
        "dropout_rate of shape (7,) must broadcast to the mask's shape (2, 1, 3, 3): "
        "elements that share a mask value share a rate, so use axes of size 1 there",
    ),
    "an id past JAX's integers": (
        lambda: dj.word_dropout(KEY, np.ones(3, np.int64), 0.5, unknown_id=2**40),
        ValueError,
        "unknown_id must fit the dtype of x, int32, got 1099511627776",
    ),
    "bias rate": (
        lambda: dense(bias=jnp.ones(3), bias_rate=2),
        ValueError,
        "bias_rate is the probability of dropping and must lie in [0, 1], got 2",
    ),
    "mask_per": (
        lambda: dense(mask_per="examples"),
        ValueError,
        "mask_per must be 'batch', 'example' or a positive integer, the number of "
        "examples that share a mask, got 'examples'",
    ),
    "mask_per none": (
        lambda: conv(mask_per=0),
        ValueError,
        "mask_per must be 'batch', 'example' or a positive integer, the number of "
        "examples that share a mask, got 0",
    ),
    "a Gaussian of complex numbers": (
        lambda: dj.dropconnect_moments(X.astype(complex), KERNEL, 0.5),
        TypeError,
        "x must be of a real dtype, got dtype complex64; take its real part, or make "
        "features of real and imaginary parts",
    ),
    "num_samples": (
        lambda: dj.dropconnect_gaussian(KEY, X, KERNEL, 0.5, jnp.tanh, num_samples=0),
        ValueError,
        "num_samples must be a positive integer, got 0",
    ),
    "batch_size": (
        lambda: dj.inference.monte_carlo(dj.dropout, 2, batch_size=1.5),
        ValueError,
        "batch_size must be a positive integer, got 1.5",
    ),
    "outputs": (
        lambda: dj.inference.monte_carlo(dj.dropout, 2, outputs="softmax"),
        ValueError,
        "outputs must be 'values', 'probabilities' or 'logits', got 'softmax'",
    ),
    "probabilities without classes": (
        lambda: passes(jnp.zeros(()), "probabilities"),
        ValueError,
        "outputs='probabilities' is for real numbers with the classes along the last "
        "axis, but apply_fn returns shape (), dtype float32; use outputs='values' for "
        "outputs without classes",
    ),
    "logits that are no real numbers": (
        lambda: passes(TOKENS == 0, "logits"),
        ValueError,
        "outputs='logits' is for real numbers with the classes along the last axis, "
        "but apply_fn returns shape (4, 6), dtype bool; use outputs='values' for "
        "outputs without classes",
    ),
    "logits for probabilities": (
        lambda: passes(X - 2, "probabilities"),
        ValueError,
        "outputs='probabilities' is for non-negative rows that sum to 1 along the "
        "last axis, got a row with the sum -6 and the least element -1; use "
        "outputs='logits' for logits, or outputs='values' for outputs without classes",
    ),
    "a negative probability": (
        lambda: passes(jnp.array([[0.5, 0.5], [2, -1]]), "probabilities"),
        ValueError,
        "outputs='probabilities' is for non-negative rows that sum to 1 along the "
        "last axis, got a row with the sum 1 and the least element -1; use "
        "outputs='logits' for logits, or outputs='values' for outputs without classes",
    ),
    "noise": (
        lambda: dense(noise="gauss"),
        ValueError,
        "noise must be 'bernoulli' (weights are masked) or 'gaussian' (outputs get "
        "Gaussian noise of the same mean and variance), got 'gauss'",
    ),
    "Gaussian noise and nobody's masks": (
        lambda: dense(noise="gaussian", mask_per="row"),
        ValueError,
        "mask_per must be 'batch', 'example' or a positive integer, the number of "
        "examples that share a mask, got 'row'",
    ),
    "Gaussian noise and shared masks": (
        lambda: conv(noise="gaussian", mask_per=4),
        ValueError,
        "mask_per must not be a number with noise='gaussian', which draws no mask "
        "that examples could share, got 4; leave it out",
    ),
    "inference": (
        lambda: djl.DropConnectDense(3, 0.5, inference="sampled").apply(
            {"params": {"kernel": KERNEL, "bias": jnp.ones(3)}}, X, True
        ),
        ValueError,
        "inference must be 'mean' (the mean network), 'gaussian' (activations "
        "averaged over Gaussian samples) or 'monte_carlo' (activations averaged over "
        "sampled masks), got 'sampled'",
    ),
    "inference of no activation": (
        lambda: djl.DropConnectDense(3, 0.5, inference="gaussian").init(KEY, X, True),
        ValueError,
        "inference='gaussian' averages the layer's activation over samples, but "
        "activation is None; pass it to the layer, as in activation=jax.nn.relu, or "
        "use inference='mean', which is exact for a layer without an activation",
    ),
    "inference of no activation, of NNX": (
        lambda: djn.DropConnectConv(
            4, 3, (3, 3), 0.5, inference="monte_carlo", rngs=nnx.Rngs(0)
        )(IMAGE),
        ValueError,
        "inference='monte_carlo' averages the layer's activation over samples, but "
        "activation is None; pass it to the layer, as in activation=jax.nn.relu, or "
        "use inference='mean', which is exact for a layer without an activation",
    ),
    "Gaussian samples of no activation": (
        lambda: dj.dropconnect_gaussian(KEY, X, KERNEL, 0.5, None, num_samples=3),
        TypeError,
        "activation must be a function of an array, such as jax.nn.relu, got None "
        "(NoneType)",
    ),
    "window too small": (
        lambda: conv(kernel=jnp.ones((4, 5))),
        ValueError,
        "kernel must have shape (*window, features_in / groups, features_out) and x "
        "(*batch, *spatial, features_in), got kernel of shape (4, 5), x of shape "
        "(2, 8, 8, 4)",
    ),
    "groups": (
        lambda: conv(feature_group_count=2),
        ValueError,
        "feature_group_count must divide the kernel's features_out, and times the "
        "kernel's features_in it must equal x's, got 2 for kernel of shape (3, 3, 4, "
        "5), x of shape (2, 8, 8, 4)",
    ),
    "strides": (
        lambda: conv(strides=(1, 2, 3)),
        ValueError,
        "strides must be one positive integer, or one for each of the 2 spatial axes, "
        "got (1, 2, 3)",
    ),
    "dilation": (
        lambda: conv(dilation=0),
        ValueError,
        "dilation must be one positive integer, or one for each spatial axis, got 0",
    ),
    "padding": (
        lambda: conv(padding="SOME"),
        ValueError,
        "padding must be one of SAME, VALID, CIRCULAR, REFLECT, CAUSAL, a number, or "
        "one number or (low, high) pair for each of the 2 spatial axes, got 'SOME'",
    ),
    "padding by halves": (
        lambda: conv(padding=[(1, 1), 0.5]),
        ValueError,
        "padding must be one of SAME, VALID, CIRCULAR, REFLECT, CAUSAL, a number, or "
        "one number or (low, high) pair for each of the 2 spatial axes, got [(1, 1), "
        "0.5]",
    ),
    "padding of too few axes": (
        lambda: conv(padding=[1]),
        ValueError,
        "padding must be one of SAME, VALID, CIRCULAR, REFLECT, CAUSAL, a number, or "
        "one number or (low, high) pair for each of the 2 spatial axes, got [1]",
    ),
    "causal padding": (
        lambda: conv(padding="CAUSAL"),
        ValueError,
        "padding='CAUSAL' is for one spatial axis, got 2; pad x instead",
    ),
    "an empty selection": (
        lambda: dj.dropconnect(KEY, {"bias": jnp.ones(3)}, 0.5),
        ValueError,
        "the default selection selects no leaf of params, so nothing would be dropped, "
        "got leaves 'bias'; pass where=lambda path, leaf: ... that is True for the "
        "weights to mask",
    ),
    "an empty selection of many leaves": (
        lambda: dj.dropconnect(KEY, {f"b{n:02}": jnp.ones(3) for n in range(20)}, 0.5),
        ValueError,
        "the default selection selects no leaf of params, so nothing would be dropped, "
        "got leaves 'b00', 'b01', 'b02', 'b03', 'b04', 'b05', 'b06', 'b07' and 12 "
        "more; pass where=lambda path, leaf: ... that is True for the weights to mask",
    ),
    "an empty tree": (
        lambda: dj.dropconnect(KEY, {}, 0.5),
        ValueError,
        "the default selection selects no leaf of params, so nothing would be dropped, "
        "got an empty tree; pass where=lambda path, leaf: ... that is True for the "
        "weights to mask",
    ),
    "no rate for any leaf": (
        lambda: dj.dropconnect(KEY, both(X, X), both(None, None)),
        ValueError,
        "rate is None for every leaf of params, so nothing would be dropped; pass a "
        "rate, or deterministic=True to switch dropping off",
    ),
    "a selection that is no function": (
        lambda: dj.selected(both(X, X), where="a"),
        TypeError,
        "where must be a function of a leaf's path and the leaf, or None, got 'a' "
        "(str)",
    ),
    "integers that are selected": (
        lambda: dj.selected({"n": TOKENS}, where=lambda path, leaf: True),
        TypeError,
        "where selects params leaf 'n', which must be a floating-point or complex "
        "array, got ArrayImpl of shape (4, 6), dtype uint8",
    ),
    "an empty selection of one's own": (
        lambda: dj.dropconnect(KEY, X, 0.5, where=lambda path, leaf: False),
        ValueError,
        "where selects no leaf of params, so nothing would be dropped, got leaves ''; "
        "pass where=lambda path, leaf: ... that is True for the weights to mask",
    ),
    "a selection of integers": (
        lambda: dj.dropconnect(
            KEY, {"a": {"n": jnp.ones(3, int)}}, 0.5, where=lambda path, leaf: True
        ),
        TypeError,
        "where selects params leaf 'a/n', which must be a floating-point or complex "
        "array, got ArrayImpl of shape (3,), dtype int32",
    ),
    "a rate in a tree": (
        lambda: dj.dropconnect(KEY, both(X, X), both(0.5, 2)),
        ValueError,
        "rate at 'b' is the probability of dropping and must lie in [0, 1], got 2",
    ),
    "spatial axes of a layer": (
        lambda: djn.SpatialDropout2D(0.5, rngs=nnx.Rngs(0))(X),
        ValueError,
        "SpatialDropout2D with a batch axis needs inputs of 4 axes, 2 of them "
        "spatial, got shape (4, 6); use batch_axis=None for inputs without a batch",
    ),
    "spatial axes of an unbatched layer": (
        lambda: djl.SpatialDropout1D(0.5, batch_axis=None).apply(
            {}, IMAGE, deterministic=False, rng=KEY
        ),
        ValueError,
        "SpatialDropout1D with no batch axis needs inputs of 2 axes, 1 of them "
        "spatial, got shape (2, 8, 8, 4); use batch_axis=None for inputs without a "
        "batch",
    ),
    "a fixed mask of a wrong shape": (
        lambda: djn.DropConnectConv(
            4, 5, (3, 3), 0.5, mask=jnp.ones((3, 3)), rngs=nnx.Rngs(0)
        )(IMAGE),
        ValueError,
        "mask must have the kernel's shape (3, 3, 4, 5), got shape (3, 3)",
    ),
    "a wrapped module whose weights are another's": (
        around_a_cell_of_another,
        ValueError,
        "module has no parameters of its own to drop, got RNN; a submodule that is "
        "made in a compact method belongs to that method's module: make it with "
        "parent=None, as in nn.RNN(nn.LSTMCell(8, parent=None))",
    ),
    "no pretrained leaf": (
        lambda: mix(pretrained={"b": KERNEL}),
        ValueError,
        "pretrained has no leaf 'a', which is selected in params; leave it out with "
        "where=lambda path, leaf: ...",
    ),
    "pretrained shape": (
        lambda: mix(pretrained={"a": X}),
        ValueError,
        "pretrained leaf 'a' must have the shape and dtype of the leaf of params, (6, "
        "3) and float32, got (4, 6) and float32",
    ),
    "pretrained dtype": (
        lambda: mix(pretrained={"a": KERNEL.astype(jnp.bfloat16)}),
        ValueError,
        "pretrained leaf 'a' must have the shape and dtype of the leaf of params, (6, "
        "3) and float32, got (6, 3) and bfloat16; cast one of them",
    ),
    "pretrained no array": (
        lambda: mix(pretrained={"a": 1.0}),
        TypeError,
        "pretrained leaf 'a' must be an array, got 1.0 (float); wrap it in "
        "jnp.asarray, or use jax.eval_shape for shapes alone",
    ),
    "samples": (
        lambda: dj.multi_sample_dropout(KEY, X, 0.5, samples=0),
        ValueError,
        "samples must be a positive integer, got 0",
    ),
    "logit a number": (
        lambda: dj.concrete_dropout(KEY, X, 0.5),
        TypeError,
        "logit must be a floating-point array, log(rate / (1 - rate)), got 0.5 (float)",
    ),
    "logit shape": (
        lambda: dj.concrete_dropout(KEY, X, X[:, :3]),
        ValueError,
        "logit of shape (4, 3) must broadcast to the mask's shape (4, 6)",
    ),
    "temperature": (
        lambda: dj.concrete_dropout(KEY, X, X[0, 0], temperature=0),
        ValueError,
        "temperature must be a positive number, got 0",
    ),
    "kernel of one axis": (
        lambda: cost(kernel=X[0]),
        ValueError,
        "kernel must have shape (*window, features_in, features_out), got shape (6,)",
    ),
    "no examples": (
        lambda: cost(examples=0.5),
        ValueError,
        "examples must be a positive integer, got 0.5",
    ),
    "no features": (
        lambda: cost(features=0),
        ValueError,
        "features must be a positive integer, got 0",
    ),
    "length scale": (
        lambda: cost(length_scale=float("inf")),
        ValueError,
        "length_scale must be a positive number, got inf",
    ),
    "no kernel to regularize": (
        lambda: djn.ConcreteDropout(djn.Dropout(0.0), 1)(X, deterministic=True),
        TypeError,
        "module must be a layer with a parameter named 'kernel', as Dense, Linear and "
        "Conv are, got Dropout",
    ),
    "init_rate at an end": (
        lambda: djn.ConcreteDropout(djn.Dropout(0.5), 1, init_rate=0.0),
        ValueError,
        "init_rate must be a number above 0 and below 1, where its logit is finite, "
        "got 0.0",
    ),
    "init_rate of a wrong type": (
        lambda: djn.ConcreteDropout(djn.Dropout(0.5), 1, init_rate="low"),
        ValueError,
        "init_rate must be a number above 0 and below 1, where its logit is finite, "
        "got 'low'",
    ),
    "convention": (
        lambda: schedules.linear_over_depth(0.5, 3, convention="torch"),
        ValueError,
        "convention must be 'paper', 'timm' or 'efficientnet', got 'torch'",
    ),
    "depth": (
        lambda: schedules.linear_over_depth(0.5, 0),
        ValueError,
        "depth must be a positive integer, got 0",
    ),
    "steps": (
        lambda: schedules.curriculum(0.5, -1),
        ValueError,
        "steps must be a positive integer, got -1",
    ),
    "sharpness": (
        lambda: schedules.curriculum(0.5, 10, sharpness=-1.0),
        ValueError,
        "sharpness must be a positive number, got -1.0",
    ),
    "early steps": (
        lambda: schedules.early_dropout(0.5, 0),
        ValueError,
        "steps must be a positive integer, got 0",
    ),
    "late steps": (
        lambda: schedules.late_dropout(0.5, 1.5),
        ValueError,
        "steps must be a positive integer, got 1.5",
    ),
    "late rate": (
        lambda: schedules.late_dropout(1.5, 10),
        ValueError,
        "rate is the probability of dropping and must lie in [0, 1], got 1.5",
    ),
    "form of early dropout": (
        lambda: schedules.early_dropout(0.5, 10, form="cosine"),
        ValueError,
        "form must be 'linear' or 'constant', got 'cosine'",
    ),
    "no layer": (
        lambda: djn.set_rates(nnx.Dropout(0.5), 0.5),
        ValueError,
        "module has no layer of dropjax with a rate to be set; layers of other "
        "libraries are not changed: replace flax's Dropout with dropjax.linen.Dropout "
        "or dropjax.nnx.Dropout",
    ),
    "no layer that has a rate": (
        lambda: djl.rates(nn.Dense(3), X),
        ValueError,
        "module has no layer of dropjax with a rate to be set; layers of other "
        "libraries are not changed: replace flax's Dropout with dropjax.linen.Dropout "
        "or dropjax.nnx.Dropout; inside nn.scan, nn.vmap and nn.RNN, rates need "
        "variable_broadcast='rates' or variable_axes={'rates': 0}",
    ),
    "no layer selected": (
        lambda: djn.set_rates(djn.Dropout(0.5), 0.5, where=lambda *_: False),
        ValueError,
        "where selects no layer of dropjax with a rate to be set; layers of other "
        "libraries are not changed: replace flax's Dropout with dropjax.linen.Dropout "
        "or dropjax.nnx.Dropout",
    ),
    "rates over depth of many rates": (
        lambda: schedules.linear_over_depth(X[0] / 2, 3),
        ValueError,
        "rate must be one number or a scalar array, got shape (6,); use jax.vmap for "
        "several",
    ),
    "no information": (
        lambda: optimizers.child_mask({}, 0.5),
        ValueError,
        "information must have at least one leaf, got an empty tree",
    ),
    "complex information": (
        lambda: optimizers.child_mask({"a": X.astype(jnp.complex64)}, 0.5),
        TypeError,
        "information must be of a real dtype, got dtype complex64; take its real "
        "part, or make features of real and imaginary parts",
    ),
    "where no function": (
        lambda: mix(where=["a"]),
        TypeError,
        "where must be a function of a leaf's path and the leaf, or None, got ['a'] "
        "(list)",
    ),
    "a traced share": (
        lambda: optimizers.child_mask({"a": X}, X[0, 0]),
        TypeError,
        "rate must be a Python number, because it decides how many weights are "
        "dropped, got ArrayImpl of shape (), dtype float32",
    ),
    "another tree": (
        lambda: optimizers.mask_updates({"a": X > 0}).update({"b": X}, None),
        ValueError,
        "mask must have leaves at the same paths as the updates, got 'a' in mask alone",
    ),
    "passes of two shapes": (
        lambda: losses.r_drop(X, KERNEL),
        ValueError,
        "second must have the shape and dtype of first, (4, 6) and float32, got (6, "
        "3) and float32",
    ),
    "moments of two shapes": (
        lambda: inference.relu_mean(X, X[0]),
        ValueError,
        "variance must have the shape and dtype of mean, (4, 6) and float32, got (6,) "
        "and float32",
    ),
    "moments of two dtypes": (
        lambda: inference.tanh_mean(X[0, 0], X[0, 0].astype(jnp.bfloat16)),
        ValueError,
        "variance must have the shape and dtype of mean, () and float32, got () and "
        "bfloat16; cast one of them",
    ),
    "a mean that is a list": (
        lambda: inference.gelu_mean([1.0], X),
        TypeError,
        "mean must be an array, got [1.0] (list); wrap it in jnp.asarray, or use "
        "jax.eval_shape for shapes alone",
    ),
    "a variance that is a word": (
        lambda: inference.sigmoid_mean(X, "1"),
        TypeError,
        "variance must be an array, got '1' (str); wrap it in jnp.asarray, or use "
        "jax.eval_shape for shapes alone",
    ),
    "a complex mean": (
        lambda: inference.leaky_relu_mean(X.astype(jnp.complex64), X),
        TypeError,
        "mean must be of a real dtype, got dtype complex64; take its real part, or "
        "make features of real and imaginary parts",
    ),
    "complex logits": (
        lambda: losses.r_drop(X.astype(jnp.complex64), X.astype(jnp.complex64)),
        TypeError,
        "first must be of a real dtype, got dtype complex64; take its real part, or "
        "make features of real and imaginary parts",
    ),
    "attention weights of one axis": (
        lambda: dj.attention_dropout(KEY, jnp.ones(3), 0.5),
        ValueError,
        "attention weights must have shape (..., queries, keys), got shape (3,)",
    ),
    "attention over an axis of no mesh": (
        lambda: dj.dot_product_attention(IMAGE, IMAGE, IMAGE, axis_name="sequence"),
        ValueError,
        "axis_name must be an axis of the mesh of a surrounding jax.shard_map, or "
        "None, got 'sequence'; leave it out outside of shard_map, for example to "
        "initialize a layer",
    ),
    "attention of another implementation": (
        lambda: attend(implementation="pallas"),
        ValueError,
        'implementation must be None, "xla" or "cudnn", got \'pallas\'; '
        "jax.nn.dot_product_attention takes the same",
    ),
    "attention of an implementation that is no word": (
        lambda: attend(implementation=("xla",)),
        ValueError,
        'implementation must be None, "xla" or "cudnn", got (\'xla\',); '
        "jax.nn.dot_product_attention takes the same",
    ),
    "attention by cuDNN in a ring": (
        lambda: attend(implementation="cudnn", axis_name="sequence"),
        ValueError,
        "axis_name must be None with implementation=\"cudnn\", got 'sequence': cuDNN "
        'has no such argument; use implementation="xla"',
    ),
    "attention by cuDNN with a precision": (
        lambda: attend(implementation="cudnn", precision="highest"),
        ValueError,
        "precision must be None with implementation=\"cudnn\", got 'highest': cuDNN "
        'has no such argument; use implementation="xla"',
    ),
    "attention of other heads": (
        lambda: dj.dot_product_attention(IMAGE, IMAGE[:, :, :3], IMAGE[:, :, :3]),
        ValueError,
        "query must have shape (*batch, queries, heads, depth), key (*batch, keys, "
        "kv_heads, depth) and value (*batch, keys, kv_heads, width), kv_heads a "
        "divisor of heads, got shapes (2, 8, 8, 4), (2, 8, 3, 4) and (2, 8, 3, 4)",
    ),
    "attention to no heads": (
        lambda: dj.dot_product_attention(IMAGE, IMAGE[:, :, :0], IMAGE[:, :, :0]),
        ValueError,
        "query must have shape (*batch, queries, heads, depth), key (*batch, keys, "
        "kv_heads, depth) and value (*batch, keys, kv_heads, width), kv_heads a "
        "divisor of heads, got shapes (2, 8, 8, 4), (2, 8, 0, 4) and (2, 8, 0, 4)",
    ),
    "attention of lists": (
        lambda: dj.dot_product_attention([1.0], [1.0], [1.0], dtype=jnp.float32),
        TypeError,
        "query must be an array, got [1.0] (list); wrap it in jnp.asarray, or use "
        "jax.eval_shape for shapes alone",
    ),
    "attention of two dtypes": (
        lambda: dj.dot_product_attention(IMAGE, IMAGE, IMAGE.astype(jnp.bfloat16)),
        TypeError,
        "query, key and value must have one dtype, got float32, float32 and bfloat16; "
        "pass dtype",
    ),
    "attention of complex numbers": (
        lambda: dj.dot_product_attention(*[IMAGE.astype(jnp.complex64)] * 3),
        TypeError,
        "query must be of a real dtype, got dtype complex64; take its real part, or "
        "make features of real and imaginary parts",
    ),
    "attention weights to be sown": (
        lambda: dj.dot_product_attention(IMAGE, IMAGE, IMAGE, module="layer"),
        TypeError,
        "module must be a flax module, which attention weights are sown into, or None, "
        "got 'layer' (str)",
    ),
    "blocks of nothing": (
        lambda: attend(block_size=0),
        ValueError,
        "block_size must be a positive integer, or a pair (queries, keys) of them, "
        "or None, got 0",
    ),
    "blocks of less": (
        lambda: attend(block_size=-1),
        ValueError,
        "block_size must be a positive integer, or a pair (queries, keys) of them, "
        "or None, got -1",
    ),
    "half a block": (
        lambda: attend(block_size=2.5),
        ValueError,
        "block_size must be a positive integer, or a pair (queries, keys) of them, "
        "or None, got 2.5",
    ),
    "a block that is a flag": (
        lambda: attend(block_size=True),
        ValueError,
        "block_size must be a positive integer, or a pair (queries, keys) of them, "
        "or None, got True",
    ),
    "blocks of three axes": (
        lambda: attend(block_size=(1, 2, 3)),
        ValueError,
        "block_size must be a positive integer, or a pair (queries, keys) of them, "
        "or None, got (1, 2, 3)",
    ),
    "blocks with no keys": (
        lambda: attend(block_size=(4, 0)),
        ValueError,
        "block_size must be a positive integer, or a pair (queries, keys) of them, "
        "or None, got (4, 0)",
    ),
    "weights of blocks to be sown": (
        lambda: attend(block_size=4, module=nnx.Module()),
        ValueError,
        "block_size must be None here, got 4: blocks do not store the weights that "
        "module asks for; leave out module, or sow_weights=True of the flax layer",
    ),
    "blocks of a generator without windows": (
        lambda: attend(block_size=(4, 2), dropout_rng=RBG, dropout_rate=0.5),
        ValueError,
        "block_size must be None here, got (4, 2): the generator of dropout_rng cannot "
        "draw a part of a mask; use a key made with impl=dropjax.fast_prng or "
        "'threefry2x32'",
    ),
    "blocks of symbolic length": (
        traced(lambda x: attend(x, block_size=4), "2, t, 4, 8"),
        ValueError,
        "block_size must be None here, got 4: in blocks, every axis but the first of "
        "the batch must have a known size",
    ),
    "lengths in a list": (
        lambda: attend(key_value_seq_lengths=[8, 8]),
        TypeError,
        "key_value_seq_lengths must be an array of integers or None, got [8, 8] "
        "(list); wrap it in jnp.asarray",
    ),
    "lengths that are no integers": (
        lambda: attend(query_seq_lengths=jnp.ones(2)),
        TypeError,
        "query_seq_lengths must be an array of integers or None, got ArrayImpl of "
        "shape (2,), dtype float32; convert it with .astype(jnp.int32)",
    ),
    "a length for all": (
        lambda: attend(query_seq_lengths=jnp.int32(8)),
        ValueError,
        "query_seq_lengths must have one length for each example, shape (2,), got "
        "shape (); use jnp.full for a length that all share",
    ),
    "lengths of others": (
        lambda: attend(key_value_seq_lengths=jnp.ones((2, 8), int)),
        ValueError,
        "key_value_seq_lengths must have one length for each example, shape (2,), got "
        "shape (2, 8); use jnp.full for a length that all share",
    ),
    "a negative window": (
        lambda: attend(local_window_size=(3, -1)),
        ValueError,
        "local_window_size must be a non-negative integer, two of them as (before, "
        "after), or None, got (3, -1)",
    ),
    "a window of one and a half": (
        lambda: attend(local_window_size=1.5),
        ValueError,
        "local_window_size must be a non-negative integer, two of them as (before, "
        "after), or None, got 1.5",
    ),
    "a scale of nan": (
        lambda: attend(scale=np.nan),
        ValueError,
        "scale must be a finite number or None, got nan; multiply the query by a scale "
        "that is an array",
    ),
    "a scale for each head": (
        lambda: attend(scale=np.ones(4)),
        ValueError,
        "scale must be a finite number or None, got array([1., 1., 1., 1.]); "
        "multiply the query by a scale that is an array",
    ),
    "an einsum of flax's layers": (
        lambda: dj.dot_product_attention(*[IMAGE] * 3, qk_attn_weights_einsum="own"),
        ValueError,
        "qk_attn_weights_einsum must be None, because dropjax.dot_product_attention "
        "makes the products itself, got 'own' (str); leave qk_attn_weights_einsum_cls "
        "off the layer, or write the attention with these products and "
        "dropjax.attention_dropout",
    ),
    "dropout_rate": (
        lambda: dj.dot_product_attention(IMAGE, IMAGE, IMAGE, dropout_rate=2),
        ValueError,
        "dropout_rate is the probability of dropping and must lie in [0, 1], got 2",
    ),
    "one axis for heads and batch": (
        lambda: dj.drop_head(KEY, X, 0.5),
        ValueError,
        "head_axis and batch_axis must be different axes, got -2 and 0 for an array "
        "with 2 axes; use batch_axis=None for an array without a batch",
    ),
    "an old state of another shape": (
        lambda: dj.zoneout(KEY, X, X[:2], 0.5),
        ValueError,
        "old must have the shape and dtype of x, (4, 6) and float32, got (2, 6) and "
        "float32",
    ),
    "a layer that changes the shape": (
        lambda: dj.layer_drop(KEY, X, lambda x: x[:2], 0.5),
        ValueError,
        "layer(x) must have the shape and dtype of x, (4, 6) and float32, got (2, 6) "
        "and float32",
    ),
    "a wrapper in the place of a cell": (
        lambda: nn.RNN(djl.DropConnect(nn.LSTMCell(4), 0.5)).init(KEY, X[None]),
        TypeError,
        "cell must be a recurrent cell, got DropConnect around LSTMCell; wrap the RNN "
        "itself, as in DropConnect(RNN(cell), ...), which draws once for the whole "
        "sequence, or wrap the cell in RecurrentDropout or Zoneout",
    ),
    "a wrapper in the place of NNX's cell": (
        lambda: nnx.RNN(
            djn.LayerDrop(nnx.GRUCell(6, 6, rngs=nnx.Rngs(0)), 0.5, rngs=nnx.Rngs(0))
        )(X[None]),
        TypeError,
        "cell must be a recurrent cell, got LayerDrop around GRUCell; wrap the RNN "
        "itself, as in LayerDrop(RNN(cell), ...), which draws once for the whole "
        "sequence, or wrap the cell in RecurrentDropout or Zoneout",
    ),
    "a layer that changes a leaf": (
        lambda: dj.layer_drop(KEY, both(X, X[0]), lambda x: both(x["a"], X[:, 0]), 0.5),
        ValueError,
        "layer(x) at 'b' must have the shape and dtype of x, (6,) and float32, got "
        "(4,) and float32",
    ),
    "a layer that returns another structure": (
        lambda: dj.layer_drop(KEY, X, lambda x: both(x, x), 0.5),
        ValueError,
        "layer(x) must have the structure of x, or be a tuple whose first element has "
        "it, got dict with 2 leaves for one array; pass a function that returns what "
        "replaces x",
    ),
    "a layer that returns nothing": (
        lambda: djl.LayerDrop(nn.Sequential([lambda x: None]), 0.5).apply(
            {}, X, deterministic=True
        ),
        ValueError,
        "layer(x) must have the structure of x, or be a tuple whose first element has "
        "it, got NoneType with 0 leaves for one array; pass a function that returns "
        "what replaces x",
    ),
    "a tree with a leaf that is no array": (
        lambda: djn.LayerDrop(jnp.exp, 0.5)(both(X, "relu"), rngs=KEY),
        TypeError,
        "x must be an array or a tree of arrays, got 'relu' (str) at 'b'; wrap it in "
        "jnp.asarray, or let the layer close over it",
    ),
    "a tree of integers": (
        lambda: dj.layer_drop(KEY, both(TOKENS, TOKENS), jnp.exp, 0.5),
        TypeError,
        "x must have a floating-point or complex array among its leaves, got dict with "
        "2 leaves",
    ),
    "a branch whose rate is an array": (
        lambda: dj.subset_branch(KEY, X, jnp.exp, jnp.float32(0.5)),
        TypeError,
        "rate must be a Python number, because it decides how many are kept, got "
        "ArrayImpl of shape (), dtype float32; for a rate per layer, loop over the "
        "layers in Python with a number each; inside nn.scan or lax.scan, use one "
        "number for all layers",
    ),
    "a branch that is left out for all": (
        lambda: djn.SubsetBranch(jnp.exp, 1.0),
        ValueError,
        "rate must be below 1, because a branch is computed for at least one example "
        "or token, got 1.0; to drop all of it, leave the branch out",
    ),
    "a branch along several axes": (
        lambda: dj.subset_branch(KEY, X, jnp.exp, 0.5, axis=(0, 1)),
        TypeError,
        "axis must be one axis, an integer, got (0, 1) (tuple)",
    ),
    "a branch along an axis that x lacks": (
        lambda: dj.subset_branch(KEY, X, jnp.exp, 0.5, axis=2),
        ValueError,
        "axis must be an axis of x and of all args, got 2 for 'x' of shape (4, 6)",
    ),
    "a mask along an axis that x lacks": (
        lambda: dj.subset_branch_mask(KEY, (4, 6), 0.5, axis=2),
        ValueError,
        "axis must name axes of an array with 2 axes, got 2",
    ),
    "an argument of a branch along an axis that it lacks": (
        lambda: dj.subset_branch(
            KEY, X, jnp.add, 0.5, axis=1, args=({"bias": X[:, 0]},)
        ),
        ValueError,
        "axis must be an axis of x and of all args, got 1 for 'args/0/bias' of shape "
        "(4,)",
    ),
    "an argument of a branch of another size": (
        lambda: dj.subset_branch(KEY, X, jnp.add, 0.5, args=(X[:3],)),
        ValueError,
        "x and args must have the same size along axis 0, got 4 for 'x' and 3 for "
        "'args/0'",
    ),
    "an argument of a branch that is no array": (
        lambda: djn.SubsetBranch(jnp.add, 0.5)(X, True, rngs=KEY),
        TypeError,
        "x and args must hold arrays, got True (bool) for 'args/0'; let the branch "
        "close over other values, or pass them to a layer by keyword",
    ),
    "one argument of a branch without a tuple": (
        lambda: dj.subset_branch(KEY, X, jnp.add, 0.5, args=X),
        TypeError,
        "args must be a tuple of arrays or trees of arrays, got ArrayImpl of shape "
        "(4, 6), dtype float32; a single array is args=(array,)",
    ),
    "a branch of nothing": (
        lambda: dj.subset_branch(KEY, {}, jnp.exp, 0.5),
        TypeError,
        "x must have at least one array, got {} (dict)",
    ),
    "a branch in groups of different sizes": (
        lambda: dj.subset_branch(KEY, X, jnp.exp, 0.5, groups=3),
        ValueError,
        "groups must divide the size of x along axis 0, got 3 for 4",
    ),
    "a branch without groups": (
        lambda: djl.SubsetBranch(nn.Dense(3), 0.5, groups=0),
        ValueError,
        "groups must be a positive integer, got 0",
    ),
    "a branch that changes the axis": (
        lambda: dj.subset_branch(KEY, X, lambda x: {"y": x[1:]}, 0.5),
        ValueError,
        "branch must return arrays of the size that it is given along axis 0, 2, got "
        "shape (1, 6) at 'y'; return one value for each example or token, and reduce "
        "them afterwards",
    ),
    "a branch that returns a mean": (
        lambda: dj.subset_branch(None, X, jnp.mean, 0.5, deterministic=True),
        ValueError,
        "branch must return arrays of the size that it is given along axis 0, 4, got "
        "shape (); return one value for each example or token, and reduce them "
        "afterwards",
    ),
    "a branch that returns a number": (
        lambda: dj.subset_branch(KEY, X, lambda x: 1.0, 0.5),
        ValueError,
        "branch must return arrays of the size that it is given along axis 0, 2, got "
        "1.0 (float); return one value for each example or token, and reduce them "
        "afterwards",
    ),
    "a branch of an unknown number of examples": (
        traced(lambda x: dj.subset_branch(KEY, x, jnp.exp, 0.5), "b, 4"),
        ValueError,
        "x must have a known size where it decides how many are kept, got the symbolic "
        "dimension b; export a program for each size that is needed, or one with "
        "deterministic=True",
    ),
    "a branch that is no function": (
        lambda: dj.subset_branch(KEY, X, 0.5, 0.5),
        TypeError,
        "branch must be a function of an array, such as jax.nn.relu, got 0.5 (float)",
    ),
    "a layer that is no function": (
        lambda: dj.layer_drop(KEY, X, 0.5, 0.5),
        TypeError,
        "layer must be a function of an array, such as jax.nn.relu, got 0.5 (float)",
    ),
    "an activation that is no function": (
        lambda: dj.drop_activation(KEY, X, 0.5, activation=None),
        TypeError,
        "activation must be a function of an array, such as jax.nn.relu, got None "
        "(NoneType)",
    ),
    "a rate for each example of a layer": (
        lambda: dj.layer_drop(KEY, X, jnp.exp, jnp.full(4, 0.5)),
        ValueError,
        "rate of shape (4,) must broadcast to the mask's shape (): elements that "
        "share a mask value share a rate, so use axes of size 1 there",
    ),
    "an activation that changes the dtype": (
        lambda: dj.drop_activation(
            KEY, X, 0.5, activation=lambda x: x.astype(jnp.bfloat16)
        ),
        ValueError,
        "activation(x) must have the shape and dtype of x, (4, 6) and float32, got "
        "(4, 6) and bfloat16; cast one of them",
    ),
    "no feature maps": (
        lambda: dj.max_dropout(KEY, X, 0.5),
        ValueError,
        "x must have shape (batch, *spatial, channels) with at least one spatial "
        "axis, unless broadcast_dims names the axes of a group, got shape (4, 6); "
        "pass broadcast_dims=-1 to drop the greatest feature of each example",
    ),
    "no feature maps to make a mask for": (
        lambda: dj.max_dropout_mask(None, (4,), 0.0),
        ValueError,
        "x must have shape (batch, *spatial, channels) with at least one spatial "
        "axis, unless broadcast_dims names the axes of a group, got shape (4,); pass "
        "broadcast_dims=-1 to drop the greatest feature of each example",
    ),
    "a rate that decides a shape": (
        lambda: dj.patch_dropout(KEY, X, jnp.float32(0.5)),
        TypeError,
        "rate must be a Python number, because it decides how many tokens are left, "
        "got ArrayImpl of shape (), dtype float32",
    ),
    "a rate that decides how many units are computed": (
        lambda: units(rate=jnp.float32(0.5)),
        TypeError,
        "rate must be a Python number, because it decides how many hidden units are "
        "computed, got ArrayImpl of shape (), dtype float32; for a rate per layer, "
        "loop over the layers in Python with a number each; dropout, which computes "
        "all units, takes a traced rate",
    ),
    "blocks of units that do not divide": (
        lambda: units(block_size=9),
        ValueError,
        "block_size must divide the number of hidden units, 12, got 9; use 3, or "
        "another divisor",
    ),
    "groups of units that do not divide": (
        lambda: units(block_size=2, groups=4),
        ValueError,
        "groups must divide the number of blocks of hidden units, 6, got 4; use 2, or "
        "a smaller block_size",
    ),
    "an MLP's first kernel": (
        lambda: units(kernel_in=jnp.ones((5, 12))),
        ValueError,
        "kernel_in must have shape (features_in, hidden), features_in as the last axis "
        "of x, got kernel_in of shape (5, 12), x of shape (4, 6)",
    ),
    "an MLP's second kernel": (
        lambda: units(kernel_out=jnp.ones((6, 12))),
        ValueError,
        "kernel_out must have shape (hidden, features_out), hidden as the last axis of "
        "kernel_in, got kernel_out of shape (6, 12), kernel_in of shape (6, 12)",
    ),
    "an MLP's gate": (
        lambda: units(kernel_gate=jnp.ones((6, 11))),
        ValueError,
        "kernel_gate must have shape (6, 12), got (6, 11)",
    ),
    "an MLP's bias": (
        lambda: units(bias_out=jnp.ones(12)),
        ValueError,
        "bias_out must have shape (6,), got (12,)",
    ),
    "a gate's bias without the gate": (
        lambda: units(bias_gate=jnp.ones(12)),
        ValueError,
        "bias_gate must be None without kernel_gate, got an array of shape (12,); the "
        "bias of an MLP without a gate is bias_in",
    ),
    "an MLP of two dtypes": (
        lambda: units(bias_in=jnp.ones(12, "bfloat16")),
        TypeError,
        "x and bias_in must have one dtype, got float32 and bfloat16; cast one of them",
    ),
    "an activation that splits the units": (
        lambda: units(activation=jax.nn.glu),
        ValueError,
        "activation must return an array of its argument's shape (4, 6), got ArrayImpl "
        "of shape (4, 3), dtype float32; pass the kernel of a gate as kernel_gate",
    ),
    "units of no axis": (
        lambda: dj.structured_dropout_mlp_mask(KEY, (), 0.5),
        ValueError,
        "shape must have shape (*batch, hidden), got shape ()",
    ),
    "subsets of a symbolic batch": (
        traced(
            lambda x: dj.structured_dropout_mlp(
                KEY, x, jnp.ones((6, 12)), jnp.ones((12, 6)), 0.5, mask_per=2
            ),
            "b, 6",
        ),
        ValueError,
        "x must have a known size where it decides how many subsets are drawn, got the "
        "symbolic dimension b; export a program for each size that is needed, or one "
        "with deterministic=True",
    ),
    "tokens": (
        lambda: dj.patch_dropout(KEY, jnp.ones(3), 0.5),
        ValueError,
        "x must have shape (*batch, tokens, features), got shape (3,)",
    ),
    "conditions without arrays": (
        lambda: dj.condition_dropout(KEY, {}, 0.5, fill=0),
        TypeError,
        "x must have at least one array, got {} (dict)",
    ),
    "a condition that is text": (
        lambda: dj.condition_dropout(KEY, {"text": "a cat"}, 0.5, fill=0),
        TypeError,
        "x must be an array of numbers or booleans, or a tree of them, got 'a cat' "
        "(str) at 'text'; leave it out of x, or wrap it in jnp.asarray",
    ),
    "conditions of several batches": (
        lambda: dj.condition_dropout(KEY, {"a": X, "b": X[:3]}, 0.5, fill=0),
        ValueError,
        "x must have the same number of examples in every leaf, along batch_axis=0, "
        "got 4 at 'a' and 3 at 'b'",
    ),
    "a condition without a batch": (
        lambda: dj.condition_dropout(KEY, {"a": X, "b": X[0, 0]}, 0.5, fill=0),
        ValueError,
        "batch_axis must be an axis of every array of x, got 0 for shape () at 'b'",
    ),
    "a null condition for one of two": (
        lambda: dj.condition_dropout(KEY, {"a": X, "b": X}, 0.5, fill={"a": 0}),
        ValueError,
        "fill must be one fill or a tree prefix of x, got no fill for the leaf 'b'",
    ),
    "a null condition for another": (
        lambda: dj.condition_dropout(KEY, {"a": X}, 0.5, fill={"a": 0, "b": 1}),
        ValueError,
        "fill must be one fill or a tree prefix of x, got a fill at 'b', where x has "
        "no leaf",
    ),
    "a null condition of another dtype": (
        lambda: dj.condition_dropout(KEY, {"a": TOKENS}, 0.5, fill={"a": X[0]}),
        TypeError,
        "fill at 'a' must have the dtype of x at 'a', uint8, got float32",
    ),
    "a null condition that does not fit": (
        lambda: dj.condition_dropout(KEY, {"a": TOKENS}, 0.5, fill=1000),
        TypeError,
        "fill at 'a' must be a number that fits uint8, the dtype of x at 'a', or an "
        "array of that dtype, got 1000 (int)",
    ),
    "a null condition of another shape": (
        lambda: dj.condition_dropout(KEY, X, 0.5, fill=X[0, :5]),
        ValueError,
        "fill of shape (5,) must broadcast to x's shape (4, 6)",
    ),
    "a null condition that is no truth value": (
        lambda: dj.condition_dropout(KEY, X > 0, 0.5, fill=0.5),
        TypeError,
        "fill must be True or False, because x is boolean, got 0.5 (float)",
    ),
    "a null condition that is text": (
        lambda: dj.condition_dropout(KEY, {"text": X}, 0.5, fill={"text": ""}),
        TypeError,
        "fill must be a number or an array, or a tree of them with the structure of x, "
        "got '' (str) at 'text'",
    ),
    "no null condition": (
        lambda: djl.ConditionDropout(0.5, fill=None),
        TypeError,
        "fill must be a number or an array, or a tree of them with the structure of x, "
        "got None (NoneType)",
    ),
    "a rate for every element of a condition": (
        lambda: dj.condition_dropout(KEY, X, jnp.full(X.shape, 0.5), fill=0),
        ValueError,
        "rate of shape (4, 6) must broadcast to the mask's shape (4,): elements that "
        "share a mask value share a rate, so use axes of size 1 there",
    ),
    "one modality": (
        lambda: dj.modality_dropout(KEY, X, 0.5),
        ValueError,
        "x must be a tree of two or more arrays with keep_one=True, which always keeps "
        "one of them, got 1; pass one array for each modality, or keep_one=False",
    ),
    "no modality left to keep": (
        lambda: dj.modality_dropout(KEY, [X, X], [1, 1.0]),
        ValueError,
        "rate must be below 1 for one modality or more with keep_one=True, got 1 for "
        "all of them; pass keep_one=False to drop everything",
    ),
    "a rate for one of two modalities": (
        lambda: dj.modality_dropout(KEY, {"a": X, "b": X}, {"a": 0.5}),
        ValueError,
        "rate must be one rate or a tree prefix of x, got no rate for the leaf 'b'",
    ),
    "a rate of a modality": (
        lambda: dj.modality_dropout(KEY, {"a": X, "b": X}, {"a": 0.5, "b": 2}),
        ValueError,
        "rate at 'b' is the probability of dropping and must lie in [0, 1], got 2",
    ),
    "shapes of modalities": (
        lambda: dj.modality_dropout_mask(KEY, {}, 0.5),
        TypeError,
        "shape must be a shape or a tree of them, got {}",
    ),
    "a rate that decides how many tokens are masked": (
        lambda: dj.random_masking_mask(KEY, (2, 4, 6), jnp.float32(0.5)),
        TypeError,
        "rate must be a Python number, because it decides how many tokens are left, "
        "got ArrayImpl of shape (), dtype float32",
    ),
    "tokens to mask": (
        lambda: dj.random_masking(KEY, jnp.ones(3), 0.5),
        ValueError,
        "x must have shape (*batch, tokens, features), got shape (3,)",
    ),
    "prefix tokens": (
        lambda: dj.patch_dropout(KEY, X, 0.5, prefix_tokens=5),
        ValueError,
        "prefix_tokens must be a number of tokens from 0 to the sequence's 4, got 5",
    ),
    "a range": (
        lambda: dj.shake_drop(KEY, X, 0.5, forward_range=(1.0, -1.0)),
        ValueError,
        "forward_range must be (lowest, highest), two finite numbers, got (1.0, -1.0)",
    ),
    "selected_rate": (
        lambda: dj.weighted_channel_dropout(KEY, X, 0.5, selected_rate=-1),
        ValueError,
        "selected_rate is the probability of dropping and must lie in [0, 1], got -1",
    ),
    "target": (
        lambda: dj.targeted_dropout(KEY, X, 0.5, target=2),
        ValueError,
        "target is the share of the weights to target and must lie in [0, 1], got 2",
    ),
    "targets": (
        lambda: dj.targeted_dropout(KEY, X, 0.5, target=np.array([0.5, 0.6])),
        ValueError,
        "target must be one number or a scalar array, got shape (2,); use jax.vmap "
        "for several",
    ),
    "targets by something": (
        lambda: dj.targeted_dropout(KEY, X, 0.5, by="unit"),
        ValueError,
        "by must be 'weights' (the smallest weights of each unit are targeted) or "
        "'units' (the units of the smallest norm are targeted), got 'unit'",
    ),
    "a recurrent cell": (
        lambda: djn.Zoneout(None, 0.5),
        TypeError,
        "cell must be one of flax's LSTMCell, OptimizedLSTMCell, GRUCell, SimpleCell, "
        "got None (NoneType)",
    ),
    "a carry without keys": (
        lambda: djn.Zoneout(
            nnx.SimpleCell(6, 3, rngs=nnx.Rngs(0)), 0.5, rngs=nnx.Rngs(0)
        )(KeyedCarry(jnp.ones((4, 3)), None), X),
        ValueError,
        "key is None, but this call draws a mask: pass a key, as in "
        "jax.random.key(0), or deterministic=True",
    ),
    "mode": (
        lambda: dj.drop_path(KEY, X, 0.5, mode="example"),
        ValueError,
        "mode must be 'row' (a mask entry for each example) or 'batch' (one for all "
        "examples), got 'example'",
    ),
    "time axis": (
        lambda: dj.variational_dropout(KEY, X, 0.5, time_axis=2),
        ValueError,
        "time_axis must name axes of an array with 2 axes, got 2",
    ),
    "a rate of unbounded noise": (
        lambda: dj.gaussian_dropout(KEY, X, 1.0),
        ValueError,
        "rate must be below 1 for Gaussian noise, whose variance rate / (1 - rate) is "
        "infinite there, got 1.0",
    ),
    "stddev negative": (
        lambda: dj.gaussian_noise(KEY, X, -1.0),
        ValueError,
        "stddev must be finite and 0 or more, got -1.0",
    ),
    "stddev of a wrong type": (
        lambda: dj.gaussian_noise(KEY, X, "1"),
        TypeError,
        "stddev must be a real number or a floating-point array, got '1' (str)",
    ),
    "stddev of a wrong shape": (
        lambda: dj.gaussian_noise(KEY, X, jnp.ones((4, 6)), broadcast_dims=0),
        ValueError,
        "stddev of shape (4, 6) must broadcast to the noise's shape (1, 6)",
    ),
    "amplitude negative": (
        lambda: dj.uniform_noise(KEY, X, -1.0),
        ValueError,
        "amplitude must be finite and 0 or more, got -1.0",
    ),
    "amplitude of a wrong shape": (
        lambda: dj.uniform_noise(KEY, X, jnp.ones((4, 6)), broadcast_dims=0),
        ValueError,
        "amplitude of shape (4, 6) must broadcast to the noise's shape (1, 6)",
    ),
    "multiplicative in words": (
        lambda: dj.uniform_noise(KEY, X, 0.1, multiplicative="yes"),
        TypeError,
        "multiplicative must be True or False, got 'yes' (str); under jit it is a "
        "static argument",
    ),
    "alpha infinite": (
        lambda: dj.neftune(KEY, IMAGE, float("inf")),
        ValueError,
        "alpha must be finite and 0 or more, got inf",
    ),
    "alpha for each token": (
        lambda: dj.neftune(KEY, jnp.ones((2, 3, 4)), jnp.ones((2, 3, 1))),
        ValueError,
        "alpha of shape (2, 3, 1) must broadcast to the shape of one scale per "
        "example, (2, 1, 1)",
    ),
    "neftune without a batch": (
        lambda: dj.neftune(KEY, X, 5.0),
        ValueError,
        "time_axis and batch_axis must be different axes, got -2 and 0 for an array "
        "with 2 axes; use batch_axis=None for an array without a batch",
    ),
    "neftune's lengths": (
        lambda: dj.neftune(KEY, jnp.ones((2, 3, 4)), 5.0, seq_lengths=jnp.ones(2)),
        TypeError,
        "seq_lengths must be an array of integers or None, got ArrayImpl of shape "
        "(2,), dtype float32; convert it with .astype(jnp.int32)",
    ),
    "neftune's lengths of others": (
        lambda: dj.neftune(KEY, jnp.ones((2, 3, 4)), 5.0, seq_lengths=jnp.ones(3, int)),
        ValueError,
        "seq_lengths must have one length for each example, shape (2,), got shape "
        "(3,); use jnp.full for a length that all share",
    ),
    "a share above 1": (
        lambda: dj.spec_augment(KEY, IMAGE, 1.0, time_share=1.5, time_axis=1),
        ValueError,
        "time_share must be a number in [0, 1], got 1.5",
    ),
    "a negative number of masks": (
        lambda: dj.spec_augment(KEY, IMAGE, 1.0, time_masks=-1, time_axis=1),
        ValueError,
        "time_masks must be a non-negative integer, got -1",
    ),
    "frequency where time is": (
        lambda: dj.spec_augment(KEY, jnp.ones((2, 3, 4)), 1.0, frequency_axis=1),
        ValueError,
        "frequency_axis must differ from time_axis and batch_axis, got 1; use "
        "batch_axis=None for an array without a batch",
    ),
    "spans of a wrong filling": (
        lambda: dj.span_dropout(KEY, jnp.ones((2, 30, 4)), 0.5, fill="median"),
        ValueError,
        "fill must be a number, an array of the dtype of x, or 'mean' for the mean of "
        "each example, got 'median' (str)",
    ),
    "spans filled by None": (
        lambda: djl.SpanDropout(0.5, fill=None),
        TypeError,
        "fill must be a number, an array of the dtype of x, or 'mean' for the mean of "
        "each example, got None (NoneType)",
    ),
    "a mean of integers": (
        lambda: dj.span_dropout(KEY, jnp.ones((2, 30, 4), int), 0.5, fill="mean"),
        TypeError,
        "fill='mean' is for a floating-point or complex x, got dtype int32; cast x "
        "first, as in x.astype(jnp.float32)",
    ),
    "spans longer than the sequence": (
        lambda: dj.span_dropout(KEY, jnp.ones((2, 8, 4)), 0.5),
        ValueError,
        "span_length must be at most the size of x along time_axis, 8, got 10",
    ),
    "a negative number of spans": (
        lambda: dj.span_dropout(KEY, jnp.ones((2, 30, 4)), 0.5, min_spans=-1),
        ValueError,
        "min_spans must be a non-negative integer, got -1",
    ),
    "lengths of spans": (
        lambda: dj.span_dropout(
            KEY, jnp.ones((2, 30, 4)), 0.5, seq_lengths=jnp.ones((2, 30), int)
        ),
        ValueError,
        "seq_lengths must have one length for each example, shape (2,), got shape "
        "(2, 30); use jnp.full for a length that all share",
    ),
    "outputs without classes": (
        lambda: calibrate(outputs="values"),
        ValueError,
        "outputs must be 'probabilities' or 'logits', got 'values'",
    ),
    "predictions of logits": (
        lambda: calibrate(jnp.full((4, 6), 2.0)),
        ValueError,
        "outputs='probabilities' is for non-negative rows that sum to 1 along the last "
        "axis, got a row with the sum 12 and the least element 2; use outputs='logits' "
        "for logits",
    ),
    "predictions without classes": (
        lambda: calibrate(jnp.float32(1)),
        ValueError,
        "predictions must have the classes along the last axis, got shape ()",
    ),
    "predictions without samples": (
        lambda: calibrate(X[0] / 6, sample_axis=0),
        ValueError,
        "predictions must have the classes along the last axis and an axis of samples, "
        "got shape (6,)",
    ),
    "classes for samples": (
        lambda: calibrate(sample_axis=-1),
        ValueError,
        "sample_axis must not be the last axis, that of the classes, got -1",
    ),
    "samples along no axis": (
        lambda: calibrate(sample_axis=2),
        ValueError,
        "sample_axis must name axes of an array with 2 axes, got 2",
    ),
    "one-hot labels": (
        lambda: calibrate(labels=X),
        TypeError,
        "labels must be an array of integers, the true classes, got ArrayImpl of shape "
        "(4, 6), dtype float32; use jnp.argmax for one-hot labels",
    ),
    "labels of others": (
        lambda: calibrate(labels=jnp.zeros(5, int)),
        ValueError,
        "labels must have one entry for each example, shape (4,), got shape (5,)",
    ),
    "a label that is no class": (
        lambda: calibrate(labels=jnp.full(4, 6)),
        ValueError,
        "labels must be classes, from 0 to 5, got 6; give examples that do not count "
        "the weight 0",
    ),
    "weights of others": (
        lambda: calibrate(weights=X),
        ValueError,
        "weights must have one entry for each example, shape (4,), got shape (4, 6)",
    ),
    "a negative weight": (
        lambda: calibrate(weights=-X[:, 0]),
        ValueError,
        "weights must be finite and 0 or more, got -1.0",
    ),
    "weights in a list": (
        lambda: calibrate(weights=[1, 1, 1, 1]),
        TypeError,
        "weights must be an array of real numbers, a mask or None, got [1, 1, 1, 1] "
        "(list)",
    ),
    "no bins": (
        lambda: calibrate(num_bins=0),
        ValueError,
        "num_bins must be a positive integer, got 0",
    ),
    "tokens a list": (
        lambda: dj.word_dropout(KEY, [1, 2], 0.5, unknown_id=0),
        TypeError,
        "x must be an array, got [1, 2] (list); wrap it in jnp.asarray, or use "
        "jax.eval_shape for shapes alone",
    ),
    "tokens of floats": (
        lambda: dj.word_dropout(KEY, X, 0.5, unknown_id=0),
        TypeError,
        "x must be an array of integers, token ids, got dtype float32; for embedded "
        "tokens use dropout with broadcast_dims=-1",
    ),
    "an id of a wrong type": (
        lambda: dj.word_dropout(KEY, TOKENS, 0.5, unknown_id=0.5),
        TypeError,
        "unknown_id must be an integer, got 0.5 (float)",
    ),
    "an id that does not fit": (
        lambda: dj.word_dropout(KEY, TOKENS, 0.5, unknown_id=0, protected=(256,)),
        ValueError,
        "protected must fit the dtype of x, uint8, got 256",
    ),
    "an id alone where there may be several": (
        lambda: dj.word_dropout(KEY, TOKENS, 0.5, unknown_id=0, protected=0),
        TypeError,
        "protected must be a tuple of integers, got 0 (int)",
    ),
    "blocks of too many axes": (
        lambda: dj.drop_block(KEY, IMAGE, 0.5, block_size=(2, 2, 2)),
        ValueError,
        "block_size must be one positive integer, or one for each of the 2 spatial "
        "axes, got (2, 2, 2)",
    ),
    "blocks of no size": (
        lambda: dj.drop_block(KEY, IMAGE, 0.5, block_size=0),
        ValueError,
        "block_size must be one positive integer, or one for each spatial axis, got 0",
    ),
    "blocks of weights of no size": (
        lambda: dj.dropconnect(KEY, KERNEL, 0.5, block_size=(8, 0)),
        ValueError,
        "block_size must be None, a positive integer n, which stands for (n, 1), or a "
        "tuple of them, one for each of the last axes of a leaf, got (8, 0)",
    ),
    "blocks of more axes than a leaf": (
        lambda: dj.dropconnect_mask(
            KEY, {"a": {"b": X[0]}}, 0.5, where=lambda *leaf: True, block_size=8
        ),
        ValueError,
        "block_size must have no more entries than params leaf 'a/b' has axes, got "
        "(8, 1) for shape (6,); an integer n stands for (n, 1), and where can leave "
        "the leaf out",
    ),
    "blocks of more axes than an array": (
        lambda: dj.dropconnect(KEY, KERNEL, 0.5, block_size=(3, 3, 1, 1)),
        ValueError,
        "block_size must have no more entries than params has axes, got (3, 3, 1, 1) "
        "for shape (6, 3); an integer n stands for (n, 1), and where can leave the "
        "leaf out",
    ),
    "blocks without a map": (
        lambda: dj.drop_block(KEY, X, 0.5),
        ValueError,
        "x must have at least one spatial axis for block_size, got none; use "
        "batch_axis=None for an x without a batch",
    ),
    "blocks of a layer": (
        lambda: djn.DropBlock2D(0.5, rngs=nnx.Rngs(0))(X),
        ValueError,
        "DropBlock2D with a batch axis needs inputs of 4 axes, 2 of them spatial, got "
        "shape (4, 6); use batch_axis=None for inputs without a batch",
    ),
    "a rate per element of a block": (
        lambda: dj.drop_block(KEY, IMAGE, jnp.full(IMAGE.shape, 0.5)),
        ValueError,
        "rate of shape (2, 8, 8, 4) must broadcast to the mask's shape (2, 1, 1, 4): "
        "elements that share a mask value share a rate, so use axes of size 1 there",
    ),
    "a negative factor of gamma": (
        lambda: dj.drop_block(KEY, IMAGE, 0.5, gamma_scale=-1.0),
        ValueError,
        "gamma_scale must be a positive number, got -1.0",
    ),
    "a square of no size": (
        lambda: dj.cutout(KEY, IMAGE, 0.5, size=-1),
        ValueError,
        "size must be one positive integer, or one for each spatial axis, got -1",
    ),
    "a rectangle in a sequence": (
        lambda: dj.random_erasing(KEY, IMAGE[:, 0], 0.5),
        ValueError,
        "random_erasing needs an x with two spatial axes besides those of the channels "
        "and the batch, got 1; cutout takes any number, and batch_axis=None is for an "
        "x without a batch",
    ),
    "a share of more than the map": (
        lambda: dj.random_erasing(KEY, IMAGE, 0.5, area=(0.1, 1.1)),
        ValueError,
        "area must be (lowest, highest), two finite numbers above 0 and at most 1, "
        "got (0.1, 1.1)",
    ),
    "a range of a wrong type": (
        lambda: dj.random_erasing(KEY, IMAGE, 0.5, ratio=2.0),
        ValueError,
        "ratio must be (lowest, highest), two finite numbers above 0, got 2.0",
    ),
    "no flag": (
        lambda: djn.Dropout(0.5, deterministic=None)(X),
        ValueError,
        "No `deterministic` argument was provided to Dropout, got None in its "
        "constructor and in the call; layer.train() and layer.eval() set it too",
    ),
    "no rngs": (
        lambda: djn.Dropout(0.5)(X),
        ValueError,
        "`deterministic` is False, but no `rngs` argument was provided to Dropout; "
        "pass rngs=nnx.Rngs(seed) to the constructor or to the call, or "
        "deterministic=True",
    ),
    "features of no number": (
        lambda: djl.DropConnectDense("4", 0.5),
        ValueError,
        "features must be a non-negative integer, got '4'; it comes before the rate",
    ),
    "rngs a seed": (
        lambda: djn.Dropout(0.5, rngs=0),
        TypeError,
        "rngs must be nnx.Rngs, an nnx.RngStream or None, got 0 (int); pass "
        "rngs=nnx.Rngs(seed) to the constructor or to the call",
    ),
}


@pytest.mark.parametrize("case", GOLDEN)
def test_message(case):
    call, error, message = GOLDEN[case]
    with pytest.raises(error) as caught:
        call()
    assert str(caught.value) == message


def test_rates_in_other_containers():
    """What follows is said by JAX, in other words in every version."""
    with pytest.raises(ValueError, match=r"tree prefix of params, got ."):
        dj.dropconnect(KEY, [X, X], (0.5, 0.5))
