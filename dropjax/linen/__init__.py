"""The family as Flax Linen layers: each is a thin face of a function.

A layer takes its key from the rng collection "dropout": give `apply` an
`rngs={"dropout": key}`. Where that collection is missing, Linen silently takes the
collection "params" instead; without either it raises.
"""

from ._dropconnect import DropConnect as DropConnect
from ._dropconnect import DropConnectConv as DropConnectConv
from ._dropconnect import DropConnectDense as DropConnectDense
from ._dropout import Dropout as Dropout
from ._spatial_dropout import SpatialDropout1D as SpatialDropout1D
from ._spatial_dropout import SpatialDropout2D as SpatialDropout2D
from ._spatial_dropout import SpatialDropout3D as SpatialDropout3D

__all__ = [
    "DropConnect",
    "DropConnectConv",
    "DropConnectDense",
    "Dropout",
    "SpatialDropout1D",
    "SpatialDropout2D",
    "SpatialDropout3D",
]
