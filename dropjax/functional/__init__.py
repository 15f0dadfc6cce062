"""The methods as pure functions: one method, one file, one paper."""

from ._concrete_dropout import concrete_dropout as concrete_dropout
from ._concrete_dropout import (
    concrete_dropout_regularizer as concrete_dropout_regularizer,
)
from ._dropconnect_conv import dropconnect_conv as dropconnect_conv
from ._dropconnect_dense import dropconnect_dense as dropconnect_dense
from ._dropout import dropout as dropout
from ._dropout import dropout_mask as dropout_mask
from ._gaussian import dropconnect_conv_gaussian as dropconnect_conv_gaussian
from ._gaussian import dropconnect_gaussian as dropconnect_gaussian
from ._moments import dropconnect_conv_moments as dropconnect_conv_moments
from ._moments import dropconnect_moments as dropconnect_moments
from ._multi_sample_dropout import multi_sample_dropout as multi_sample_dropout
from ._multi_sample_dropout import (
    multi_sample_dropout_mask as multi_sample_dropout_mask,
)
from ._spatial_dropout import spatial_dropout as spatial_dropout
from ._spatial_dropout import spatial_dropout_mask as spatial_dropout_mask
