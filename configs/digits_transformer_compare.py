"""Digits, vision transformer: drop path, and a subset of the examples per branch."""

from ml_collections import ConfigDict
from training.settings import comparison_config


def get_config() -> ConfigDict:
    """Return the settings."""
    config = comparison_config()
    config.host = "nnx"
    config.model = "transformer"
    config.hidden = (64, 64, 64)
    config.epochs = 40
    config.learning_rate = 2e-3
    config.seeds = 3
    config.rates = (0.2, 0.4)
    config.methods = ConfigDict({"none": 0.0, "drop_path": 0.4, "subset": 0.4})
    return config
