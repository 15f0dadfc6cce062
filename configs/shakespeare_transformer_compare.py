"""Tiny Shakespeare, a transformer that overfits 65,536 characters: six methods."""

from ml_collections import ConfigDict
from training.settings import comparison_config, decoder_config


def get_config() -> ConfigDict:
    """Return the settings."""
    config = comparison_config()
    config.update(decoder_config("none").to_dict())
    config.train_examples = 1024
    config.test_examples = 256
    config.length = 64
    config.hidden = (128, 128, 128)
    config.heads = 4
    config.epochs = 16  # of 64 steps
    config.batch_size = 16
    config.learning_rate = 2e-3
    config.early_steps = 256
    config.steps_per_call = 16
    config.keep_checkpoints = 1
    config.seeds = 3
    config.methods = ConfigDict(
        {
            "none": 0.0,
            "dropout": 0.5,
            "attention": 0.3,
            "drop_path": 0.3,
            "dropconnect": 0.3,
            "early_dropout": 0.5,
            "all": 0.3,
        }
    )
    return config
