"""Fashion-MNIST, residual CNN, drop path: deeper branches drop more often."""

from ml_collections import ConfigDict
from training.settings import default_config


def get_config() -> ConfigDict:
    """Return the settings."""
    config = default_config()
    config.dataset = "fashion_mnist"
    config.model = "residual"
    config.channels = (16, 32)
    config.epochs = 6
    config.batch_size = 128
    config.learning_rate = 3e-3
    config.method = "drop_path"
    config.rate = 0.2
    return config
