"""Branches that are computed for a subset of examples or tokens."""

import functools

import flax.linen as nn
from flax import nnx

import dropjax as dj
import dropjax.linen as djl
import dropjax.nnx as djn
from tests.methods._row import Method, twice


class _LinenTwice(nn.Module):
    def __call__(self, x):
        return twice(x)


class _Twice(nnx.Module):
    def __call__(self, x):
        return twice(x)


def _subset_branch(name, shape, axis=0, **claims):
    groups = claims.pop("groups", 1)
    options = {"axis": axis, "groups": groups}

    def function(key, x, rate, deterministic=False):
        off = {"deterministic": deterministic}
        return dj.subset_branch(key, x, twice, rate, **options, **off)

    def linen(key, x, rate, deterministic=False):
        layer = djl.SubsetBranch(_LinenTwice(), rate, **options)
        return layer.apply({}, x, deterministic=deterministic, rng=key)

    def call_nnx(key, x, rate, deterministic=False):
        layer = djn.SubsetBranch(_Twice(), rate, **options)
        return layer(x, deterministic=deterministic, rngs=key)

    return Method(
        name,
        shape,
        tuple(n if it == axis else 1 for it, n in enumerate(shape)),
        function,
        functools.partial(dj.subset_branch_mask, **options),
        linen,
        call_nnx,
        (dj.subset_branch, dj.subset_branch_mask, djl.SubsetBranch, djn.SubsetBranch),
        options,
        whole=twice,
        # The number kept is fixed, so that coins are not independent.
        fair=False,
        several=False,
        certain=False,
        static=True,
        redraws=False,
        counts=True,
        counts_batch=axis == 0,
        talks=() if groups > 1 else (axis,),
        # The indices, for the gather and for the scatter.
        saved=2 * shape[axis],
        # What it takes is up to the branch.
        refuses=False,
        **claims,
    )


ROWS = [
    _subset_branch("subset_branch", (10, 4, 6)),
    _subset_branch("subset_branch-tokens", (4, 10, 6), 1),
    _subset_branch("subset_branch-groups", (20, 4), groups=2),
]
