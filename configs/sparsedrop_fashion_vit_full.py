"""Fashion-MNIST after Lo, 2024, at the paper's size: for a GPU."""

from ml_collections import ConfigDict
from training.settings import comparison_config


def get_config() -> ConfigDict:
    """Return the settings."""
    config = comparison_config()
    config.dataset = "fashion_mnist"
    config.train_examples = 16364
    config.host = "nnx"
    config.model = "transformer"
    config.hidden = (1024, 1024)
    config.heads = 8
    config.expansion = 4
    config.patches = 14  # of 2 x 2 pixels
    config.epochs = 50  # of 255 steps
    config.batch_size = 64
    config.learning_rate = 1e-4
    config.schedule = "constant"
    config.weight_decay = 0.0
    config.keep_checkpoints = 1
    config.seeds = 1
    config.methods = ConfigDict({"none": 0.0, "dropout": 0.5, "structured": 0.2})
    return config
