"""Every error that dropjax raises on purpose.

Each message names the argument, the rule, what was got, and the way out.
"""

import numbers
from collections.abc import Sequence
from typing import Any, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Inexact, Key

from dropjax._types import (
    Axes,
    DropPathMode,
    Inference,
    KeyLike,
    Noise,
    RateLike,
    Scaling,
)

_PADDINGS = ("SAME", "VALID", "CIRCULAR", "REFLECT", "CAUSAL")


def check_rate(rate: RateLike, name: str = "rate") -> RateLike:
    """A host number as a float in [0, 1], an array as it is."""
    return _check_probability(rate, f"{name} is the probability of dropping", name)


def check_share(rate: Any) -> float:
    """A host number in [0, 1], where the number of things dropped is a size."""
    if isinstance(rate, jax.Array | np.ndarray):
        raise TypeError(
            "rate must be a Python number here, since it fixes how many are dropped, "
            f"got {_describe(rate)}"
        )
    return float(check_rate(rate))


def check_rate_shape(rate: RateLike, coins: tuple[int, ...]) -> None:
    """An array rate gives each coin one rate: it must broadcast to the coins."""
    if not _broadcasts(np.shape(rate), coins):
        raise ValueError(
            f"rate of shape {np.shape(rate)} must broadcast to the coins' shape "
            f"{coins}: elements that share a coin share a rate, so give it axes of "
            "size 1 there"
        )


def check_host_rate(rate: RateLike) -> float:
    """A number of the host, where the rate decides a shape."""
    rate = check_rate(rate)
    if not isinstance(rate, float):
        raise TypeError(
            "rate must be a Python number, as it decides how many tokens are left, got "
            f"{_describe(rate)}"
        )
    return rate


def check_keep(keep: RateLike, shape: tuple[int, ...]) -> RateLike:
    """The share kept, a host number in [0, 1] or an array that broadcasts."""
    if not _broadcasts(np.shape(keep), shape):
        raise ValueError(
            f"keep of shape {np.shape(keep)} must broadcast to x of shape {shape}"
        )
    return _check_probability(keep, "keep is the probability of keeping", "keep")


def _check_probability(value: RateLike, meaning: str, name: str) -> RateLike:
    if isinstance(value, bool | np.bool_) or not _is_real(value):
        raise TypeError(
            f"{name} must be a real number or a floating-point array, "
            f"got {_describe(value)}"
        )
    if isinstance(value, jax.Array):
        return value
    if not np.all((np.asarray(value) >= 0) & (np.asarray(value) <= 1)):
        raise ValueError(f"{meaning} and must lie in [0, 1], got {value}")
    return value if isinstance(value, np.ndarray) else float(value)


def _is_real(value: object) -> bool:
    if isinstance(value, jax.Array | np.ndarray):
        return jnp.issubdtype(value.dtype, jnp.floating)
    return isinstance(value, numbers.Real)


def _broadcasts(shape: tuple[int, ...], wanted: tuple[int, ...]) -> bool:
    try:
        return np.broadcast_shapes(shape, wanted) == wanted
    except ValueError:
        return False


def check_array(x: Any, name: str = "x") -> Any:
    """A floating-point or complex array, of numpy or JAX."""
    if not isinstance(x, jax.Array | np.ndarray | np.generic):
        raise TypeError(
            f"{name} must be an array, got {_describe(x)}; "
            "wrap it in jnp.asarray, or use jax.eval_shape for shapes alone"
        )
    if not jnp.issubdtype(x.dtype, jnp.inexact):
        raise TypeError(
            f"{name} must be a floating-point or complex array, got dtype {x.dtype}; "
            f"cast it first, as in {name}.astype(jnp.float32)"
        )
    return x


def check_scalar_rate(rate: RateLike) -> RateLike:
    """One rate, where an array of them is made of it."""
    if np.shape(check_rate(rate)):
        raise ValueError(
            f"rate must be one number or a scalar, got shape {np.shape(rate)}; "
            "use jax.vmap for several"
        )
    return check_rate(rate)


