"""The family as Flax Linen layers: each is a thin face of a function.

A layer takes its key from the rng collection "dropout": give `apply` an
`rngs={"dropout": key}`. Where that collection is missing, Linen silently takes the
collection "params" instead; without either it raises.
"""

from ._concrete_dropout import ConcreteDropout as ConcreteDropout
from ._dropconnect import DropConnect as DropConnect
from ._dropconnect_conv import DropConnectConv as DropConnectConv
from ._dropconnect_dense import DropConnectDense as DropConnectDense
from ._dropout import Dropout as Dropout
from ._multi_sample_dropout import MultiSampleDropout as MultiSampleDropout
from ._rates import set_rates as set_rates
from ._spatial_dropout import SpatialDropout1D as SpatialDropout1D
from ._spatial_dropout import SpatialDropout2D as SpatialDropout2D
from ._spatial_dropout import SpatialDropout3D as SpatialDropout3D

__all__ = [
    "ConcreteDropout",
    "DropConnect",
    "DropConnectConv",
    "DropConnectDense",
    "Dropout",
    "MultiSampleDropout",
    "SpatialDropout1D",
    "SpatialDropout2D",
    "SpatialDropout3D",
    "set_rates",
]
