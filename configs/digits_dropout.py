"""Digits, MLP, dropout after each hidden layer."""

from ml_collections import ConfigDict
from training.settings import default_config


def get_config() -> ConfigDict:
    """Return the settings."""
    config = default_config()
    config.method = "dropout"
    config.rate = 0.5
    return config
