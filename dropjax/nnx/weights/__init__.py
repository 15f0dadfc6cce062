"""NNX layers for weights."""

from ._dropconnect import DropConnect as DropConnect
from ._dropconnect_conv import DropConnectConv as DropConnectConv
from ._dropconnect_einsum import DropConnectEinsum as DropConnectEinsum
from ._dropconnect_linear import DropConnectLinear as DropConnectLinear
from ._dropconnect_linear_general import (
    DropConnectLinearGeneral as DropConnectLinearGeneral,
)
