"""Fashion-MNIST after Lo, 2024, a smaller vision transformer: units are left out.

`sparsedrop_fashion_vit_full` has the size of the paper.
"""

from ml_collections import ConfigDict
from training.settings import comparison_config


def get_config() -> ConfigDict:
    """Return the settings."""
    config = comparison_config()
    config.dataset = "fashion_mnist"
    config.train_examples = 4096
    config.test_examples = 4096
    config.host = "nnx"
    config.model = "transformer"
    config.hidden = (128, 128)
    config.expansion = 4
    config.patches = 7
    config.epochs = 20  # of 64 steps
    config.batch_size = 64
    config.learning_rate = 1e-3
    config.schedule = "constant"
    config.weight_decay = 0.0
    config.steps_per_call = 16
    config.keep_checkpoints = 1
    config.seeds = 2
    config.methods = ConfigDict({"none": 0.0, "dropout": 0.5, "structured": 0.2})
    return config
