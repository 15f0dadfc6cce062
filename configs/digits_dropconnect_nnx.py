"""Digits, MLP, DropConnect: the NNX version of digits_dropconnect."""

from ml_collections import ConfigDict
from training.settings import default_config


def get_config() -> ConfigDict:
    """Return the settings."""
    config = default_config()
    config.host = "nnx"
    config.method = "dropconnect"
    config.rate = 0.5
    return config
