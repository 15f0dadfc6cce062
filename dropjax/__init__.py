"""dropjax: the drop family of regularizers for JAX.

Every method answers two questions, who shares a coin and what fills the hole:

    key --bits--> coins --shared axes--> keep mask --apply--> array or parameter tree

Pure functions are here; Flax layers are in `dropjax.linen` and `dropjax.nnx`.
"""

from . import inference as inference
from ._apply import apply_mask as apply_mask
from ._fast_prng import fast_prng as fast_prng
from ._masks import keep_mask as keep_mask
from .functional import alpha_dropout as alpha_dropout
from .functional import alpha_dropout_mask as alpha_dropout_mask
from .functional import concrete_dropout as concrete_dropout
from .functional import concrete_dropout_regularizer as concrete_dropout_regularizer
from .functional import cutout as cutout
from .functional import cutout_mask as cutout_mask
from .functional import drop_block as drop_block
from .functional import drop_block_mask as drop_block_mask
from .functional import drop_path as drop_path
from .functional import drop_path_mask as drop_path_mask
from .functional import dropconnect_conv as dropconnect_conv
from .functional import dropconnect_conv_gaussian as dropconnect_conv_gaussian
from .functional import dropconnect_conv_moments as dropconnect_conv_moments
from .functional import dropconnect_dense as dropconnect_dense
from .functional import dropconnect_gaussian as dropconnect_gaussian
from .functional import dropconnect_moments as dropconnect_moments
from .functional import dropout as dropout
from .functional import dropout_mask as dropout_mask
from .functional import embedding_dropout as embedding_dropout
from .functional import embedding_dropout_mask as embedding_dropout_mask
from .functional import feature_alpha_dropout as feature_alpha_dropout
from .functional import feature_alpha_dropout_mask as feature_alpha_dropout_mask
from .functional import gaussian_dropout as gaussian_dropout
from .functional import gaussian_noise as gaussian_noise
from .functional import multi_sample_dropout as multi_sample_dropout
from .functional import multi_sample_dropout_mask as multi_sample_dropout_mask
from .functional import random_erasing as random_erasing
from .functional import random_erasing_mask as random_erasing_mask
from .functional import spatial_dropout as spatial_dropout
from .functional import spatial_dropout_mask as spatial_dropout_mask
from .functional import variational_dropout as variational_dropout
from .functional import variational_dropout_mask as variational_dropout_mask
from .functional import word_dropout as word_dropout
from .functional import word_dropout_mask as word_dropout_mask
from .transforms import dropconnect as dropconnect
from .transforms import dropconnect_mask as dropconnect_mask
from .transforms import mixout as mixout

__all__ = [
    "alpha_dropout",
    "alpha_dropout_mask",
    "apply_mask",
    "concrete_dropout",
    "concrete_dropout_regularizer",
    "cutout",
    "cutout_mask",
    "drop_block",
    "drop_block_mask",
    "drop_path",
    "drop_path_mask",
    "dropconnect",
    "dropconnect_conv",
    "dropconnect_conv_gaussian",
    "dropconnect_conv_moments",
    "dropconnect_dense",
    "dropconnect_gaussian",
    "dropconnect_mask",
    "dropconnect_moments",
    "dropout",
    "dropout_mask",
    "embedding_dropout",
    "embedding_dropout_mask",
    "fast_prng",
    "feature_alpha_dropout",
    "feature_alpha_dropout_mask",
    "gaussian_dropout",
    "gaussian_noise",
    "keep_mask",
    "mixout",
    "multi_sample_dropout",
    "multi_sample_dropout_mask",
    "random_erasing",
    "random_erasing_mask",
    "spatial_dropout",
    "spatial_dropout_mask",
    "variational_dropout",
    "variational_dropout_mask",
    "word_dropout",
    "word_dropout_mask",
]