def check_information(leaves: Sequence[Any]) -> None:
    """Real arrays, and at least one."""
    if not leaves:
        raise ValueError("information must have a leaf or more, got an empty tree")
    for leaf in leaves:
        if jnp.iscomplexobj(check_array(leaf, "information")):
            raise TypeError(f"information must be real, got dtype {leaf.dtype}")


def check_where(where: Any) -> None:
    """A selection is a function, or none."""
    if where is not None and not callable(where):
        raise TypeError(
            "where must be a function of a leaf's path and the leaf, or None, got "
            f"{_describe(where)}"
        )


def check_same_shape(first: Any, second: Any) -> None:
    """Two passes of the same examples."""
    if first.shape != second.shape or first.dtype != second.dtype:
        raise ValueError(
            "first and second must have one shape and dtype, got "
            f"{_describe(first)} and {_describe(second)}"
        )
    if jnp.iscomplexobj(first):
        raise TypeError(f"first and second must be real logits, got {first.dtype}")


def check_same_tree(tree: Any, other: Any, name: str, whose: str) -> None:
    """Two trees of one structure."""
    own: Any = jax.tree.structure(tree)
    theirs = jax.tree.structure(other)
    if own != theirs:
        raise ValueError(f"{name} must have {whose} structure, {theirs}, got {own}")


def check_logit(logit: Any, coins: tuple[int, ...]) -> Array:
    """The logit of a learned rate: a real array that broadcasts to the coins."""
    if not isinstance(logit, jax.Array | np.ndarray) or not _is_real(logit):
        raise TypeError(
            "logit must be a floating-point array, log(rate / (1 - rate)), got "
            f"{_describe(logit)}"
        )
    if not _broadcasts(logit.shape, coins):
        raise ValueError(
            f"logit of shape {logit.shape} must broadcast to the coins' shape {coins}"
        )
    return jnp.asarray(logit)


def check_real(x: Any, name: str = "x") -> Any:
    """A floating-point array: a Gaussian's variance is that of real numbers."""
    if jnp.issubdtype(check_array(x, name).dtype, jnp.complexfloating):
        raise TypeError(
            f"{name} must be a floating-point array for a Gaussian, got dtype "
            f"{x.dtype}; its real and imaginary parts are Gaussians of their own"
        )
    return x


def check_mask(mask: Any, shape: tuple[int, ...]) -> Any:
    """A boolean array that broadcasts to `shape`."""
    if not isinstance(mask, jax.Array | np.ndarray | np.bool_ | bool):
        raise TypeError(f"mask must be a boolean array, got {_describe(mask)}")
    if not isinstance(mask, bool) and mask.dtype != np.bool_:
        raise TypeError(
            f"mask must be boolean, True where x is kept, got dtype {mask.dtype}; "
            "compare it, as in mask != 0"
        )
    if not _broadcasts(np.shape(mask), shape):
        raise ValueError(
            f"mask of shape {np.shape(mask)} must broadcast to x of shape {shape}"
        )
    return mask


def check_fill(fill: Any, x: Inexact[Array, "..."]) -> Array:
    """A number, or an array of x's dtype that broadcasts to x."""
    if not hasattr(fill, "dtype"):
        number = numbers.Complex if jnp.iscomplexobj(x) else numbers.Real
        if not isinstance(fill, number):
            raise TypeError(
                f"fill must be a number that fits {x.dtype}, the dtype of x, or an "
                f"array of it, got {_describe(fill)}"
            )
        return jnp.asarray(fill, jax.dtypes.canonicalize_dtype(x.dtype))
    if fill.dtype != x.dtype:
        raise TypeError(f"fill must have the dtype of x, {x.dtype}, got {fill.dtype}")
    if not _broadcasts(fill.shape, x.shape):
        raise ValueError(
            f"fill of shape {fill.shape} must broadcast to x of shape {x.shape}"
        )
    return fill


