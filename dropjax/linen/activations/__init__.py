"""Linen layers for activations."""

from ._alpha_dropout import AlphaDropout as AlphaDropout
from ._alpha_dropout import FeatureAlphaDropout as FeatureAlphaDropout
from ._concrete_dropout import ConcreteDropout as ConcreteDropout
from ._drop_activation import DropActivation as DropActivation
from ._dropout import Dropout as Dropout
from ._gaussian_dropout import GaussianDropout as GaussianDropout
from ._gaussian_dropout import GaussianNoise as GaussianNoise
from ._max_dropout import MaxDropout as MaxDropout
from ._multi_sample_dropout import MultiSampleDropout as MultiSampleDropout
from ._uniform_noise import UniformNoise as UniformNoise
