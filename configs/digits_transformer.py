"""Digits, vision transformer in NNX: drops attention, patches, paths and units."""

from ml_collections import ConfigDict
from training.settings import default_config


def get_config() -> ConfigDict:
    """Return the settings."""
    config = default_config()
    config.host = "nnx"
    config.model = "transformer"
    config.hidden = (64, 64, 64)
    config.epochs = 60
    config.learning_rate = 2e-3
    config.method = "all"
    config.rate = 0.1
    return config