def check_key(key: KeyLike) -> Key[Array, ""]:
    """One key, typed: a raw key becomes one of JAX's default implementation."""
    if key is None:
        raise ValueError(
            "key is None, but this call draws a mask: pass a key, "
            "as in jax.random.key(0), or deterministic=True"
        )
    if not isinstance(key, jax.Array | np.ndarray):
        raise TypeError(
            f"key must be a PRNG key, got {_describe(key)}; make one with "
            "jax.random.key(seed)"
        )
    if not jnp.issubdtype(key.dtype, jax.dtypes.prng_key):
        key = _wrap(key)
    if key.shape:
        raise ValueError(
            f"key must be one key, got a batch of keys of shape {key.shape}; "
            "take one of them, or use jax.vmap"
        )
    return key


def _wrap(raw: Any) -> Key[Array, "..."]:
    words = jax.random.key_data(jax.random.key(0)).shape[-1]
    if raw.dtype != np.uint32 or raw.ndim == 0 or raw.shape[-1] != words:
        raise TypeError(
            f"key must be a typed key or a raw uint32 key of shape ({words},), "
            f"got {_describe(raw)}; make one with jax.random.key(seed)"
        )
    return jax.random.wrap_key_data(raw)


def check_shape(shape: Any) -> tuple[int, ...]:
    """A sequence of sizes, none of them negative."""
    if not isinstance(shape, Sequence) or isinstance(shape, str):
        raise TypeError(f"shape must be a sequence of integers, got {_describe(shape)}")
    for size in shape:
        if not _is_int(size) or size < 0:
            raise ValueError(
                f"shape must hold integers of 0 or more, got {tuple(shape)}"
            )
    return tuple(int(size) for size in shape)


def check_axes(axes: Axes, ndim: int, name: str) -> tuple[int, ...]:
    """Axes counted from 0, each in range and named once."""
    given: Any = (axes,) if _is_int(axes) else axes
    if not isinstance(given, Sequence) or not all(map(_is_int, given)):
        raise TypeError(
            f"{name} must be an axis or a sequence of axes, got {_describe(axes)}"
        )
    for axis in given:
        if not -ndim <= axis < ndim:
            raise ValueError(
                f"{name} must name axes of an array with {ndim} axes, got {axis}"
            )
    counted = tuple(axis % ndim for axis in given)
    if len(set(counted)) < len(counted):
        raise ValueError(f"{name} must name each axis once, got {tuple(given)}")
    return counted


def check_batch(batch_axis: int | None, ndim: int) -> tuple[int, ...]:
    """The axis of the examples, if there is one."""
    return () if batch_axis is None else check_axes(batch_axis, ndim, "batch_axis")


def check_channel_and_batch(
    channel_axis: int, batch_axis: int | None, ndim: int, name: str = "channel_axis"
) -> tuple[int, ...]:
    """The axes that have coins of their own: the channels', and the batch's if any."""
    own = check_axes(channel_axis, ndim, name)
    if batch_axis is None:
        return own
    own += check_axes(batch_axis, ndim, "batch_axis")
    if len(set(own)) < len(own):
        raise ValueError(
            f"{name} and batch_axis must be different axes, got "
            f"{channel_axis} and {batch_axis} for an array with {ndim} axes; "
            "batch_axis=None is for an array without a batch"
        )
    return own


def check_attention_weights(shape: tuple[int, ...]) -> None:
    """Attention weights have an axis of queries and one of keys."""
    if len(shape) < 2:
        raise ValueError(
            "attention weights must have shape (*batch, heads, queries, keys), with "
            f"two axes or more, got shape {shape}"
        )


def check_attention(query: Any, key: Any, value: Any) -> None:
    """Queries, keys and values whose products exist, of one floating dtype."""
    for name, x in (("query", query), ("key", key), ("value", value)):
        if not jnp.issubdtype(check_array(x, name).dtype, jnp.floating):
            raise TypeError(f"{name} must be of a real dtype, got {x.dtype}")
    shapes = query.shape, key.shape, value.shape
    fits = all(len(shape) >= 3 for shape in shapes) and (
        query.shape[:-3] == key.shape[:-3] == value.shape[:-3]
        and key.shape[-3:-1] == value.shape[-3:-1]
        and query.shape[-1] == key.shape[-1]
        and query.shape[-2] % max(key.shape[-2], 1) == 0
    )
    if not fits:
        raise ValueError(
            "query must have shape (*batch, queries, heads, depth), key (*batch, keys, "
            "kv_heads, depth) and value (*batch, keys, kv_heads, width), kv_heads a "
            "divisor of heads, got shapes {}, {} and {}".format(*shapes)
        )
    if not query.dtype == key.dtype == value.dtype:
        raise TypeError(
            "query, key and value must have one dtype, got "
            f"{query.dtype}, {key.dtype} and {value.dtype}; pass dtype"
        )


