"""Digits, MLP: no dropping, dropout and DropConnect, five seeds each."""

from ml_collections import ConfigDict
from training.settings import comparison_config


def get_config() -> ConfigDict:
    """Return the settings."""
    config = comparison_config()
    config.seeds = 5
    return config
