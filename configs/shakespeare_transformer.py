"""Tiny Shakespeare, transformer with a context of 2,048: drops attention weights."""

from ml_collections import ConfigDict
from training.settings import decoder_config


def get_config() -> ConfigDict:
    """Return the settings."""
    return decoder_config("attention")
