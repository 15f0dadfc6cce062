"""The drop family as Flax Linen layers, each a thin wrapper around a function.

A layer takes its PRNG key from the rng collection "dropout": pass `rngs={"dropout":
key}` to `apply`. If that collection is missing, Linen silently uses the collection
"params" instead; without either it raises an error.
"""

from dropjax._checks import missing_package_error

try:
    from . import _base as _base
except ModuleNotFoundError as error:
    raise missing_package_error(error, "flax", "dropjax.linen") from None

from ._rates import rates as rates
from .activations import AlphaDropout as AlphaDropout
from .activations import ConcreteDropout as ConcreteDropout
from .activations import DropActivation as DropActivation
from .activations import Dropout as Dropout
from .activations import FeatureAlphaDropout as FeatureAlphaDropout
from .activations import GaussianDropout as GaussianDropout
from .activations import GaussianNoise as GaussianNoise
from .activations import MaxDropout as MaxDropout
from .activations import MultiSampleDropout as MultiSampleDropout
from .activations import UniformNoise as UniformNoise
from .branches import DropPath as DropPath
from .branches import LayerDrop as LayerDrop
from .branches import ShakeDrop as ShakeDrop
from .inputs import ConditionDropout as ConditionDropout
from .inputs import ModalityDropout as ModalityDropout
from .maps import Cutout as Cutout
from .maps import DropBlock1D as DropBlock1D
from .maps import DropBlock2D as DropBlock2D
from .maps import DropBlock3D as DropBlock3D
from .maps import RandomErasing as RandomErasing
from .maps import SpatialDropout1D as SpatialDropout1D
from .maps import SpatialDropout2D as SpatialDropout2D
from .maps import SpatialDropout3D as SpatialDropout3D
from .maps import WeightedChannelDropout as WeightedChannelDropout
from .sequences import AttentionDropout as AttentionDropout
from .sequences import DropHead as DropHead
from .sequences import EmbeddingDropout as EmbeddingDropout
from .sequences import Neftune as Neftune
from .sequences import PatchDropout as PatchDropout
from .sequences import RandomMasking as RandomMasking
from .sequences import RecurrentDropout as RecurrentDropout
from .sequences import SpanDropout as SpanDropout
from .sequences import SpecAugment as SpecAugment
from .sequences import VariationalDropout as VariationalDropout
from .sequences import WordDropout as WordDropout
from .sequences import Zoneout as Zoneout
from .subsets import StructuredDropoutMLP as StructuredDropoutMLP
from .subsets import SubsetBranch as SubsetBranch
from .weights import DropConnect as DropConnect
from .weights import DropConnectConv as DropConnectConv
from .weights import DropConnectDense as DropConnectDense
from .weights import DropConnectDenseGeneral as DropConnectDenseGeneral
from .weights import DropConnectEinsum as DropConnectEinsum

__all__ = [
    "AlphaDropout",
    "AttentionDropout",
    "ConcreteDropout",
    "ConditionDropout",
    "Cutout",
    "DropActivation",
    "DropBlock1D",
    "DropBlock2D",
    "DropBlock3D",
    "DropConnect",
    "DropConnectConv",
    "DropConnectDense",
    "DropConnectDenseGeneral",
    "DropConnectEinsum",
    "DropHead",
    "DropPath",
    "Dropout",
    "EmbeddingDropout",
    "FeatureAlphaDropout",
    "GaussianDropout",
    "GaussianNoise",
    "LayerDrop",
    "MaxDropout",
    "ModalityDropout",
    "MultiSampleDropout",
    "Neftune",
    "PatchDropout",
    "RandomErasing",
    "RandomMasking",
    "RecurrentDropout",
    "ShakeDrop",
    "SpanDropout",
    "SpatialDropout1D",
    "SpatialDropout2D",
    "SpatialDropout3D",
    "SpecAugment",
    "StructuredDropoutMLP",
    "SubsetBranch",
    "UniformNoise",
    "VariationalDropout",
    "WeightedChannelDropout",
    "WordDropout",
    "Zoneout",
    "rates",
]
