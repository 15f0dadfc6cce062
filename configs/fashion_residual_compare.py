"""Fashion-MNIST, residual CNN on a tenth of the data: five methods and none."""

from ml_collections import ConfigDict
from training.settings import comparison_config


def get_config() -> ConfigDict:
    """Return the settings."""
    config = comparison_config()
    config.dataset = "fashion_mnist"
    config.train_examples = 6000
    config.test_examples = 4000
    config.model = "residual"
    config.channels = (16, 32)
    config.epochs = 30  # of 60 steps
    config.batch_size = 100
    config.steps_per_call = 10
    config.keep_checkpoints = 1
    config.seeds = 3
    config.methods = ConfigDict(
        {
            "none": 0.0,
            "spatial": 0.1,
            "drop_block": 0.1,
            "drop_path": 0.3,
            "shake_drop": 0.3,
            "subset": 0.3,
        }
    )
    return config
