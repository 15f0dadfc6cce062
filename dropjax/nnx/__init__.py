"""The family as Flax NNX layers: each is a thin face of a function.

A layer takes its keys from the rng stream "dropout" of the `rngs` given to the
constructor or to the call. The stream is state: under `nnx.jit` every call draws a
new mask. Plain `jax.jit` lets no state out: a layer passed to it draws the same mask
in every call, and a captured one raises.
"""

from ._dropconnect import DropConnect as DropConnect
from ._dropconnect import DropConnectConv as DropConnectConv
from ._dropconnect import DropConnectLinear as DropConnectLinear
from ._dropout import Dropout as Dropout
from ._spatial_dropout import SpatialDropout1D as SpatialDropout1D
from ._spatial_dropout import SpatialDropout2D as SpatialDropout2D
from ._spatial_dropout import SpatialDropout3D as SpatialDropout3D

__all__ = [
    "DropConnect",
    "DropConnectConv",
    "DropConnectLinear",
    "Dropout",
    "SpatialDropout1D",
    "SpatialDropout2D",
    "SpatialDropout3D",
]
