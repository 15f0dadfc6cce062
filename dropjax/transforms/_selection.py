"""The default selection: finds the kernels in a tree of parameters."""

import re
from collections import defaultdict
from typing import Any, NamedTuple

import jax.numpy as jnp

from dropjax._types import PyTree
from dropjax.transforms._paths import named, owners

# Words in the names of leaves that are not kernels.
_BIASES = {"b", "bias", "biases", "beta", "offset", "offsets", "shift"}
_BIASES |= {"bq", "bk", "bv", "bo"}
_SCALES = {"g", "gain", "gamma", "scale", "scales", "lambda", "alpha", "magnitude"}
_SCALES |= {"slope", "slopes", "log", "mean", "var", "variance", "average"}
_SCALES |= {"ls", "temperature", "temperatures"}
_NORMS = {"norm", "norms", "ln", "bn", "gn", "layernorm", "batchnorm", "groupnorm"}
_NORMS |= {"rmsnorm", "rms", "instancenorm", "ema"}
_TABLES = {"emb", "wte", "wpe", "table", "tables", "codebook", "codebooks", "pe"}
_TABLES |= {"pos", "posemb", "position", "positions", "positional"}
_TOKENS = {"cls", "token", "tokens", "register", "registers", "prompt", "latents"}

# Words in the names of weights, and of layers that multiply by them.
_WEIGHTS = {"w", "weight", "weights"}
_PRODUCTS = {"kernel", "linear", "dense", "conv", "proj", "projection"}


class _Leaf(NamedTuple):
    """A leaf's shape, the words around it, and the shapes of the biases beside it."""

    shape: tuple[int, ...]
    name: list[str]
    parent: list[str]
    owner: list[str]
    biases: list[tuple[int, ...]]


def are_kernels(params: PyTree) -> list[bool]:
    """For each leaf of a tree, whether it is the kernel of a linear map."""
    located = named(params)
    paths = _spelled([path.split("/") for path, _ in located])
    leaves = [leaf for _, leaf in located]
    biases = defaultdict(list)
    for path, leaf in zip(paths, leaves, strict=True):
        if _BIASES & set(_words(path[-1])) and not any(map(_is_lora, path)):
            biases[tuple(path[:-1])].append(getattr(leaf, "shape", ()))
    return [
        _may_be_kernel(path, leaf)
        and _is_kernel(_describe(path, leaf, owner, biases[tuple(path[:-1])]))
        for path, leaf, owner in zip(paths, leaves, owners(params), strict=True)
    ]


def _spelled(paths: list[list[str]]) -> list[list[str]]:
    """The paths, without the name "b" if "a" is beside it, as it is then not a bias."""
    lettered = {tuple(scope) for *scope, name in paths if name.lower() == "a"}
    return [
        [*path[:-1], ""]
        if path[-1] in ("b", "B") and tuple(path[:-1]) in lettered
        else path
        for path in paths
    ]


def _may_be_kernel(path: list[str], leaf: Any) -> bool:
    """Whether a leaf has the dtype and axes of a kernel, and is not of another kind."""
    dtype = getattr(leaf, "dtype", None)
    if dtype is None or not jnp.issubdtype(dtype, jnp.inexact) or len(leaf.shape) < 2:
        return False
    return "batch_stats" not in path and not any(map(_is_lora, path))


def _describe(
    path: list[str], leaf: Any, owner: str, biases: list[tuple[int, ...]]
) -> _Leaf:
    # Positions in lists have no words, so that the name of the list counts.
    parent, name = [[], [], *filter(None, map(_words, path))][-2:]
    return _Leaf(leaf.shape, name, parent, _words(owner), biases)


def _is_kernel(leaf: _Leaf) -> bool:
    """Decides by the name of a leaf, or for a mere "weight" by what surrounds it."""
    if _PRODUCTS & set(leaf.name[-1:]):
        return True
    if _is_spared(leaf.name) or leaf.shape in leaf.biases:
        return False
    is_weight = bool(_WEIGHTS & set(leaf.name[:1]))
    if is_weight and (leaf.biases or _PRODUCTS & {*leaf.parent[-1:], *leaf.owner[:1]}):
        return True
    if _is_norm_or_table(leaf.parent) or _is_norm_or_table(leaf.owner):
        return False
    return is_weight or _rank(leaf.shape) > 1


def _is_spared(name: list[str]) -> bool:
    """Whether the name of a leaf says that it is not a kernel."""
    others = _BIASES | _SCALES | _NORMS | _TABLES | _TOKENS
    return bool(others & set(name)) or any("embed" in word for word in name)


def _is_norm_or_table(name: list[str]) -> bool:
    """Whether the node that holds a leaf is a normalization or a lookup table."""
    embeds = any("embed" in word for word in name)
    return bool(_NORMS & set(name) or _TABLES & set(name[-1:])) or embeds


def _is_lora(part: str) -> bool:
    """Whether a name is that of a LoRA factor or of the node that holds both."""
    return re.search(r"(^|_)lora(_?[ab]|_down|_up)?(_|$)", part.lower()) is not None


def _rank(shape: tuple[int, ...]) -> int:
    """The number of axes from the first one that is longer than 1."""
    longer = [axis for axis, size in enumerate(shape) if size != 1]
    return len(shape) - longer[0] if longer else 0


def _words(name: str) -> list[str]:
    """The words of a name, such as "layer" and "norm" in LayerNorm_0 and layer_norm."""
    found = re.findall("[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)
    first, others = found[:1], found[1:]
    # The b of ln_b is a bias, but that of W_b and U_b is an index.
    if all(len(word) == 1 for word in first):
        others = [word for word in others if len(word) > 1]
    return [word.lower() for word in first + others]
