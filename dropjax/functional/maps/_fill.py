"""The values that replace dropped elements of a map: given ones, or noise."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Key, Num

from dropjax._random import normals, random_words

# The key of the mask may also be split in two, which for threefry equals folding in 0
# and 1.
_NOISE = 2


def filling(
    key: Key[Array, ""], x: Num[Array, "*shape"], fill: Num[Array, "..."] | None
) -> Num[Array, "..."]:
    """The given value, or noise of x's shape, drawn without affecting the mask."""
    if fill is not None:
        return fill
    key = jax.random.fold_in(key, _NOISE)
    if jnp.issubdtype(x.dtype, np.integer):
        return _integers(key, x.shape, x.dtype)
    if jnp.iscomplexobj(x):
        parts = normals(key, (2, *x.shape)) * np.float32(np.sqrt(0.5))
        return lax.complex(parts[0], parts[1]).astype(x.dtype)
    return normals(key, x.shape).astype(x.dtype)


def _integers(
    key: Key[Array, ""], shape: tuple[int, ...], dtype: np.dtype
) -> Num[Array, "*shape"]:
    """Uniform integers over all values of the dtype."""
    bits = jnp.iinfo(dtype).bits
    if bits > 32:
        words = jax.random.bits(key, shape, jnp.uint64)
    else:
        words = random_words(key, shape) >> np.uint32(32 - bits)
    return lax.bitcast_convert_type(words.astype(f"uint{bits}"), dtype)
