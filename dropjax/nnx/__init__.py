"""The family as Flax NNX layers: each is a thin face of a function.

A layer takes its keys from the rng stream "dropout" of the `rngs` given to the
constructor or to the call. The stream is state: under `nnx.jit` every call draws a
new mask. Plain `jax.jit` lets no state out: a layer passed to it draws the same mask
in every call, and a captured one raises.
"""

from ._concrete_dropout import ConcreteDropout as ConcreteDropout
from ._dropconnect import DropConnect as DropConnect
from ._dropconnect_conv import DropConnectConv as DropConnectConv
from ._dropconnect_linear import DropConnectLinear as DropConnectLinear
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
    "DropConnectLinear",
    "Dropout",
    "MultiSampleDropout",
    "SpatialDropout1D",
    "SpatialDropout2D",
    "SpatialDropout3D",
    "set_rates",
]
