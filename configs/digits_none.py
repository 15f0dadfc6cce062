"""Digits, MLP, no dropping: the baseline for digits_dropout and digits_dropconnect."""

from ml_collections import ConfigDict
from training.settings import default_config


def get_config() -> ConfigDict:
    """Return the settings."""
    return default_config()
