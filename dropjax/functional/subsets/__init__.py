"""Methods that leave examples, tokens or units out of a computation."""

from ._structured_dropout_mlp import structured_dropout_mlp as structured_dropout_mlp
from ._structured_dropout_mlp import (
    structured_dropout_mlp_mask as structured_dropout_mlp_mask,
)
from ._subset_branch import subset_branch as subset_branch
from ._subset_branch import subset_branch_mask as subset_branch_mask
