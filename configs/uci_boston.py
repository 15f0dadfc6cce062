"""House prices in Boston: Monte Carlo dropout on twenty splits."""

from ml_collections import ConfigDict
from training.uci_nets import uci_config


def get_config() -> ConfigDict:
    """Return the settings."""
    return uci_config("boston", taus=(0.1, 0.15, 0.2))
