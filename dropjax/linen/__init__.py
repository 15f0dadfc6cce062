"""The family as Flax Linen layers: each is a thin face of a function.

A layer takes its key from the rng collection "dropout": give `apply` an
`rngs={"dropout": key}`. Where that collection is missing, Linen silently takes the
collection "params" instead; without either it raises.
"""

from dropjax._checks import missing_package_error

try:
    from . import _base as _base
except ModuleNotFoundError as error:
    raise missing_package_error(error, "flax", "dropjax.linen") from None

from ._alpha_dropout import AlphaDropout as AlphaDropout
from ._alpha_dropout import FeatureAlphaDropout as FeatureAlphaDropout
from ._attention import AttentionDropout as AttentionDropout
from ._concrete_dropout import ConcreteDropout as ConcreteDropout
from ._drop_activation import DropActivation as DropActivation
from ._drop_block import DropBlock1D as DropBlock1D
from ._drop_block import DropBlock2D as DropBlock2D
from ._drop_block import DropBlock3D as DropBlock3D
from ._drop_head import DropHead as DropHead
from ._drop_path import DropPath as DropPath
from ._dropconnect import DropConnect as DropConnect
from ._dropconnect_conv import DropConnectConv as DropConnectConv
from ._dropconnect_dense import DropConnectDense as DropConnectDense
from ._dropout import Dropout as Dropout
from ._erasing import Cutout as Cutout
from ._erasing import RandomErasing as RandomErasing
from ._gaussian import GaussianDropout as GaussianDropout
from ._gaussian import GaussianNoise as GaussianNoise
from ._layer_drop import LayerDrop as LayerDrop
from ._max_dropout import MaxDropout as MaxDropout
from ._multi_sample_dropout import MultiSampleDropout as MultiSampleDropout
from ._patch_dropout import PatchDropout as PatchDropout
from ._rates import set_rates as set_rates
from ._recurrent import RecurrentDropout as RecurrentDropout
from ._recurrent import Zoneout as Zoneout
from ._sequences import EmbeddingDropout as EmbeddingDropout
from ._sequences import VariationalDropout as VariationalDropout
from ._sequences import WordDropout as WordDropout
from ._shake_drop import ShakeDrop as ShakeDrop
from ._spatial_dropout import SpatialDropout1D as SpatialDropout1D
from ._spatial_dropout import SpatialDropout2D as SpatialDropout2D
from ._spatial_dropout import SpatialDropout3D as SpatialDropout3D
from ._weighted_channel_dropout import WeightedChannelDropout as WeightedChannelDropout

__all__ = [
    "AlphaDropout",
    "AttentionDropout",
    "ConcreteDropout",
    "Cutout",
    "DropActivation",
    "DropBlock1D",
    "DropBlock2D",
    "DropBlock3D",
    "DropConnect",
    "DropConnectConv",
    "DropConnectDense",
    "DropHead",
    "DropPath",
    "Dropout",
    "EmbeddingDropout",
    "FeatureAlphaDropout",
    "GaussianDropout",
    "GaussianNoise",
    "LayerDrop",
    "MaxDropout",
    "MultiSampleDropout",
    "PatchDropout",
    "RandomErasing",
    "RecurrentDropout",
    "ShakeDrop",
    "SpatialDropout1D",
    "SpatialDropout2D",
    "SpatialDropout3D",
    "VariationalDropout",
    "WeightedChannelDropout",
    "WordDropout",
    "Zoneout",
    "set_rates",
]
