"""MNIST after Lo, 2024: a perceptron with the paper's best rates, on 16,384 images."""

from ml_collections import ConfigDict
from training.settings import comparison_config


def get_config() -> ConfigDict:
    """Return the settings."""
    config = comparison_config()
    config.dataset = "mnist"
    config.train_examples = 16384
    config.model = "perceptron"
    config.hidden = (1024, 1024, 1024)
    config.epochs = 100
    config.batch_size = 1024
    config.learning_rate = 1e-3
    config.schedule = "constant"
    config.weight_decay = 0.0
    config.steps_per_call = 4
    config.keep_checkpoints = 1
    config.seeds = 3
    config.methods = ConfigDict({"none": 0.0, "dropout": 0.5, "structured": 0.3})
    return config
