"""Methods for weights."""

from ._dropconnect_conv import dropconnect_conv as dropconnect_conv
from ._dropconnect_dense import dropconnect_dense as dropconnect_dense
from ._dropconnect_dense_general import (
    dropconnect_dense_general as dropconnect_dense_general,
)
from ._dropconnect_einsum import dropconnect_einsum as dropconnect_einsum
from ._gaussian import dropconnect_conv_gaussian as dropconnect_conv_gaussian
from ._gaussian import dropconnect_gaussian as dropconnect_gaussian
from ._moments import dropconnect_conv_moments as dropconnect_conv_moments
from ._moments import dropconnect_moments as dropconnect_moments
