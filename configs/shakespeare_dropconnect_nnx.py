"""Tiny Shakespeare, LSTM, weight drop: the NNX version."""

from ml_collections import ConfigDict
from training.settings import shakespeare_config


def get_config() -> ConfigDict:
    """Return the settings."""
    config = shakespeare_config("dropconnect")
    config.host = "nnx"
    return config
