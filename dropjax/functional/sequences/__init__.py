"""Methods for sequences, tokens and attention."""

from ._attention_dropout import attention_dropout as attention_dropout
from ._attention_dropout import attention_dropout_mask as attention_dropout_mask
from ._dot_product_attention import dot_product_attention as dot_product_attention
from ._drop_head import drop_head as drop_head
from ._drop_head import drop_head_mask as drop_head_mask
from ._embedding_dropout import embedding_dropout as embedding_dropout
from ._embedding_dropout import embedding_dropout_mask as embedding_dropout_mask
from ._neftune import neftune as neftune
from ._patch_dropout import patch_dropout as patch_dropout
from ._variational_dropout import variational_dropout as variational_dropout
from ._variational_dropout import variational_dropout_mask as variational_dropout_mask
from ._word_dropout import word_dropout as word_dropout
from ._word_dropout import word_dropout_mask as word_dropout_mask
from ._zoneout import zoneout as zoneout
from ._zoneout import zoneout_mask as zoneout_mask
