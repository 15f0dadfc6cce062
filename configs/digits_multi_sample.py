"""Digits, MLP, multi-sample dropout: eight masks before the head, losses averaged."""

from ml_collections import ConfigDict
from training.settings import default_config


def get_config() -> ConfigDict:
    """Return the settings."""
    config = default_config()
    config.method = "multi_sample"
    config.rate = 0.5
    return config
