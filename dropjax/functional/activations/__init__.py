"""Methods for activations."""

from ._alpha_dropout import alpha_dropout as alpha_dropout
from ._alpha_dropout import alpha_dropout_mask as alpha_dropout_mask
from ._alpha_dropout import feature_alpha_dropout as feature_alpha_dropout
from ._alpha_dropout import feature_alpha_dropout_mask as feature_alpha_dropout_mask
from ._concrete_dropout import concrete_dropout as concrete_dropout
from ._concrete_dropout import (
    concrete_dropout_regularizer as concrete_dropout_regularizer,
)
from ._drop_activation import drop_activation as drop_activation
from ._drop_activation import drop_activation_mask as drop_activation_mask
from ._dropout import dropout as dropout
from ._dropout import dropout_mask as dropout_mask
from ._gaussian_dropout import gaussian_dropout as gaussian_dropout
from ._gaussian_dropout import gaussian_noise as gaussian_noise
from ._max_dropout import max_dropout as max_dropout
from ._max_dropout import max_dropout_mask as max_dropout_mask
from ._multi_sample_dropout import multi_sample_dropout as multi_sample_dropout
from ._multi_sample_dropout import (
    multi_sample_dropout_mask as multi_sample_dropout_mask,
)
from ._uniform_noise import uniform_noise as uniform_noise