def check_unsown(module: object) -> None:
    """No module is given that the attention weights are to be sown into."""
    if module is not None:
        raise ValueError(
            "module must be None, as the attention weights are not sown, got "
            f"{type(module).__name__}; call the layer without sow_weights=True"
        )


def check_prefix_tokens(shape: tuple[int, ...], prefix_tokens: Any) -> int:
    """How many tokens may be dropped: all after the prefix."""
    if len(shape) < 2:
        raise ValueError(
            f"x must have shape (*batch, tokens, features), got shape {shape}"
        )
    if not _is_int(prefix_tokens) or not 0 <= prefix_tokens <= shape[-2]:
        raise ValueError(
            "prefix_tokens must be a number of tokens from 0 to the sequence's "
            f"{shape[-2]}, got {prefix_tokens!r}"
        )
    return shape[-2] - int(prefix_tokens)


def check_ascending(limits: Any, name: str) -> tuple[float, float]:
    """The lowest and the highest of some numbers."""
    if isinstance(limits, Sequence) and len(limits) == 2:
        low, high = limits
        if all(_is_real(limit) for limit in limits) and -np.inf < low <= high < np.inf:
            return float(low), float(high)
    raise ValueError(f"{name} must be two numbers, (lowest, highest), got {limits!r}")


def check_target(target: RateLike) -> RateLike:
    """A share, one number or scalar array."""
    target = _check_probability(target, "target is the share to target", "target")
    if np.shape(target) != ():
        raise ValueError(f"target must be one share, got shape {np.shape(target)}")
    return target


def check_target_by(by: Any) -> None:
    """Weights or units."""
    if by not in ("weights", "units"):
        raise ValueError(
            "by must be 'weights' (the smallest of each unit are targeted) or 'units' "
            f"(those of the smallest norm are), got {by!r}"
        )


def check_recurrent_cell(cell: object, known: tuple[type, ...]) -> None:
    """A cell whose state and products are known."""
    if not isinstance(cell, known):
        names = ", ".join(one.__name__ for one in known)
        raise TypeError(f"cell must be one of flax's {names}, got {_describe(cell)}")


def check_like(x: Array, other: Any, name: str) -> Any:
    """An array of x's shape and dtype."""
    check_array(other, name)
    if (other.shape, other.dtype) != (x.shape, x.dtype):
        raise ValueError(
            f"{name} must have the shape and dtype of x, {x.shape} and {x.dtype}, got "
            f"{other.shape} and {other.dtype}"
        )
    return other


def check_spatial_axes(
    x: Array, spatial: int, batch_axis: int | None, name: str = "SpatialDropout"
) -> None:
    """As many spatial axes as the layer's name says."""
    wanted = spatial + (1 if batch_axis is None else 2)
    if x.ndim != wanted:
        batch = "no batch axis" if batch_axis is None else "a batch axis"
        raise ValueError(
            f"{name}{spatial}D with {batch} needs inputs of {wanted} axes, "
            f"{spatial} of them spatial, got shape {x.shape}; batch_axis=None is for "
            "inputs without a batch"
        )


def check_fixed_mask(mask: Array, shape: tuple[int, ...]) -> Array:
    """A fixed mask of a kernel has the kernel's shape."""
    if mask.shape != shape:
        raise ValueError(
            f"mask must have the kernel's shape {shape}, got shape {mask.shape}"
        )
    return mask


