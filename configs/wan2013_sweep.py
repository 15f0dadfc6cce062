"""MNIST after Wan et al., 2013: test error by rate, in a network of 400-400 units."""

from ml_collections import ConfigDict
from training.settings import comparison_config, wan2013_config


def get_config() -> ConfigDict:
    """Return the settings."""
    config = comparison_config()
    paper = wan2013_config("none").to_dict()
    config.update({**paper, "nets": 1, "hidden": (400, 400)})
    config.seeds = 3
    config.rates = (0.125, 0.25, 0.5, 0.75, 0.875)
    return config
