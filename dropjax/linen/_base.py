"""What every layer does before it calls its function."""

import flax.linen as nn
import jax
from jaxtyping import PyTree

from dropjax._masks import is_drawn
from dropjax._types import KeyLike, RateLike
from dropjax.linen._rates import rate_of


def resolve(
    layer: nn.Module,
    rng: KeyLike,
    rate: RateLike | PyTree | None,
    deterministic: bool | None,
) -> tuple[KeyLike, RateLike | PyTree, bool]:
    """Call arguments before attributes, and a key only where one is needed."""
    deterministic = nn.merge_param("deterministic", layer.deterministic, deterministic)
    rate = rate_of(layer) if rate is None else rate
    rates = [
        *jax.tree.leaves(rate),
        *jax.tree.leaves(getattr(layer, "bias_rate", None)),
    ]
    if rng is None and any(is_drawn(one, deterministic) for one in rates):
        rng = layer.make_rng(layer.rng_collection)
    return rng, rate, deterministic
