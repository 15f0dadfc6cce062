"""What a row of the table says of a method, and how a layer becomes a row."""

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import jax.numpy as jnp
import numpy as np


@dataclass(frozen=True)
class Method:
    """A method in one of its forms.

    `function(key, x, rate, deterministic=...)` drops on x of the given shape,
    `mask(key, shape, rate, ...)` is its mask, of the shape `coins`, and `linen` and
    `nnx` are the same through the layers, called with a key. `public` are the public
    things that the row stands for: function, mask, Linen layer, NNX layer.
    """

    name: str
    shape: tuple[int, ...]
    coins: tuple[int, ...] | None
    function: Callable[..., Any]
    mask: Callable[..., Any] | None
    linen: Callable[..., Any]
    nnx: Callable[..., Any]
    public: tuple[Any, ...] = ()
    options: dict[str, Any] = field(default_factory=dict)
    # The definition, (mask, x, rate) -> y, where it is not where(mask, x / keep, 0).
    explicit: Callable[..., Any] | None = None
    # What deterministic=True makes of x, (x, rate) -> y, where it is not x itself.
    off: Callable[..., Any] | None = None
    # Whether coins are independent, and each drops with the probability `rate`.
    fair: bool = True
    # Whether a rate of 1 is allowed, drops everything and needs no key.
    certain: bool = True
    # The axes along which the definition itself needs the neighbours' values.
    talks: tuple[int, ...] = ()
    # How many numbers the backward pass may keep, where it needs x or its coins.
    saved: int = 8
    # Whether x is a kernel, seen through a product.
    product: bool = False
    # Whether its laws are for `make test-all`: they take minutes, or the row differs
    # from another by an option that has tests of its own.
    slow: bool = False

    @property
    def plain(self) -> bool:
        return self.explicit is None

    @property
    def scaled(self) -> bool:
        return self.options.get("scaling", "inverted") == "inverted"

    def expect(self, mask: Any, x: Any, rate: float) -> Any:
        """What the definition makes of x, given its mask."""
        if self.explicit is not None:
            return self.explicit(mask, x, rate)
        keep = (np.float64 if x.real.dtype == np.float64 else np.float32)(1 - rate)
        gain = np.asarray(1 / keep, x.dtype)
        return jnp.where(mask, x * gain if self.scaled else x, 0)


def activation(
    name: str,
    function: Callable[..., Any],
    mask: Callable[..., Any] | None,
    linen: Callable[..., Any],
    nnx: Callable[..., Any],
    shape: tuple[int, ...],
    coins: tuple[int, ...] | None,
    claims: dict[str, Any] | None = None,
    **options: Any,
) -> Method:
    """A row of a method on activations: its layers take the rate and the options."""
    of_mask = inspect.signature(mask).parameters if mask else ()
    mask_options = {k: v for k, v in options.items() if k in of_mask}
    claims = dict(claims or {})
    if options.get("scaling") == "standard":
        claims["off"] = lambda x, rate: x * np.float32(1 - rate)

    def call_linen(key, x, rate, deterministic=False):
        layer = linen(rate, **options)
        return layer.apply({}, x, deterministic=deterministic, rng=key)

    def call_nnx(key, x, rate, deterministic=False):
        return nnx(rate, **options)(x, deterministic=deterministic, rngs=key)

    def draw(key, shape, rate, **flag):
        return mask(key, shape, rate, **mask_options, **flag)

    return Method(
        name,
        shape,
        coins,
        functools.partial(function, **options),
        draw if mask else None,
        call_linen,
        call_nnx,
        tuple(thing for thing in (function, mask, linen, nnx) if thing),
        options,
        **claims,
    )


def array(shape: tuple[int, ...], dtype: Any = np.float32, seed: int = 0) -> Any:
    """Numbers that differ from 0, so that a zero in the output was dropped."""
    generator = np.random.default_rng(seed)
    values = generator.uniform(0.5, 2.0, shape) * generator.choice([-1, 1], shape)
    if np.issubdtype(np.dtype(dtype), np.complexfloating):
        values = values + 1j * generator.uniform(0.5, 2.0, shape)
    return jnp.asarray(values).astype(dtype)
