"""The strength of concrete: Monte Carlo dropout on twenty splits."""

from ml_collections import ConfigDict
from training.uci_nets import uci_config


def get_config() -> ConfigDict:
    """Return the settings."""
    return uci_config("concrete", taus=(0.025, 0.05, 0.075))
