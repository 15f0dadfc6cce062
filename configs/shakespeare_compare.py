"""Tiny Shakespeare, LSTM: with and without weight drop, three seeds each.

The network is trained on a tenth of the text, so that a run takes minutes on a CPU.
"""

from ml_collections import ConfigDict
from training.settings import comparison_config, shakespeare_config


def get_config() -> ConfigDict:
    """Return the settings."""
    config = comparison_config()
    config.update(shakespeare_config("none").to_dict())
    config.seeds = 3
    config.methods = ConfigDict({"none": 0.0, "dropconnect": 0.5})
    return config
