"""What a row of the table says of a method, and how a layer becomes a row."""

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import jax.numpy as jnp
import numpy as np

FACES = ("function", "linen", "nnx")


def array(shape: tuple[int, ...], dtype: Any = np.float32, seed: int = 0) -> Any:
    """Numbers that differ from 0, so that a zero in the output was dropped."""
    generator = np.random.default_rng(seed)
    if np.issubdtype(np.dtype(dtype), np.integer):
        return jnp.asarray(generator.integers(1, 100, shape), dtype)
    values = generator.uniform(0.5, 2.0, shape) * generator.choice([-1, 1], shape)
    if np.issubdtype(np.dtype(dtype), np.complexfloating):
        values = values + 1j * generator.uniform(0.5, 2.0, shape)
    return jnp.asarray(values).astype(dtype)


@dataclass(frozen=True)
class Method:
    """A method in one of its forms.

    `function(key, x, rate, deterministic=...)` drops on x of the given shape,
    `mask(key, shape, rate, ...)` is its mask, of the shape `coins`, and `linen` and
    `nnx` are the same through the layers, called with a key. `public` are the public
    things that the row stands for: function, mask, Linen layer, NNX layer. Where there
    is no function, Linen's layer is called for it.
    """

    name: str
    shape: tuple[int, ...]
    coins: tuple[int, ...] | None
    function: Callable[..., Any]
    mask: Callable[..., Any] | None = None
    linen: Callable[..., Any] | None = None
    nnx: Callable[..., Any] | None = None
    public: tuple[Any, ...] = ()
    options: dict[str, Any] = field(default_factory=dict)
    # The sides of the blocks that share a coin, where coins do not broadcast to x.
    block: tuple[int, ...] = ()
    # The kind of numbers that it takes.
    kind: Any = np.inexact
    # What makes its inputs, (shape, dtype) -> x, where not all numbers are meant.
    inputs: Callable[..., Any] = array
    # What is kept or dropped, x -> y, where it is not x itself.
    whole: Callable[..., Any] = lambda x: x
    # What fills the hole, x -> y, where it is not 0.
    hole: Callable[..., Any] | None = None
    # Whether what is kept is scaled by the rate.
    scales: bool = True
    # The definition, (mask, x, rate) -> y, where it is none of the above.
    explicit: Callable[..., Any] | None = None
    # What deterministic=True makes of x, (x, rate) -> y, where it is not x itself.
    off: Callable[..., Any] | None = None
    # Whether coins are independent, and each drops with the probability `rate`.
    fair: bool = True
    # Whether coins may have rates of their own.
    several: bool = True
    # Whether a rate of 1 is allowed, drops everything and needs no key.
    certain: bool = True
    # Whether it has a rate; concrete dropout learns its own.
    rated: bool = True
    # What its rate is called where it is the size of noise, and not a probability.
    noise: str = ""
    # Whether its rate decides a shape, so that it cannot be traced.
    static: bool = False
    # The shape of what it gives for the laws' rate, where it is not x's.
    output: tuple[int, ...] | None = None
    # By how many units in the last place of its largest value two programs may differ:
    # 0 but where XLA may fuse a product with a sum, as processors with FMA do.
    ulps: int = 0
    # Whether half precision is rounded once: not where x meets what was rounded.
    once: bool = True
    # Whether it refuses other numbers itself: zoneout leaves that to the cell.
    refuses: bool = True
    # Whether NaN in x vanishes where it is dropped: not where x itself fills the hole,
    # or says who may be dropped.
    heals: bool = True
    # Whether it makes keys of its own by `fold_in`, which JAX does not call a use.
    folds: bool = False
    # Whether it takes more arrays, which must have x's dtype.
    others: bool = False
    # The axes along which the definition itself needs the neighbours' values.
    talks: tuple[int, ...] = ()
    # How many numbers the backward pass may keep, where it needs x or its coins.
    saved: int = 8
    # Whether x is a factor, seen through a product with the identity.
    product: bool = False
    # Whether x stands for the weights of a model, whose sizes are always known.
    weights: bool = False
    # Whether a size along other axes than the batch's must be known to draw.
    counts: bool = False
    # Whether the size of the batch must be known too.
    counts_batch: bool = False
    # Whether the backward pass draws the mask again: not if it keeps a few indices.
    redraws: bool = True
    # What y tells of what was drawn, (x, y, rate) -> array of bools or integers, where
    # it is not which elements differ from `filling`.
    tells: Callable[..., Any] | None = None
    # Whether its laws are for `make test-all`: they take minutes, or the row differs
    # from another by an option that has tests of its own.
    slow: bool = False

    @property
    def plain(self) -> bool:
        return self.explicit is None

    @property
    def scaled(self) -> bool:
        return self.scales and self.options.get("scaling", "inverted") == "inverted"

    @property
    def smooth(self) -> bool:
        """Whether it has derivatives, and knows NaN."""
        return self.kind is not np.integer

    @property
    def faces(self) -> list[str]:
        return [face for face in FACES if getattr(self, face)]

    def last_bits(self, y: Any) -> Any:
        """How far from y the same values may be when another program makes them."""
        return self.ulps and self.ulps * np.spacing(np.abs(y).max())

    def takes(self, dtype: Any) -> bool:
        return jnp.issubdtype(jnp.dtype(dtype), self.kind)

    def array(self, dtype: Any = None) -> Any:
        usual = np.float32 if self.smooth else np.int32
        return self.inputs(self.shape, usual if dtype is None else jnp.dtype(dtype))

    def filling(self, x: Any) -> Any:
        return jnp.zeros_like(self.whole(x)) if self.hole is None else self.hole(x)

    def drawn(self, x: Any, y: Any, rate: float) -> Any:
        """Which elements y has kept or, without a mask, what else was drawn."""
        if self.tells is not None:
            return self.tells(x, y, rate)
        return y != self.filling(x)

    def expect(self, mask: Any, x: Any, rate: float) -> Any:
        """What the definition makes of x, given its mask."""
        if self.explicit is not None:
            return self.explicit(mask, x, rate)
        kept = self.whole(x)
        if self.scaled:
            keep = (np.float64 if x.real.dtype == np.float64 else np.float32)(1 - rate)
            kept = kept * np.asarray(1 / keep, x.dtype)
        return jnp.where(mask, kept, self.filling(x))


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


def twice(x):
    """A function that says of every element whether it was left out."""
    return x + x


def ratios(steps):
    """What of the factors of noise the last bits of a sample do not change."""
    return lambda x, y, rate: jnp.floor(steps * y / x).astype(jnp.int32)


def differences(steps):
    """What of the summands of noise the last bits of a sample do not change."""
    return lambda x, y, rate: jnp.floor(steps * (y - x)).astype(jnp.int32)
