"""Calibration, against counts by hand and the definitions written out."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.calibration import calibration_curve

from dropjax.inference import (
    brier_score,
    expected_calibration_error,
    monte_carlo,
    negative_log_likelihood,
    reliability,
)

N, CLASSES = 400, 5
MEASURES = {
    "ece": expected_calibration_error,
    "nll": negative_log_likelihood,
    "brier": brier_score,
}
every_measure = pytest.mark.parametrize("measure", MEASURES.values(), ids=MEASURES)


def data(shape=(N,), seed=0):
    generator = np.random.default_rng(seed)
    logits = generator.normal(0, 2, (*shape, CLASSES)).astype(np.float32)
    return jnp.asarray(logits), jnp.asarray(generator.integers(0, CLASSES, shape))


LOGITS, LABELS = data()
P = jax.nn.softmax(LOGITS)
of_p = {"outputs": "probabilities"}


def by_hand(p, labels, bins):
    """The expected calibration error, example by example, in the words of the paper."""
    p, labels = np.asarray(p, np.float64), np.asarray(labels)
    total = 0.0
    for m in range(1, bins + 1):
        inside = [n for n in range(len(p)) if (m - 1) / bins < p[n].max() <= m / bins]
        if inside:
            accuracy = np.mean([p[n].argmax() == labels[n] for n in inside])
            confidence = np.mean([p[n].max() for n in inside])
            total += len(inside) / len(p) * abs(accuracy - confidence)
    return total


@pytest.mark.parametrize("bins", [1, 7, 10, 15])
def test_calibration_error_is_that_of_a_count_by_hand(bins):
    ece = expected_calibration_error(P, LABELS, num_bins=bins, **of_p)
    np.testing.assert_allclose(ece, by_hand(P, LABELS, bins), rtol=1e-5)


def test_a_small_case_in_full():
    p = jnp.asarray([[0.9, 0.1], [0.7, 0.3], [0.4, 0.6], [0.35, 0.65], [1.0, 0.0]])
    bins = reliability(p, jnp.asarray([0, 1, 1, 0, 0]), num_bins=4, **of_p)
    # (0.5, 0.75]: 0.7 wrong, 0.6 right, 0.65 wrong; (0.75, 1]: 0.9 and 1.0, both right.
    np.testing.assert_allclose(bins.share, [0, 0, 0.6, 0.4], rtol=1e-6)
    np.testing.assert_allclose(bins.accuracy, [0, 0, 1 / 3, 1], rtol=1e-6)
    np.testing.assert_allclose(bins.confidence, [0, 0, 0.65, 0.95], rtol=1e-6)
    expected = 0.6 * (0.65 - 1 / 3) + 0.4 * 0.05
    np.testing.assert_allclose(bins.expected_calibration_error, expected, rtol=1e-6)


def test_a_confidence_on_an_edge_is_in_the_lower_bin():
    p = jnp.asarray([[0.75, 0.25], [0.5, 0.5]])
    bins = reliability(p, jnp.asarray([0, 0]), num_bins=4, **of_p)
    np.testing.assert_array_equal(bins.share, [0, 0.5, 0.5, 0])


def test_bins_are_those_of_scikit_learn():
    confidence = np.asarray(P.max(-1))
    right = np.asarray(P.argmax(-1) == LABELS)
    accuracy, means = calibration_curve(right, confidence, n_bins=10)
    bins = reliability(P, LABELS, num_bins=10, **of_p)
    held = np.asarray(bins.share) > 0
    np.testing.assert_allclose(np.asarray(bins.accuracy)[held], accuracy, rtol=1e-5)
    np.testing.assert_allclose(np.asarray(bins.confidence)[held], means, rtol=1e-5)


def test_scores_are_their_formulas():
    p, truth = np.asarray(P, np.float64), np.eye(CLASSES)[np.asarray(LABELS)]
    nll = -np.log((p * truth).sum(-1)).mean()
    np.testing.assert_allclose(
        negative_log_likelihood(P, LABELS, **of_p), nll, rtol=1e-5
    )
    score = ((p - truth) ** 2).sum(-1).mean()
    np.testing.assert_allclose(brier_score(P, LABELS, **of_p), score, rtol=1e-5)


@every_measure
def test_logits_are_those_of_their_softmax(measure):
    by_logits = measure(LOGITS, LABELS, outputs="logits")
    np.testing.assert_allclose(by_logits, measure(P, LABELS, **of_p), rtol=1e-5)


@every_measure
@pytest.mark.parametrize("axis", [0, 1, -2])
@pytest.mark.parametrize("outputs", ["logits", "probabilities"])
def test_samples_are_averaged_as_probabilities(measure, axis, outputs):
    logits, labels = data((8, N))
    labels, each = labels[0], jax.nn.softmax(logits)
    given = logits if outputs == "logits" else each
    moved = jnp.moveaxis(given, 0, axis)
    found = measure(moved, labels, outputs=outputs, sample_axis=axis)
    mean = each.mean(0)
    np.testing.assert_allclose(found, measure(mean, labels, **of_p), rtol=1e-5)


def test_the_likelihood_of_samples_does_not_underflow():
    logits = jnp.asarray([[[0.0, -200.0]], [[0.0, -300.0]]])
    nll = functools.partial(negative_log_likelihood, outputs="logits", sample_axis=0)
    np.testing.assert_allclose(
        nll(logits, jnp.asarray([1])), 200 + np.log(2), rtol=1e-6
    )


@every_measure
@pytest.mark.parametrize("wrap", [lambda f: f, jax.jit], ids=["eager", "jit"])
def test_padding_counts_for_nothing_whatever_it_holds(measure, wrap):
    padding = jnp.full((3, CLASSES), jnp.nan)
    padded = jnp.concatenate([P, padding])
    labels = jnp.concatenate([LABELS, jnp.asarray([-100, 99, 0])])
    weights = jnp.arange(N + 3) < N
    run = wrap(lambda p, labels, weights: measure(p, labels, weights=weights, **of_p))
    for mask in (weights, weights.astype(np.float32), weights.astype(np.int32)):
        np.testing.assert_allclose(
            run(padded, labels, mask), measure(P, LABELS, **of_p), rtol=1e-5
        )


@every_measure
def test_padding_of_samples_counts_for_nothing(measure):
    logits, labels = data((8, N))
    padded = logits.at[:, ::2].set(jnp.nan)
    options = {"outputs": "logits", "sample_axis": 0}
    found = measure(padded, labels[0], weights=jnp.arange(N) % 2, **options)
    wanted = measure(logits[:, 1::2], labels[0, 1::2], **options)
    np.testing.assert_allclose(found, wanted, rtol=1e-5)


@every_measure
def test_a_weight_of_two_is_an_example_twice(measure):
    weights = 1 + (np.arange(N) % 3 == 0)
    twice = np.repeat(np.arange(N), weights)
    np.testing.assert_allclose(
        measure(P, LABELS, weights=weights, **of_p),
        measure(P[twice], LABELS[twice], **of_p),
        rtol=1e-5,
    )
    assert np.isnan(measure(P, LABELS, weights=jnp.zeros(N), **of_p))


@every_measure
def test_labels_have_any_number_of_axes(measure):
    flat = measure(P, LABELS, **of_p)
    folded = measure(P.reshape(4, -1, CLASSES), LABELS.reshape(4, -1), **of_p)
    np.testing.assert_allclose(folded, flat, rtol=1e-5)
    one = measure(P[0], LABELS[0], **of_p)
    np.testing.assert_allclose(one, measure(P[:1], LABELS[:1], **of_p), rtol=1e-6)


@every_measure
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_is_averaged_in_float32(measure, dtype):
    half = LOGITS.astype(dtype)
    found = measure(half, LABELS, outputs="logits")
    assert found.dtype == np.float32
    wide = measure(half.astype(np.float32), LABELS, outputs="logits")
    np.testing.assert_array_equal(found, wide)


@every_measure
def test_what_is_wrong_under_jit_is_nan(measure):
    run = jax.jit(functools.partial(measure, **of_p))
    assert np.isfinite(run(P, LABELS))
    assert np.isnan(run(P.at[3].mul(2), LABELS))
    for wrong in (-1, CLASSES):
        assert np.isnan(run(P, LABELS.at[3].set(wrong)))


def test_predictions_of_monte_carlo_are_calibrated_by_their_mean():
    def apply(key, x):
        return x + jax.random.normal(key, x.shape)

    key = jax.random.key(0)
    options = {"outputs": "logits", "keep_samples": True}
    prediction = monte_carlo(apply, 20, **options)(key, LOGITS)
    for measure in MEASURES.values():
        np.testing.assert_allclose(
            measure(prediction.mean, LABELS, **of_p),
            measure(prediction.samples, LABELS, outputs="logits", sample_axis=0),
            rtol=1e-5,
        )


def test_averaging_noise_lowers_confidence_and_calibrates():
    """Labels drawn from the probabilities are calibrated; sharper ones are not."""
    logits, _ = data((20_000,))
    labels = jax.random.categorical(jax.random.key(0), logits)
    ece = functools.partial(expected_calibration_error, outputs="logits")
    assert ece(logits, labels) < 0.02
    assert ece(3 * logits, labels) > 0.1
    sharp = reliability(3 * logits, labels, outputs="logits")
    assert (sharp.accuracy <= sharp.confidence)[np.asarray(sharp.share) > 0].all()
