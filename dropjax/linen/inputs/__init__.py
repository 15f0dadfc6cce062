"""Layers for whole inputs of an example: its conditions and its modalities."""

from ._condition_dropout import ConditionDropout as ConditionDropout
from ._modality_dropout import ModalityDropout as ModalityDropout
