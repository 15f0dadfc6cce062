"""Linen layers that leave examples, tokens or units out of a computation."""

from ._structured_dropout_mlp import StructuredDropoutMLP as StructuredDropoutMLP
from ._subset_branch import SubsetBranch as SubsetBranch
