"""Fashion-MNIST, residual CNN on a tenth of the data: four methods and none."""

from ml_collections import ConfigDict
from training.settings import comparison_config


def get_config() -> ConfigDict:
    """Return the settings."""
    config = comparison_config()
    config.dataset = "fashion_mnist"
    config.train_examples = 6000
    config.model = "residual"
    config.channels = (16, 32)
    config.epochs = 10
    config.batch_size = 100
    config.seeds = 2
    config.methods = ConfigDict(
        {
            "none": 0.0,
            "spatial": 0.1,
            "drop_block": 0.1,
            "drop_path": 0.5,
            "subset": 0.5,
        }
    )
    return config
