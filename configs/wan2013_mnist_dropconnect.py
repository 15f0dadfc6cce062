"""MNIST after Wan et al., 2013: five networks with DropConnect, masks per example."""

from ml_collections import ConfigDict
from training.settings import wan2013_config


def get_config() -> ConfigDict:
    """Return the settings."""
    return wan2013_config("dropconnect")