def check_noise_shape(
    noise_shape: Sequence[int | None], shape: tuple[int, ...]
) -> tuple[int, ...]:
    """Keras's way to say who shares a coin: 1 is shared, None or the size is not."""
    if not isinstance(noise_shape, Sequence) or isinstance(noise_shape, str):
        raise TypeError(
            f"noise_shape must be a sequence of sizes, got {_describe(noise_shape)}"
        )
    if len(noise_shape) != len(shape):
        raise ValueError(
            f"noise_shape must have one entry for each of the {len(shape)} axes of x, "
            f"got {tuple(noise_shape)}"
        )
    for wanted, size in zip(noise_shape, shape, strict=True):
        if wanted is not None and (not _is_int(wanted) or wanted not in (1, size)):
            raise ValueError(
                "each entry of noise_shape must be 1 (shared), or None or the axis's "
                f"size (not shared), got {tuple(noise_shape)} for shape {shape}"
            )
    pairs = zip(noise_shape, shape, strict=True)
    return tuple(size if wanted is None else int(wanted) for wanted, size in pairs)


def check_one_sharing(broadcast_dims: Axes, noise_shape: object) -> None:
    """`broadcast_dims` and `noise_shape` say the same thing: take one of them."""
    if noise_shape is not None and broadcast_dims != () and broadcast_dims != []:
        raise ValueError(
            "give broadcast_dims or noise_shape, not both: "
            f"got broadcast_dims={broadcast_dims} and noise_shape={noise_shape}"
        )


def check_deterministic(deterministic: Any) -> bool:
    """A flag of the host: what is off must cost nothing, so it cannot be traced."""
    if not isinstance(deterministic, bool | np.bool_):
        raise TypeError(
            f"deterministic must be True or False, got {_describe(deterministic)}; "
            "to switch inside jit, trace the rate: jnp.where(off, 0.0, rate)"
        )
    return bool(deterministic)


def check_flag_given(deterministic: bool | None) -> bool:
    """A layer must be told whether it drops."""
    if deterministic is None:
        raise ValueError(
            "deterministic must be given to the layer's constructor or to the call, "
            "got None in both; layer.train() and layer.eval() set it too"
        )
    return deterministic


def rngs_error(rngs: object, wanted: str) -> TypeError:
    """A layer's source of keys is of the wrong type, or missing."""
    return TypeError(
        f"rngs must be {wanted}, got {_describe(rngs)}; pass rngs=nnx.Rngs(seed) to "
        "the constructor or to the call"
    )


def check_scaling(scaling: Any) -> None:
    """Inverted or standard."""
    if not isinstance(scaling, str) or scaling not in get_args(Scaling):
        raise ValueError(
            "scaling must be 'inverted' (survivors are scaled in training) or "
            f"'standard' (everything is scaled after it), got {scaling!r}"
        )


def check_choice(value: Any, choices: tuple[str, ...], name: str) -> None:
    """One of a few words."""
    if not isinstance(value, str) or value not in choices:
        words = ", ".join(map(repr, choices))
        raise ValueError(f"{name} must be one of {words}, got {value!r}")


def check_count(value: Any, name: str) -> int:
    """A positive integer."""
    if not _is_int(value) or value < 1:
        raise ValueError(f"{name} must be a positive integer, got {value!r}")
    return int(value)


def check_positive(value: Any, name: str) -> float:
    """A positive, finite number."""
    if not isinstance(value, numbers.Real) or not 0 < float(value) < float("inf"):
        raise ValueError(f"{name} must be a positive number, got {value!r}")
    return float(value)


def check_mode(mode: Any) -> None:
    """A coin per example, or one for the batch."""
    if mode not in get_args(DropPathMode):
        raise ValueError(
            "mode must be 'row' (a coin per example) or 'batch' (one coin), "
            f"got {mode!r}"
        )


def check_noise_rate(rate: RateLike) -> RateLike:
    """A rate whose noise has a finite variance."""
    rate = check_rate(rate)
    if not isinstance(rate, jax.Array) and np.any(np.asarray(rate) == 1):
        raise ValueError(
            "rate must be below 1 for Gaussian noise, whose variance rate / (1 - rate) "
            f"has no bound there, got {rate}"
        )
    return rate


