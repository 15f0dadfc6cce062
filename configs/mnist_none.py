"""MNIST, MLP, no dropping: the baseline for mnist_dropout and mnist_dropconnect."""

from ml_collections import ConfigDict
from training.settings import default_config


def get_config() -> ConfigDict:
    """Return the settings."""
    config = default_config()
    config.dataset = "mnist"
    config.hidden = (800, 800)
    config.epochs = 10
    config.batch_size = 128
    config.learning_rate = 2e-3
    config.steps_per_call = 78
    config.method = "none"
    return config
