"""dropjax: the drop family of regularizers for JAX.

Each method is defined by two choices, who shares a coin and what fills the hole: which
elements share one entry of the keep mask, and which value replaces dropped elements.

    key --random bits--> keep mask --broadcast, apply--> array or parameter tree

The pure functions are here, the Flax layers are in `dropjax.linen` and `dropjax.nnx`,
and gradient transformations are in `dropjax.optimizers`.
"""

import importlib
from typing import TYPE_CHECKING, Any

from . import inference as inference
from . import losses as losses
from . import schedules as schedules
from ._apply import apply_mask as apply_mask
from ._fast_prng import fast_prng as fast_prng
from ._masks import keep_mask as keep_mask
from .functional.activations import alpha_dropout as alpha_dropout
from .functional.activations import alpha_dropout_mask as alpha_dropout_mask
from .functional.activations import concrete_dropout as concrete_dropout
from .functional.activations import (
    concrete_dropout_regularizer as concrete_dropout_regularizer,
)
from .functional.activations import drop_activation as drop_activation
from .functional.activations import drop_activation_mask as drop_activation_mask
from .functional.activations import dropout as dropout
from .functional.activations import dropout_mask as dropout_mask
from .functional.activations import feature_alpha_dropout as feature_alpha_dropout
from .functional.activations import (
    feature_alpha_dropout_mask as feature_alpha_dropout_mask,
)
from .functional.activations import gaussian_dropout as gaussian_dropout
from .functional.activations import gaussian_noise as gaussian_noise
from .functional.activations import max_dropout as max_dropout
from .functional.activations import max_dropout_mask as max_dropout_mask
from .functional.activations import multi_sample_dropout as multi_sample_dropout
from .functional.activations import (
    multi_sample_dropout_mask as multi_sample_dropout_mask,
)
from .functional.activations import uniform_noise as uniform_noise
from .functional.branches import drop_path as drop_path
from .functional.branches import drop_path_mask as drop_path_mask
from .functional.branches import layer_drop as layer_drop
from .functional.branches import shake_drop as shake_drop
from .functional.inputs import condition_dropout as condition_dropout
from .functional.inputs import condition_dropout_mask as condition_dropout_mask
from .functional.inputs import modality_dropout as modality_dropout
from .functional.inputs import modality_dropout_mask as modality_dropout_mask
from .functional.maps import cutout as cutout
from .functional.maps import cutout_mask as cutout_mask
from .functional.maps import drop_block as drop_block
from .functional.maps import drop_block_mask as drop_block_mask
from .functional.maps import random_erasing as random_erasing
from .functional.maps import random_erasing_mask as random_erasing_mask
from .functional.maps import spatial_dropout as spatial_dropout
from .functional.maps import spatial_dropout_mask as spatial_dropout_mask
from .functional.maps import weighted_channel_dropout as weighted_channel_dropout
from .functional.sequences import attention_dropout as attention_dropout
from .functional.sequences import attention_dropout_mask as attention_dropout_mask
from .functional.sequences import dot_product_attention as dot_product_attention
from .functional.sequences import drop_head as drop_head
from .functional.sequences import drop_head_mask as drop_head_mask
from .functional.sequences import embedding_dropout as embedding_dropout
from .functional.sequences import embedding_dropout_mask as embedding_dropout_mask
from .functional.sequences import neftune as neftune
from .functional.sequences import patch_dropout as patch_dropout
from .functional.sequences import random_masking as random_masking
from .functional.sequences import random_masking_mask as random_masking_mask
from .functional.sequences import span_dropout as span_dropout
from .functional.sequences import span_dropout_mask as span_dropout_mask
from .functional.sequences import spec_augment as spec_augment
from .functional.sequences import spec_augment_mask as spec_augment_mask
from .functional.sequences import variational_dropout as variational_dropout
from .functional.sequences import variational_dropout_mask as variational_dropout_mask
from .functional.sequences import word_dropout as word_dropout
from .functional.sequences import word_dropout_mask as word_dropout_mask
from .functional.sequences import zoneout as zoneout
from .functional.sequences import zoneout_mask as zoneout_mask
from .functional.subsets import structured_dropout_mlp as structured_dropout_mlp
from .functional.subsets import (
    structured_dropout_mlp_mask as structured_dropout_mlp_mask,
)
from .functional.subsets import subset_branch as subset_branch
from .functional.subsets import subset_branch_mask as subset_branch_mask
from .functional.weights import dropconnect_conv as dropconnect_conv
from .functional.weights import dropconnect_conv_gaussian as dropconnect_conv_gaussian
from .functional.weights import dropconnect_conv_moments as dropconnect_conv_moments
from .functional.weights import dropconnect_dense as dropconnect_dense
from .functional.weights import dropconnect_dense_general as dropconnect_dense_general
from .functional.weights import dropconnect_einsum as dropconnect_einsum
from .functional.weights import dropconnect_gaussian as dropconnect_gaussian
from .functional.weights import dropconnect_moments as dropconnect_moments
from .transforms import dropconnect as dropconnect
from .transforms import dropconnect_mask as dropconnect_mask
from .transforms import mixout as mixout
from .transforms import selected as selected
from .transforms import targeted_dropout as targeted_dropout

__all__ = [
    "alpha_dropout",
    "alpha_dropout_mask",
    "apply_mask",
    "attention_dropout",
    "attention_dropout_mask",
    "concrete_dropout",
    "concrete_dropout_regularizer",
    "condition_dropout",
    "condition_dropout_mask",
    "cutout",
    "cutout_mask",
    "dot_product_attention",
    "drop_activation",
    "drop_activation_mask",
    "drop_block",
    "drop_block_mask",
    "drop_head",
    "drop_head_mask",
    "drop_path",
    "drop_path_mask",
    "dropconnect",
    "dropconnect_conv",
    "dropconnect_conv_gaussian",
    "dropconnect_conv_moments",
    "dropconnect_dense",
    "dropconnect_dense_general",
    "dropconnect_einsum",
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
    "layer_drop",
    "max_dropout",
    "max_dropout_mask",
    "mixout",
    "modality_dropout",
    "modality_dropout_mask",
    "multi_sample_dropout",
    "multi_sample_dropout_mask",
    "neftune",
    "patch_dropout",
    "random_erasing",
    "random_erasing_mask",
    "random_masking",
    "random_masking_mask",
    "selected",
    "shake_drop",
    "span_dropout",
    "span_dropout_mask",
    "spatial_dropout",
    "spatial_dropout_mask",
    "spec_augment",
    "spec_augment_mask",
    "structured_dropout_mlp",
    "structured_dropout_mlp_mask",
    "subset_branch",
    "subset_branch_mask",
    "targeted_dropout",
    "uniform_noise",
    "variational_dropout",
    "variational_dropout_mask",
    "weighted_channel_dropout",
    "word_dropout",
    "word_dropout_mask",
    "zoneout",
    "zoneout_mask",
]

# Imported on first use, because they import flax and optax.
_LAZY = ("linen", "nnx", "optimizers")

if TYPE_CHECKING:
    from . import linen as linen
    from . import nnx as nnx
    from . import optimizers as optimizers

    __version__: str
else:

    def __getattr__(name: str) -> Any:
        if name in _LAZY:
            return importlib.import_module(f"{__name__}.{name}")
        if name == "__version__":
            return importlib.import_module("importlib.metadata").version(__name__)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY, "__version__"})