def check_stddev(stddev: RateLike) -> RateLike:
    """A host number of 0 or more as a float, an array as it is."""
    if isinstance(stddev, bool | np.bool_) or not _is_real(stddev):
        raise TypeError(
            "stddev must be a real number or a floating-point array, "
            f"got {_describe(stddev)}"
        )
    if isinstance(stddev, jax.Array):
        return stddev
    if not np.all((np.asarray(stddev) >= 0) & np.isfinite(stddev)):
        raise ValueError(f"stddev must be finite and 0 or more, got {stddev}")
    return stddev if isinstance(stddev, np.ndarray) else float(stddev)


def check_stddev_shape(stddev: RateLike, coins: tuple[int, ...]) -> None:
    """An array gives each noise one deviation: it must broadcast to the noise's."""
    if not _broadcasts(np.shape(stddev), coins):
        raise ValueError(
            f"stddev of shape {np.shape(stddev)} must broadcast to the noise's shape "
            f"{coins}"
        )


def check_tokens(x: Any) -> Any:
    """An array of integers."""
    if not isinstance(x, jax.Array | np.ndarray | np.generic):
        raise TypeError(
            f"x must be an array of token ids, got {_describe(x)}; "
            "wrap it in jnp.asarray"
        )
    if not jnp.issubdtype(x.dtype, jnp.integer):
        raise TypeError(
            f"x must be an array of integers, the ids of tokens, got dtype {x.dtype}; "
            "for embedded tokens use dropout with broadcast_dims=-1"
        )
    return x


def check_id(one: Any, dtype: np.dtype, name: str) -> int:
    """An integer that the tokens' dtype can hold."""
    if not _is_int(one):
        raise TypeError(f"{name} must be an integer, got {_describe(one)}")
    if not jnp.iinfo(dtype).min <= one <= jnp.iinfo(dtype).max:
        raise ValueError(f"{name} must fit the dtype of x, {dtype}, got {one}")
    return int(one)


def check_block(sizes: Any, rank: int, name: str) -> tuple[int, ...]:
    """A side for each spatial axis, of which there is at least one."""
    if rank < 1:
        raise ValueError(
            f"x must have at least one spatial axis for {name} to act on, got none; "
            "batch_axis=None is for an x without a batch"
        )
    each = (sizes,) * rank if _is_int(sizes) else sizes
    whole = isinstance(each, Sequence) and all(_is_int(n) and n > 0 for n in each)
    if not whole or len(each) != rank:
        raise ValueError(
            f"{name} must be one positive integer, or one for each of the {rank} "
            f"spatial axes, got {sizes!r}"
        )
    return tuple(int(size) for size in each)


def check_two_axes(spatial: int) -> None:
    """A rectangle has a height and a width."""
    if spatial != 2:
        raise ValueError(
            "random_erasing needs an x with two spatial axes besides those of the "
            f"channels and the batch, got {spatial}; cutout takes any number, and "
            "batch_axis=None is for an x without a batch"
        )


def check_range(limits: Any, low: float, high: float, name: str) -> tuple[float, float]:
    """Two numbers in order within bounds, the lower one excluded."""
    pair = isinstance(limits, Sequence) and len(limits) == 2
    if not pair or not all(isinstance(limit, numbers.Real) for limit in limits):
        raise TypeError(f"{name} must be a pair of numbers, got {limits!r}")
    if not low < limits[0] <= limits[1] <= high or not np.isfinite(limits[1]):
        raise ValueError(
            f"{name} must be (least, most), above {low} and up to {high}, got {limits}"
        )
    return float(limits[0]), float(limits[1])


def check_mask_per(mask_per: Any) -> int | None:
    """How many examples share a mask of the weights; None if all do."""
    if mask_per == "batch":
        return None
    if mask_per == "example":
        return 1
    if not _is_int(mask_per) or mask_per < 1:
        raise ValueError(
            "mask_per must be 'batch', 'example' or the number of examples that share "
            f"a mask, a positive integer, got {mask_per!r}"
        )
    return int(mask_per)


