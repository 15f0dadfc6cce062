"""Methods for whole inputs of an example: its conditions and its modalities."""

from ._condition_dropout import condition_dropout as condition_dropout
from ._condition_dropout import condition_dropout_mask as condition_dropout_mask
from ._modality_dropout import modality_dropout as modality_dropout
from ._modality_dropout import modality_dropout_mask as modality_dropout_mask
