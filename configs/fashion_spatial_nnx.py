"""Fashion-MNIST, CNN, spatial dropout: the NNX version of fashion_spatial."""

from ml_collections import ConfigDict
from training.settings import default_config


def get_config() -> ConfigDict:
    """Return the settings."""
    config = default_config()
    config.host = "nnx"
    config.dataset = "fashion_mnist"
    config.model = "cnn"
    config.channels = (32, 64)
    config.hidden = (128,)
    config.epochs = 10
    config.batch_size = 128
    config.learning_rate = 1e-3
    config.method = "spatial"
    config.rate = 0.2
    return config
