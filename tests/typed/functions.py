"""Functions, transforms, inference, schedules and losses, as users call them."""

from typing import NamedTuple, assert_type

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

import dropjax as dj
from dropjax.inference import Prediction, monte_carlo, relu_mean
from dropjax.losses import r_drop
from dropjax.schedules import curriculum, linear_over_depth

key = jax.random.key(0)
x = jnp.ones((4, 8))
maps = jnp.ones((4, 8, 8, 3))
kernel = jnp.ones((8, 5))


class Params(NamedTuple):
    kernel: Array
    bias: Array


def activations() -> None:
    assert_type(dj.dropout(key, x, 0.5), Array)
    assert_type(dj.dropout(None, x, 0.5, deterministic=True), Array)
    assert_type(dj.dropout(key, x, jnp.float32(0.5), broadcast_dims=(0,)), Array)
    assert_type(dj.dropout(key, x, 0.5, scaling="standard"), Array)
    mask = dj.dropout_mask(key, x.shape, 0.5)
    assert_type(mask, Array)
    assert_type(dj.apply_mask(x, mask, keep=0.5), Array)
    assert_type(dj.apply_mask(x, dj.keep_mask(key, (4, 8), 0.1), fill=-1.0), Array)
    assert_type(dj.gaussian_dropout(key, x, 0.2), Array)
    assert_type(dj.alpha_dropout(key, x, 0.2), Array)
    assert_type(dj.multi_sample_dropout(key, x, 0.2, samples=3), Array)
    assert_type(dj.drop_activation(key, x, 0.2), Array)
    assert_type(dj.zoneout(key, x, jnp.zeros_like(x), 0.2), Array)
    fast = jax.random.key(0, impl=dj.fast_prng)
    assert_type(dj.dropout(fast, x, 0.5), Array)
    assert_type(dj.dropout(jax.random.PRNGKey(0), x, 0.5), Array)


def images_and_sequences() -> None:
    assert_type(dj.spatial_dropout(key, maps, 0.5), Array)
    assert_type(dj.spatial_dropout(key, maps, 0.5, channel_axis=1), Array)
    assert_type(dj.drop_block(key, maps, 0.1, block_size=3), Array)
    assert_type(dj.cutout(key, maps, 0.5, size=(2, 3), fill=0.5), Array)
    assert_type(dj.random_erasing(key, maps, 0.5, fill="random"), Array)
    assert_type(dj.max_dropout(key, maps, 0.5), Array)
    assert_type(dj.variational_dropout(key, jnp.ones((2, 7, 3)), 0.5), Array)
    assert_type(dj.word_dropout(key, jnp.ones((2, 7), int), 0.5, unknown_id=1), Array)
    kept, places = dj.patch_dropout(key, jnp.ones((2, 9, 3)), 0.5)
    assert_type(kept, Array)
    assert_type(places, Array)
    masked = dj.random_masking(key, jnp.ones((2, 9, 3)), 0.75)
    assert_type(masked.restore, Array)
    q = jnp.ones((2, 7, 4, 8))
    attended = dj.dot_product_attention(q, q, q, dropout_rng=key, dropout_rate=0.1)
    assert_type(attended, Array)


def branches() -> None:
    assert_type(dj.drop_path(key, x, 0.1), Array)
    pair = dj.drop_path(key, (x, x + 1), 0.1, mode="batch")
    assert_type(pair, tuple[Array, Array])
    assert_type(dj.layer_drop(key, x, jnp.tanh, 0.1), Array)
    assert_type(dj.subset_branch(key, x, jnp.tanh, 0.1, axis=1), Array)

    def block(state: dict[str, Array]) -> dict[str, Array]:
        return {name: jnp.tanh(leaf) for name, leaf in state.items()}

    skipped = dj.layer_drop(key, {"h": x}, block, 0.5)
    assert_type(skipped, dict[str, Array])


def inputs() -> None:
    conditions = {"label": jnp.ones(4, int), "text": x}
    null = {"label": 10, "text": jnp.zeros(8)}
    dropped = dj.condition_dropout(key, conditions, 0.1, fill=null)
    assert_type(dropped, dict[str, Array])
    y, mask = dj.condition_dropout(key, x, 0.1, fill=0.0, return_mask=True)
    assert_type(y, Array)
    assert_type(mask, Array)
    seen, present = dj.modality_dropout(key, (x, maps), (0.1, 0.3))
    assert_type(seen, tuple[Array, Array])
    assert present[0].shape == (4,)


def weights() -> None:
    assert_type(dj.dropconnect_dense(key, x, kernel, 0.5, mask_per="example"), Array)
    mean, variance = dj.dropconnect_moments(x, kernel, 0.5)
    assert_type(relu_mean(mean, variance), Array)
    params = Params(kernel, jnp.zeros(5))
    masked = dj.dropconnect(key, params, 0.5)
    assert_type(masked, Params)
    assert masked.bias is params.bias
    nested = {"dense": {"kernel": kernel, "bias": jnp.zeros(5)}}
    assert_type(dj.dropconnect(key, nested, 0.5), dict[str, dict[str, Array]])
    assert_type(dj.dropconnect(key, kernel, 0.5), Array)
    chosen = dj.dropconnect(key, nested, 0.5, where=lambda path, leaf: "bias" in path)
    assert_type(chosen["dense"]["bias"], Array)
    assert_type(dj.mixout(key, params, params, 0.5), Params)
    assert_type(dj.targeted_dropout(key, params, 0.5, by="units"), Params)
    assert_type(dj.selected(params), tuple[str, ...])
    masks = dj.dropconnect_mask(key, params, 0.5)
    assert masks.kernel.shape == kernel.shape


def predictions() -> None:
    def apply(key: Array, x: Array) -> Array:
        return jax.nn.softmax(dj.dropout(key, x, 0.5))

    predict = monte_carlo(apply, 8)
    prediction = predict(key, x)
    assert_type(prediction, Prediction[Array])
    assert prediction.mean.shape == prediction.stddev.shape == x.shape
    classes = monte_carlo(apply, 8, outputs="probabilities", keep_samples=True)(key, x)
    assert classes.mutual_information.shape == (4,)
    assert (classes.expected_entropy <= classes.entropy + 1e-6).all()
    assert classes.samples is not None
    assert classes.samples.shape == (8, 4, 8)


def schedules_and_losses() -> None:
    rate = curriculum(0.5, 100)(7)
    assert_type(rate, Array)
    rates = linear_over_depth(0.2, 4)
    for one in rates:
        assert_type(dj.dropout(key, x, one), Array)
    assert_type(r_drop(x, 2 * x, axis=-1), Array)
    assert_type(dj.dropout(key, x, np.float32(0.5)), Array)


def transformed() -> None:
    def loss(w: Array, key: Array, rate: Array) -> Array:
        return dj.dropconnect_dense(key, x, w, rate).sum()

    rate = jnp.float32(0.5)
    assert_type(loss(kernel, key, rate), Array)
    jax.jit(jax.grad(loss))(kernel, key, rate)
    assert_type(dj.__version__, str)


activations()
images_and_sequences()
branches()
weights()
predictions()
schedules_and_losses()
transformed()
