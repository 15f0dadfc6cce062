"""Tiny Shakespeare, LSTM, DropConnect on the recurrent kernels: weight drop."""

from ml_collections import ConfigDict
from training.settings import shakespeare_config


def get_config() -> ConfigDict:
    """Return the settings."""
    return shakespeare_config("dropconnect")
