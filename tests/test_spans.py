"""SpecAugment and span dropout: the laws of their spans, lengths and fillings."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import dropjax as dj
import dropjax.linen as djl
import dropjax.nnx as djn
from dropjax.functional.sequences._span_dropout import _are_smallest
from tests.methods import array

KEY = jax.random.key(2019)
FAST = jax.random.key(2019, impl=dj.fast_prng)
MANY = 20_000
X = array((6, 30, 8))
LENGTHS = jnp.asarray([30, 21, 12, 5, 1, 0])

in_time = functools.partial(dj.spec_augment_mask, frequency_masks=0)
in_frequency = functools.partial(dj.spec_augment_mask, time_masks=0)


def chi_squared(counts, expected):
    return ((counts - expected) ** 2 / expected).sum()


def dropped(mask):
    return ~np.asarray(mask)


# SpecAugment.


@pytest.mark.parametrize(("mask", "axis"), [(in_time, 1), (in_frequency, 2)])
def test_widths_and_starts_are_uniform_as_in_the_paper(mask, axis):
    size, widest = 12, 4
    shape = (MANY, size, 1) if axis == 1 else (MANY, 1, size)
    name = "time" if axis == 1 else "frequency"
    options = {f"{name}_masks": 1, f"{name}_width": widest}
    where = dropped(mask(FAST, shape, 1.0, **options)).reshape(MANY, size)
    widths = where.sum(1)
    counts = np.bincount(widths, minlength=widest + 1)
    assert chi_squared(counts, MANY / (widest + 1)) < 25  # 4 degrees of freedom
    for width in range(1, widest + 1):
        starts = where[widths == width].argmax(1)
        counts = np.bincount(starts, minlength=size - width + 1)
        assert len(counts) == size - width + 1
        assert chi_squared(counts, len(starts) / len(counts)) < 40
        # A span has no holes.
        ends = starts + width - 1
        assert where[widths == width, ends].all()


def test_several_masks_are_independent_and_may_overlap():
    shape, options = (MANY, 12, 1), {"time_width": 4}
    one, two = (
        dropped(in_time(key, shape, 1.0, time_masks=number, **options)).mean(0)
        for key, number in ((KEY, 1), (FAST, 2))
    )
    np.testing.assert_allclose(two, 1 - (1 - one) ** 2, atol=0.02)


def test_an_example_is_masked_with_the_probability_of_the_rate():
    where = dropped(in_time(FAST, (MANY, 12, 1), 0.3, time_width=4)).any(1)
    none = 0.2**2  # Both widths are 0.
    assert abs(where.mean() - 0.3 * (1 - none)) < 5 * math.sqrt(0.25 / MANY)


@pytest.mark.parametrize("length", [None, 40, 20, 7, 0])
def test_a_share_of_the_steps_bounds_the_width(length):
    lengths = None if length is None else jnp.full(MANY // 10, length)
    shape, options = (MANY // 10, 40, 1), {"time_share": 0.2, "time_masks": 1}
    mask = in_time(FAST, shape, 1.0, time_width=100, seq_lengths=lengths, **options)
    bound = int(0.2 * (40 if length is None else length))
    assert dropped(mask).sum(1).max() == bound


def test_a_policy_of_masks_of_time_and_frequency_is_their_union():
    options = {"time_width": 9, "frequency_width": 4}
    where = dropped(dj.spec_augment_mask(KEY, X.shape, 1.0, **options))
    for one in where:
        steps, bins = one.all(1), one.all(0)
        np.testing.assert_array_equal(one, steps[:, None] | bins)


# Span dropout.


@pytest.mark.parametrize("length", [1, 3, 10])
@pytest.mark.parametrize("rate", [0.25, 0.7])
def test_places_are_covered_as_by_a_uniform_subset_of_starts(rate, length):
    steps = 20
    mask = dj.span_dropout_mask(FAST, (MANY, steps, 1), rate, span_length=length)
    starts = steps - length + 1
    low, more = divmod(rate * steps / length, 1)
    covering = [
        min(place, starts - 1) - max(place - length + 1, 0) + 1
        for place in range(steps)
    ]

    def share(number):
        """Places whose covering starts are all left out."""
        free = [math.comb(starts - n, number) for n in covering]
        return 1 - np.asarray(free) / math.comb(starts, number)

    low = int(low)
    expected = (1 - more) * share(low) + more * share(low + 1)
    np.testing.assert_allclose(
        dropped(mask).mean((0, 2)), expected, atol=5 * math.sqrt(0.25 / MANY)
    )


def test_the_number_of_spans_has_the_mean_of_the_rate_and_a_least():
    shape, numbers = (MANY, 40), functools.partial(dj.span_dropout_mask, FAST)
    count = lambda mask: dropped(mask).sum(1)  # noqa: E731
    flat = functools.partial(numbers, shape, time_axis=1, span_length=1)
    assert set(np.unique(count(flat(0.21)))) == {8, 9}
    assert abs(count(flat(0.21)).mean() - 8.4) < 0.02
    assert (count(flat(0.21, min_spans=12)) == 12).all()
    assert (count(flat(0.0, min_spans=12)) == 0).all()
    traced = jax.jit(lambda rate: flat(rate, min_spans=12))
    assert (count(traced(jnp.float32(0))) == 0).all()
    assert (count(flat(1.0)) == 40).all()


def test_equal_words_are_taken_in_order():
    words = jnp.asarray([[5, 1, 5, 5, 0, 5]] * 7, jnp.uint32)
    taken = _are_smallest(words, jnp.arange(7, dtype=jnp.int32)[:, None], 1)
    order = np.argsort(words[0], stable=True)
    for number, row in enumerate(taken):
        np.testing.assert_array_equal(np.flatnonzero(row), sorted(order[:number]))


def test_examples_too_short_for_a_span_are_left_alone():
    lengths = jnp.arange(31)
    options = {"span_length": 10, "min_spans": 2, "seq_lengths": lengths}
    where = dropped(dj.span_dropout_mask(KEY, (31, 30, 1), 0.1, **options))[..., 0]
    assert not where[:10].any()
    assert (where[10:20].sum(1) == 10).all()
    assert (where[20:].sum(1) > 10).all()


def test_every_example_has_spans_of_its_own_which_features_share():
    for mask in (dj.span_dropout_mask, in_time):
        where = dropped(mask(KEY, (40, 60, 3), 1.0)).reshape(40, -1)
        assert len(np.unique(where, axis=0)) > 30
    assert dj.span_dropout_mask(KEY, (2, 30, 5, 3), 0.5, time_axis=1).shape == (
        *(2, 30, 1, 1),
    )
    assert dj.spec_augment_mask(KEY, (2, 30, 5, 3), 0.5, time_axis=1).shape == (
        *(2, 30, 1, 3),
    )


# Both.

METHODS = {
    "spec_augment": (
        functools.partial(dj.spec_augment, frequency_masks=0, time_width=9),
        functools.partial(in_time, time_width=9),
    ),
    "span_dropout": (
        functools.partial(dj.span_dropout, span_length=3),
        functools.partial(dj.span_dropout_mask, span_length=3),
    ),
}
every_method = pytest.mark.parametrize(
    ("method", "mask"), METHODS.values(), ids=METHODS
)


@every_method
@pytest.mark.parametrize("seed", range(5))
def test_padding_is_never_masked(method, mask, seed):
    key = jax.random.key(seed)
    where = dropped(mask(key, X.shape, 1.0, seq_lengths=LENGTHS))
    padding = np.arange(30)[None, :, None] >= np.asarray(LENGTHS)[:, None, None]
    assert not (where & padding).any()
    y = method(key, X, 1.0, seq_lengths=LENGTHS)
    np.testing.assert_array_equal(y, jnp.where(where, 0, X))


@every_method
def test_padding_does_not_change_the_spans_of_an_example_of_that_length(method, mask):
    """Lengths that are the size of the axis, or more, are no lengths."""
    full = mask(KEY, X.shape, 1.0)
    for size in (30, 1000):
        lengths = jnp.full(6, size)
        same = mask(KEY, X.shape, 1.0, seq_lengths=lengths)
        np.testing.assert_array_equal(same, full)
    none = mask(KEY, X.shape, 1.0, seq_lengths=jnp.full(6, -3))
    assert none.all()


@every_method
def test_axes_may_be_anywhere(method, mask):
    y = method(KEY, X, 1.0, seq_lengths=LENGTHS)
    axes = {"time_axis": 1, "batch_axis": 2}
    if method.func is dj.spec_augment:
        axes["frequency_axis"] = 0
    turned = method(KEY, X.T, 1.0, seq_lengths=LENGTHS, **axes)
    assert turned.shape == X.T.shape
    where = np.asarray(turned.T == 0)
    assert (where == where[..., :1]).all()
    assert not where[5].any()
    alone = method(KEY, X[0], 1.0, batch_axis=None, seq_lengths=jnp.int32(12))
    assert (alone[12:] == X[0, 12:]).all()
    assert y.shape == X.shape


@every_method
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "complex64"])
def test_a_mean_fills_without_the_padding(method, mask, dtype):
    x = X.astype(dtype)
    y = method(KEY, x, 1.0, fill="mean", seq_lengths=LENGTHS)
    where = mask(KEY, X.shape, 1.0, seq_lengths=LENGTHS)
    assert y.dtype == x.dtype
    for one, own, kept, length in zip(y, x, where, LENGTHS, strict=True):
        wide = np.asarray(own[:length].astype(np.complex64))
        mean = wide.mean() if length else 0
        hole = np.asarray(one.astype(np.complex64))[~np.asarray(kept)[:, 0]]
        np.testing.assert_allclose(hole, np.full_like(hole, mean), rtol=1e-2, atol=1e-5)


@every_method
def test_gradients_flow_into_a_learned_vector_and_a_mean(method, mask):
    vector = array((8,), seed=1)
    kept = jnp.broadcast_to(mask(KEY, X.shape, 1.0), X.shape)

    def loss(x, vector):
        return (method(KEY, x, 1.0, fill=vector) * X).sum()

    def explicit(x, vector):
        return (jnp.where(kept, x, vector[None, None]) * X).sum()

    found = jax.jit(jax.grad(loss, (0, 1)))(X, vector)
    wanted = jax.grad(explicit, (0, 1))(X, vector)
    for gradient, expected in zip(found, wanted, strict=True):
        np.testing.assert_allclose(gradient, expected, rtol=1e-5)
    by_mean = jax.grad(lambda x: (method(KEY, x, 1.0, fill="mean") * X).sum())(X)
    means = lambda x: x.mean((1, 2), keepdims=True)  # noqa: E731
    wanted = jax.grad(lambda x: (jnp.where(kept, x, means(x)) * X).sum())(X)
    np.testing.assert_allclose(by_mean, wanted, rtol=1e-5, atol=1e-6)


@every_method
def test_nothing_of_the_arrays_size_is_saved_for_any_filling(method, mask):
    for fill in (0.0, array((8,)), "mean"):
        _, back = jax.vjp(lambda x: method(KEY, x, 1.0, fill=fill), X)  # noqa: B023
        # For a mean, a few numbers per step.
        limit = 2 * 6 * 30 + 16 if isinstance(fill, str) else 16
        assert sum(leaf.size for leaf in jax.tree.leaves(back)) <= limit


@every_method
def test_layers_take_lengths_and_a_filling_in_the_call(method, mask):
    name = "SpecAugment" if method.func is dj.spec_augment else "SpanDropout"
    vector = array((8,), seed=1)
    y = method(KEY, X, 1.0, fill=vector, seq_lengths=LENGTHS)
    given = {"fill": vector, "seq_lengths": LENGTHS}
    layer = getattr(djl, name)(1.0, deterministic=False, **method.keywords)
    np.testing.assert_array_equal(layer.apply({}, X, rng=KEY, **given), y)
    layer = getattr(djn, name)(1.0, **method.keywords)
    np.testing.assert_array_equal(layer(X, rngs=KEY, **given), y)


@every_method
def test_lengths_may_be_traced(method, mask):
    run = jax.jit(lambda lengths: method(KEY, X, 0.5, seq_lengths=lengths))
    for lengths in (LENGTHS, LENGTHS[::-1]):
        y = method(KEY, X, 0.5, seq_lengths=lengths)
        np.testing.assert_array_equal(run(lengths), y)
