"""Shows which leaves of a tree the transforms drop from."""

from dropjax._checks import check_leaf
from dropjax._types import PyTree
from dropjax.transforms._trees import Where, chosen


def selected(params: PyTree, *, where: Where | None = None) -> tuple[str, ...]:
    """The paths of the leaves that `dropconnect` masks, to inspect before training.

    `mixout` and `targeted_dropout` select the same leaves, and so do the `DropConnect`
    layers in the parameters of the module that they wrap.

    Without `where`, the kernels are selected: the weights of dense layers,
    convolutions, attention and recurrent cells. These are the floating-point and
    complex leaves with two or more axes, except:

    - biases and offsets, scales and gains, the parameters and statistics of
      normalization, embedding tables, positions, class tokens and the like, and LoRA
      factors. They are recognized by the words in the name of a leaf, such as "bias",
      "pos_embed" and "cls_token"; if that name is not specific, as in "norm/weight", by
      the name or the class of the node that holds the leaf. Stacking layers, as with
      `nn.scan` or `jax.vmap`, makes no difference.
    - a leaf with the same shape as a bias beside it, as in a stacked normalization.
    - a leaf with fewer than two axes, not counting leading axes of size 1. These are
      counted for leaves named like weights: "w", "weight" or "kernel".

    A leaf whose name ends in "kernel" or "proj" is a kernel even in an embedding, as in
    "patch_embed/kernel". If there are no names at all, as in a list of arrays, the
    number of axes alone decides, and an embedding table is selected. A single array is
    always selected.

    Args:
      params: any pytree of arrays, or of their `jax.ShapeDtypeStruct`s.
      where: a function of the path of a leaf, such as "layer/kernel", and the leaf,
        which returns True for the leaves to select. It replaces the default selection.

    Returns:
      The paths of the selected leaves, in the order of the tree's leaves. The path of a
      single array is "". The tuple is empty if nothing is selected.

    Raises:
      TypeError: where is not a function, or selects a leaf that is not a floating-point
        or complex array.

    Example:
      >>> dense = {"kernel": jnp.ones((4, 8)), "bias": jnp.ones(8)}
      >>> params = {"embed": {"embedding": jnp.ones((9, 4))}, "dense": dense}
      >>> chosen = selected(params)
      >>> assert chosen == ("dense/kernel",)
      >>> assert selected(params, where=lambda path, leaf: path in chosen) == chosen
    """
    leaves = [(path, leaf) for path, leaf, flag in chosen(params, where) if flag]
    for path, leaf in leaves:
        check_leaf(leaf, path)
    return tuple(path for path, _ in leaves)
