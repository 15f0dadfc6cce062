"""Digits, small CNN: all four methods, five seeds each."""

from ml_collections import ConfigDict
from training.settings import comparison_config


def get_config() -> ConfigDict:
    """Return the settings."""
    config = comparison_config()
    config.model = "cnn"
    config.channels = (16, 32)
    config.hidden = (64,)
    config.epochs = 30
    config.seeds = 5
    config.methods = ConfigDict(
        {"none": 0.0, "dropout": 0.2, "dropconnect": 0.2, "spatial": 0.2}
    )
    return config
