"""NNX layers for sequences, tokens and attention."""

from ._attention import AttentionDropout as AttentionDropout
from ._drop_head import DropHead as DropHead
from ._embedding_dropout import EmbeddingDropout as EmbeddingDropout
from ._neftune import Neftune as Neftune
from ._patch_dropout import PatchDropout as PatchDropout
from ._random_masking import RandomMasking as RandomMasking
from ._recurrent import RecurrentDropout as RecurrentDropout
from ._recurrent import Zoneout as Zoneout
from ._span_dropout import SpanDropout as SpanDropout
from ._spec_augment import SpecAugment as SpecAugment
from ._variational_dropout import VariationalDropout as VariationalDropout
from ._word_dropout import WordDropout as WordDropout
