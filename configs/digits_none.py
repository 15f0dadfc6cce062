"""Digits, MLP, no noise: the baseline of the other two."""

from ml_collections import ConfigDict
from training.settings import default_config


def get_config() -> ConfigDict:
    """Return the settings."""
    return default_config()
