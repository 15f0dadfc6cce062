"""Regression with a gap: where dropout is sure and where it is not."""

from ml_collections import ConfigDict
from training.regression import regression_config


def get_config() -> ConfigDict:
    """Return the settings."""
    config = regression_config()
    config.method = "dropout"
    return config
