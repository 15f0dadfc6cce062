"""Regression with a gap in the data: the uncertainty of dropout."""

from ml_collections import ConfigDict
from training.regression import regression_config


def get_config() -> ConfigDict:
    """Return the settings."""
    config = regression_config()
    config.method = "dropout"
    return config
