"""Linen layers that leave examples, tokens or units out of a computation."""

from ._subset_branch import SubsetBranch as SubsetBranch
