"""Tiny Shakespeare after Lo, 2024, at the paper's size: for a GPU."""

from ml_collections import ConfigDict
from training.settings import comparison_config, decoder_config


def get_config() -> ConfigDict:
    """Return the settings."""
    config = comparison_config()
    config.update(decoder_config("none").to_dict())
    config.train_examples = 4096  # the first 524,288 characters
    config.test_examples = 1024
    config.length = 128
    config.hidden = (1024, 1024, 1024, 1024)
    config.heads = 8
    config.epochs = 100  # of 128 steps
    config.batch_size = 32
    config.learning_rate = 3e-4
    config.schedule = "constant"
    config.weight_decay = 0.1
    config.keep_checkpoints = 1
    config.seeds = 1
    config.methods = ConfigDict({"none": 0.0, "dropout": 0.6, "structured": 0.5})
    return config