def check_classes(y: Array) -> Array:
    """Class probabilities, of many passes, have an axis of classes."""
    if y.ndim < 2 or not jnp.issubdtype(y.dtype, jnp.floating):
        raise ValueError(
            "probabilities=True is for outputs that are class probabilities, real "
            f"numbers with the classes along the last axis, got shape {y.shape[1:]}, "
            f"dtype {y.dtype}; apply jax.nn.softmax in apply_fn"
        )
    return y


def check_noise(noise: Any, mask_per: Any) -> None:
    """Masks or a Gaussian, which has no masks to share."""
    if noise not in get_args(Noise):
        raise ValueError(
            "noise must be 'bernoulli' (weights are masked) or 'gaussian' (outputs get "
            f"the noise that many masks come to), got {noise!r}"
        )
    if noise == "gaussian" and _is_int(mask_per):
        raise ValueError(
            "noise='gaussian' draws no mask that examples could share, each has noise "
            f"of its own: leave mask_per away, got {mask_per}"
        )


def check_inference(inference: Any) -> Inference:
    """The mean network, or a mean of activations."""
    if inference not in get_args(Inference):
        raise ValueError(
            "inference must be 'mean' (the mean network), 'gaussian' or 'monte_carlo' "
            f"(activations averaged over samples), got {inference!r}"
        )
    return inference


def check_selected(paths: Sequence[str], where: object) -> None:
    """Training on silently unmasked weights is the worst outcome: refuse it."""
    if not paths:
        how = "the default selection" if where is None else "where"
        raise ValueError(
            f"{how} selects no leaf of params, so nothing would be dropped; pass "
            "where=lambda path, leaf: ... that is True for the weights to mask"
        )


def check_layers(paths: Sequence[str], where: object) -> None:
    """A rate that is set nowhere is a mistake."""
    if not paths:
        how = "module has no layer" if where is None else "where selects no layer"
        raise ValueError(
            f"{how} of dropjax whose rate could be set; layers of other libraries are "
            "left alone, and dropjax.linen.Dropout and dropjax.nnx.Dropout are "
            "drop-ins for flax's"
        )


def check_leaf(leaf: Any, path: str) -> None:
    """A selected leaf must be something with a floating-point dtype and a shape."""
    dtype = getattr(leaf, "dtype", None)
    if dtype is None or not jnp.issubdtype(dtype, jnp.inexact):
        raise TypeError(
            f"where selects params leaf {path!r}, which must be a floating-point or "
            f"complex array, got {_describe(leaf)}"
        )


def check_pretrained(known: dict[str, Any], path: str, leaf: Array) -> Array:
    """The pretrained weights of a selected leaf: there, and of its shape and dtype."""
    if path not in known:
        raise ValueError(
            f"pretrained has no leaf {path!r}, which is selected in params; leave it "
            "out with where=lambda path, leaf: ..."
        )
    found = check_array(known[path], f"pretrained leaf {path!r}")
    if found.shape != leaf.shape:
        raise ValueError(
            f"pretrained leaf {path!r} must have the shape of params', {leaf.shape}, "
            f"got {found.shape}"
        )
    if found.dtype != leaf.dtype:
        raise TypeError(
            f"pretrained leaf {path!r} must have the dtype of params', {leaf.dtype}, "
            f"got {found.dtype}; cast it first"
        )
    return found


def check_kernel(kernel: Any) -> Array:
    """A layer's weights: features_in in the last axis but one."""
    if check_array(kernel, "kernel").ndim < 2:
        raise ValueError(
            "kernel must have shape (*window, features_in, features_out), got shape "
            f"{kernel.shape}"
        )
    return kernel


def check_wrapped_kernel(module: object, kernel: Any) -> Any:
    """A wrapped layer must have the weights that the regularizer is made of."""
    if kernel is None:
        raise TypeError(
            "module must be a layer with a parameter named 'kernel', as Dense, Linear "
            f"and Conv are, got {type(module).__name__}"
        )
    return kernel


def check_inner_rate(rate: Any, name: str) -> float:
    """A rate whose logit is finite."""
    if isinstance(rate, bool) or not isinstance(rate, numbers.Real):
        raise TypeError(f"{name} must be a real number, got {_describe(rate)}")
    if not 0 < float(rate) < 1:
        raise ValueError(
            f"{name} must lie between 0 and 1, where its logit is finite, got {rate}"
        )
    return float(rate)


