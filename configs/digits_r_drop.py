"""Digits, MLP, R-Drop: dropout, and a loss on the divergence between two passes."""

from ml_collections import ConfigDict
from training.settings import default_config


def get_config() -> ConfigDict:
    """Return the settings."""
    config = default_config()
    config.method = "dropout"
    config.rate = 0.3
    config.consistency = 1.0
    return config
