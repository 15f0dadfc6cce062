"""Predictions with many masks or in closed form, with their uncertainty.

    predict = inference.monte_carlo(apply, 100)
    mean, variance, *_ = predict(key, x)

The paper's inference needs no sampled masks: it combines the moments of
`dropjax.dropconnect_moments` with the mean of an activation of a Gaussian, which has a
closed form for some activations:

    mean, variance = dropjax.dropconnect_moments(x, kernel, rate, bias=bias)
    y = inference.relu_mean(mean, variance)

Whether the probabilities of classes can be trusted is measured by calibration:

    inference.expected_calibration_error(mean, labels, outputs="probabilities")
"""

from ._activations import gelu_mean as gelu_mean
from ._activations import leaky_relu_mean as leaky_relu_mean
from ._activations import relu_mean as relu_mean
from ._activations import sigmoid_mean as sigmoid_mean
from ._activations import tanh_mean as tanh_mean
from ._calibration import Reliability as Reliability
from ._calibration import brier_score as brier_score
from ._calibration import expected_calibration_error as expected_calibration_error
from ._calibration import negative_log_likelihood as negative_log_likelihood
from ._calibration import reliability as reliability
from ._monte_carlo import ClassPrediction as ClassPrediction
from ._monte_carlo import Prediction as Prediction
from ._monte_carlo import monte_carlo as monte_carlo

__all__ = [
    "ClassPrediction",
    "Prediction",
    "Reliability",
    "brier_score",
    "expected_calibration_error",
    "gelu_mean",
    "leaky_relu_mean",
    "monte_carlo",
    "negative_log_likelihood",
    "reliability",
    "relu_mean",
    "sigmoid_mean",
    "tanh_mean",
]