def check_dense_shapes(x: Array, kernel: Array) -> None:
    """X's features are the kernel's rows, and both have one dtype."""
    if kernel.ndim != 2 or x.ndim == 0 or x.shape[-1] != kernel.shape[0]:
        raise ValueError(
            "kernel must have shape (features_in, features_out), features_in as the "
            f"last axis of x, got kernel of shape {kernel.shape}, x of shape {x.shape}"
        )
    _check_one_dtype(x, kernel)


def check_conv_shapes(x: Array, kernel: Array, groups: int) -> None:
    """X's channels are the kernel's times the groups, and both have one dtype."""
    if kernel.ndim < 3 or x.ndim < kernel.ndim - 1:
        raise ValueError(
            "kernel must have shape (*window, features_in / groups, features_out) and "
            "x (*batch, *spatial, features_in), got kernel of shape "
            f"{kernel.shape}, x of shape {x.shape}"
        )
    fits = _is_int(groups) and groups > 0 and kernel.shape[-1] % groups == 0
    if not fits or x.shape[-1] != kernel.shape[-2] * groups:
        raise ValueError(
            "feature_group_count must divide the kernel's features_out, and times its "
            f"features_in be x's, got {groups} for kernel of shape {kernel.shape}, "
            f"x of shape {x.shape}"
        )
    _check_one_dtype(x, kernel)


def _check_one_dtype(x: Array, kernel: Array) -> None:
    if x.dtype != kernel.dtype:
        raise TypeError(
            f"x and kernel must have one dtype, got {x.dtype} and {kernel.dtype}; "
            "cast one of them"
        )


def check_bias(bias: Any, features: int) -> Array:
    """One element per output feature."""
    if check_array(bias, "bias").shape != (features,):
        raise ValueError(f"bias must have shape ({features},), got {bias.shape}")
    return bias


def check_window(sizes: Any, rank: int, name: str) -> tuple[int, ...]:
    """A number for each spatial axis; one for all, and None is 1, as in flax."""
    each = (1 if sizes is None else sizes,) * rank
    if _is_int(sizes) or sizes is None:
        sizes = each
    whole = isinstance(sizes, Sequence) and all(_is_int(n) and n > 0 for n in sizes)
    if not whole or len(sizes) != rank:
        raise ValueError(
            f"{name} must be one positive integer, or one for each of the {rank} "
            f"spatial axes, got {sizes!r}"
        )
    return tuple(int(size) for size in sizes)


def check_padding(padding: Any, rank: int) -> str | list[tuple[int, int]]:
    """A padding by name, or as one (low, high) pair per spatial axis."""
    if padding == "CAUSAL" and rank != 1:
        raise ValueError(
            f"padding='CAUSAL' is for one spatial axis, got {rank}; pad x instead"
        )
    if isinstance(padding, str) and padding in _PADDINGS:
        return padding
    sides = [padding] * rank if _is_int(padding) else padding
    if isinstance(sides, Sequence) and len(sides) == rank:
        pairs = [(side, side) if _is_int(side) else side for side in sides]
        if all(_is_pair(pair) for pair in pairs):
            return [(int(low), int(high)) for low, high in pairs]
    raise ValueError(
        f"padding must be one of {', '.join(_PADDINGS)}, a number, or one number or "
        f"(low, high) pair for each of the {rank} spatial axes, got {padding!r}"
    )


def _is_pair(pair: Any) -> bool:
    return isinstance(pair, Sequence) and len(pair) == 2 and all(map(_is_int, pair))


def prefix_error(error: ValueError) -> ValueError:
    """The error of a tree of rates that is no prefix of the params."""
    return ValueError(
        "rate must be one rate or a tree prefix of params: "
        f"{str(error).splitlines()[0]}"
    )


def _is_int(value: object) -> bool:
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def _describe(value: Any) -> str:
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return f"{type(value).__name__} of shape {value.shape}, dtype {value.dtype}"
    return f"{value!r} ({type(value).__name__})"
