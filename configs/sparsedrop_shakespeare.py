"""Tiny Shakespeare after Lo, 2024, at a smaller size: dropped units are left out.

`sparsedrop_shakespeare_full` has the size of the paper.
"""

from ml_collections import ConfigDict
from training.settings import comparison_config, decoder_config


def get_config() -> ConfigDict:
    """Return the settings."""
    config = comparison_config()
    config.update(decoder_config("none").to_dict())
    config.train_examples = 1024
    config.test_examples = 256
    config.length = 128
    config.hidden = (192, 192)
    config.heads = 4
    config.epochs = 32  # of 64 steps
    config.batch_size = 16
    config.learning_rate = 1e-3
    config.schedule = "constant"
    config.weight_decay = 0.1
    config.steps_per_call = 16
    config.keep_checkpoints = 1
    config.seeds = 2
    config.methods = ConfigDict({"none": 0.0, "dropout": 0.6, "structured": 0.5})
    return config
