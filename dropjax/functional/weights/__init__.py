"""Methods for weights."""

from ._dropconnect_conv import dropconnect_conv as dropconnect_conv
from ._dropconnect_dense import dropconnect_dense as dropconnect_dense
from ._gaussian import dropconnect_conv_gaussian as dropconnect_conv_gaussian
from ._gaussian import dropconnect_gaussian as dropconnect_gaussian
from ._moments import dropconnect_conv_moments as dropconnect_conv_moments
from ._moments import dropconnect_moments as dropconnect_moments
