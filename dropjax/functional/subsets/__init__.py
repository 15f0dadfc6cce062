"""Methods that leave examples, tokens or units out of a computation."""

from ._subset_branch import subset_branch as subset_branch
from ._subset_branch import subset_branch_mask as subset_branch_mask
