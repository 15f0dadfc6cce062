"""What only layers are given."""

from collections.abc import Collection, Mapping
from typing import Any

from jaxtyping import Array

from dropjax._checks._words import describe
from dropjax._types import PyTree


def check_sower(module: object) -> None:
    """None, or a module that attention weights can be sown into."""
    if module is not None and not callable(getattr(module, "sow", None)):
        raise TypeError(
            "module must be a flax module, which attention weights are sown into, or "
            f"None, got {describe(module)}"
        )


def check_own_einsum(einsum: object, name: str) -> None:
    """Flax's layers can be given other products, which are not used here."""
    if einsum is not None:
        raise ValueError(
            f"{name} must be None, because dropjax.dot_product_attention makes the "
            f"products itself, got {describe(einsum)}; leave {name}_cls off the layer, "
            "or write the attention with these products and dropjax.attention_dropout"
        )


def check_recurrent_cell(cell: object, known: tuple[type, ...]) -> None:
    """A cell whose state and products are known."""
    if not isinstance(cell, known):
        names = ", ".join(one.__name__ for one in known)
        raise TypeError(f"cell must be one of flax's {names}, got {describe(cell)}")


def check_fixed_mask(mask: Array, shape: tuple[int, ...]) -> Array:
    """A fixed mask of a kernel has the kernel's shape."""
    if mask.shape != shape:
        raise ValueError(
            f"mask must have the kernel's shape {shape}, got shape {mask.shape}"
        )
    return mask


def check_module(module: object, kind: type) -> None:
    """What shares its scope with a wrapper is a Linen module."""
    if not isinstance(module, kind):
        raise TypeError(
            f"module must be a Linen module, got {describe(module)}; wrap a function "
            "in nn.Sequential([function])"
        )


def check_own_params(variables: Mapping[str, PyTree], module: object) -> PyTree:
    """A wrapped module without parameters has nothing to drop."""
    if "params" not in variables:
        raise ValueError(
            "module has no parameters of its own to drop, got "
            f"{type(module).__name__}; a submodule that is made in a compact method "
            "belongs to that method's module: make it with parent=None, as in "
            "nn.RNN(nn.LSTMCell(8, parent=None))"
        )
    return variables["params"]


def cell_error(layer: Any) -> TypeError:
    """A wrapper that is called once per step would draw, or skip, at every step."""
    name, module = type(layer).__name__, type(layer.module).__name__
    return TypeError(
        f"cell must be a recurrent cell, got {name} around {module}; wrap the RNN "
        f"itself, as in {name}(RNN(cell), ...), which draws once for the whole "
        "sequence, or wrap the cell in RecurrentDropout or Zoneout"
    )


def rngs_error(rngs: object, wanted: str) -> TypeError:
    """A layer's source of keys is of the wrong type."""
    return TypeError(
        f"rngs must be {wanted}, got {describe(rngs)}; pass rngs=nnx.Rngs(seed) to "
        "the constructor or to the call"
    )


def missing_rngs_error(layer: object) -> ValueError:
    """A layer that has nothing to draw from; the first words are flax's."""
    return ValueError(
        "`deterministic` is False, but no `rngs` argument was provided to "
        f"{type(layer).__name__}; pass rngs=nnx.Rngs(seed) to the constructor or to "
        "the call, or deterministic=True"
    )


def check_layers(found: Collection[Any], where: object, hint: str = "") -> None:
    """A rate that is set nowhere is a mistake."""
    if not found:
        how = "module has no layer" if where is None else "where selects no layer"
        raise ValueError(
            f"{how} of dropjax with a rate to be set; layers of other libraries are "
            "not changed: replace flax's Dropout with dropjax.linen.Dropout or "
            f"dropjax.nnx.Dropout{hint}"
        )


def check_wrapped_kernel(module: object, kernel: Any) -> Any:
    """A wrapped layer must have the weights that the regularizer is made of."""
    if kernel is None:
        raise TypeError(
            "module must be a layer with a parameter named 'kernel', as Dense, Linear "
            f"and Conv are, got {type(module).__name__}"
        )
    return kernel
