"""Predictions without dropping, and with many masks: means, and how sure they are.

    predict = inference.monte_carlo(apply, 100)
    mean, variance, *_ = predict(key, x)

Without sampling, the moments of `dropjax.dropconnect_moments` and the mean of an
activation of a Gaussian are the paper's inference, in closed form where there is one:

    mean, variance = dropjax.dropconnect_moments(x, kernel, rate, bias=bias)
    y = inference.relu_mean(mean, variance)
"""

from ._activations import gelu_mean as gelu_mean
from ._activations import leaky_relu_mean as leaky_relu_mean
from ._activations import relu_mean as relu_mean
from ._activations import sigmoid_mean as sigmoid_mean
from ._activations import tanh_mean as tanh_mean
from ._monte_carlo import ClassPrediction as ClassPrediction
from ._monte_carlo import Prediction as Prediction
from ._monte_carlo import monte_carlo as monte_carlo

__all__ = [
    "ClassPrediction",
    "Prediction",
    "gelu_mean",
    "leaky_relu_mean",
    "monte_carlo",
    "relu_mean",
    "sigmoid_mean",
    "tanh_mean",
]
