"""The methods as pure functions: one method, one file, one paper."""

from ._alpha_dropout import alpha_dropout as alpha_dropout
from ._alpha_dropout import alpha_dropout_mask as alpha_dropout_mask
from ._alpha_dropout import feature_alpha_dropout as feature_alpha_dropout
from ._alpha_dropout import feature_alpha_dropout_mask as feature_alpha_dropout_mask
from ._attention import attention_dropout as attention_dropout
from ._attention import attention_dropout_mask as attention_dropout_mask
from ._attention import dot_product_attention as dot_product_attention
from ._concrete_dropout import concrete_dropout as concrete_dropout
from ._concrete_dropout import (
    concrete_dropout_regularizer as concrete_dropout_regularizer,
)
from ._cutout import cutout as cutout
from ._cutout import cutout_mask as cutout_mask
from ._drop_activation import drop_activation as drop_activation
from ._drop_activation import drop_activation_mask as drop_activation_mask
from ._drop_block import drop_block as drop_block
from ._drop_block import drop_block_mask as drop_block_mask
from ._drop_head import drop_head as drop_head
from ._drop_head import drop_head_mask as drop_head_mask
from ._drop_path import drop_path as drop_path
from ._drop_path import drop_path_mask as drop_path_mask
from ._dropconnect_conv import dropconnect_conv as dropconnect_conv
from ._dropconnect_dense import dropconnect_dense as dropconnect_dense
from ._dropout import dropout as dropout
from ._dropout import dropout_mask as dropout_mask
from ._embedding_dropout import embedding_dropout as embedding_dropout
from ._embedding_dropout import embedding_dropout_mask as embedding_dropout_mask
from ._gaussian import dropconnect_conv_gaussian as dropconnect_conv_gaussian
from ._gaussian import dropconnect_gaussian as dropconnect_gaussian
from ._gaussian_dropout import gaussian_dropout as gaussian_dropout
from ._gaussian_dropout import gaussian_noise as gaussian_noise
from ._layer_drop import layer_drop as layer_drop
from ._max_dropout import max_dropout as max_dropout
from ._max_dropout import max_dropout_mask as max_dropout_mask
from ._moments import dropconnect_conv_moments as dropconnect_conv_moments
from ._moments import dropconnect_moments as dropconnect_moments
from ._multi_sample_dropout import multi_sample_dropout as multi_sample_dropout
from ._multi_sample_dropout import (
    multi_sample_dropout_mask as multi_sample_dropout_mask,
)
from ._patch_dropout import patch_dropout as patch_dropout
from ._random_erasing import random_erasing as random_erasing
from ._random_erasing import random_erasing_mask as random_erasing_mask
from ._shake_drop import shake_drop as shake_drop
from ._spatial_dropout import spatial_dropout as spatial_dropout
from ._spatial_dropout import spatial_dropout_mask as spatial_dropout_mask
from ._variational_dropout import variational_dropout as variational_dropout
from ._variational_dropout import variational_dropout_mask as variational_dropout_mask
from ._weighted_channel_dropout import (
    weighted_channel_dropout as weighted_channel_dropout,
)
from ._word_dropout import word_dropout as word_dropout
from ._word_dropout import word_dropout_mask as word_dropout_mask
from ._zoneout import zoneout as zoneout
from ._zoneout import zoneout_mask as zoneout_mask
