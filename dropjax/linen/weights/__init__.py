"""Linen layers for weights."""

from ._dropconnect import DropConnect as DropConnect
from ._dropconnect_conv import DropConnectConv as DropConnectConv
from ._dropconnect_dense import DropConnectDense as DropConnectDense
from ._dropconnect_dense_general import (
    DropConnectDenseGeneral as DropConnectDenseGeneral,
)
from ._dropconnect_einsum import DropConnectEinsum as DropConnectEinsum
